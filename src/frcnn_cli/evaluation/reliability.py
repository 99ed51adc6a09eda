"""Whether scores are probabilities: how often detections of a score are right.

Guo et al., "On calibration of modern neural networks" (ICML 2017), section 2; here for detections,
of which one is right that matches an object at IoU 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..models.score_calibration import ScoreCalibration
from .matching import Flags, Floats, Ints, MatchedDetections

_EPSILON = 2.0**-24  # scores are float32, of which this is the distance of the last one below 1


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


def reliability(
    matched: MatchedDetections, bins: int = 10, calibration: ScoreCalibration | None = None
) -> Reliability:
    """Measure how reliable scores in 0..1 are; detections of difficult objects do not count.

    Args:
        bins: B. calibration: measure the scores that this one makes of those of the detections.
    """
    scores, right = _counted(matched)
    if calibration is not None:
        scores = calibration.calibrated(torch.from_numpy(scores)).double().numpy()
    index = np.clip((scores * bins).astype(np.int64), 0, bins - 1)
    counts = np.bincount(index, minlength=bins)
    divisor = np.where(counts > 0, counts, np.nan)
    return Reliability(
        counts=counts,
        scores=np.bincount(index, scores, bins) / divisor,
        precision=np.bincount(index, right, bins) / divisor,
    )


def fit_calibration(matched: MatchedDetections) -> ScoreCalibration | None:
    """The calibration that makes the scores of these detections most probable.

    Logistic regression of whether a detection is right on the logit of its score, with a normal
    prior of slope 1 and offset 0 and variances of 1, which decides where there are few detections.
    Those of difficult objects do not count.

    Returns:
        None where all are right, or none is.
    """
    scores, right = map(torch.from_numpy, _counted(matched))
    if right.all() or not right.any():
        return None
    logits = scores.clamp(_EPSILON, 1 - _EPSILON).logit()
    usual = torch.tensor([1.0, 0.0], dtype=torch.float64)
    values = usual.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [values], max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        unlikely = F.binary_cross_entropy_with_logits(
            values[0] * logits + values[1], right.double(), reduction="sum"
        )
        total = (unlikely + 0.5 * (values - usual).square().sum()) / len(scores)
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    slope, offset = values.tolist()
    found = ScoreCalibration(slope=slope, offset=offset)
    return found if found.is_valid else None


def _counted(matched: MatchedDetections) -> tuple[Floats, Flags]:
    """The scores of the detections of no difficult object, and whether each is right, [M]."""
    counted = ~matched.matches.ignored
    return matched.detections.scores[counted], matched.matches.true_positive[counted]
