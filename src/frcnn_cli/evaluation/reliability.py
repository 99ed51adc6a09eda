"""Whether scores are probabilities: how often detections of a score are right.

Guo et al., "On calibration of modern neural networks" (ICML 2017), section 2; here for detections,
of which one is right that matches an object at IoU 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .matching import Floats, Ints, MatchedDetections


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """The detections in bins of equal width over the scores 0..1."""

    counts: Ints  # B, detections
    scores: Floats  # B, their mean score; NaN in an empty bin
    precision: Floats  # B, fraction of them that match an object; NaN in an empty bin

    @property
    def error(self) -> float:
        """The expected calibration error: the mean of |score - precision| over the bins, weighted
        by their detections; NaN without detections."""
        total = self.counts.sum()
        if not total:
            return float("nan")
        filled = self.counts > 0
        differences = np.abs(self.scores - self.precision)[filled]
        return float((differences * self.counts[filled]).sum() / total)


def reliability(matched: MatchedDetections, bins: int = 10) -> Reliability:
    """Measure how reliable scores in 0..1 are; detections of difficult objects do not count.

    Args:
        bins: B.
    """
    counted = ~matched.matches.ignored
    scores = matched.detections.scores[counted]
    right = matched.matches.true_positive[counted]
    index = np.clip((scores * bins).astype(np.int64), 0, bins - 1)
    counts = np.bincount(index, minlength=bins)
    divisor = np.where(counts > 0, counts, np.nan)
    return Reliability(
        counts=counts,
        scores=np.bincount(index, scores, bins) / divisor,
        precision=np.bincount(index, right, bins) / divisor,
    )
