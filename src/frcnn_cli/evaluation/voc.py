"""Average precision by the rules of the PASCAL VOC development kits.

VOC2007: mean of the precision at 11 points of recall. VOC2010 and later: area under the curve.
K: classes, labelled 1..K. M: detections, in a `Ranking` those of one class. T: true positives of a
class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..structures import Detections, GroundTruth
from .matching import (
    DetectionTable,
    Flags,
    Floats,
    Ints,
    MatchedDetections,
    best_first,
    match_detections,
)

Rule = Literal["voc07", "voc"]
# As in every Python version of the devkit, products of numpy's arange: the point 0.3 is at a recall
# of 0.30000000000000004.
RECALL_POINTS = np.arange(11) * 0.1


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The detections of one class that are not ignored, best first."""

    scores: Floats  # M
    true_positive: Flags  # M
    image: Ints  # M
    object_count: int  # objects of the class that are not difficult

    @property
    def curve(self) -> tuple[Floats, Floats]:
        """Recall and precision at each true positive, [T] each; this is all that AP needs."""
        ranks = np.flatnonzero(self.true_positive)
        count = np.arange(1, len(ranks) + 1)
        return count / max(self.object_count, 1), count / (ranks + 1)

    @property
    def full_curve(self) -> tuple[Floats, Floats]:
        """Recall and precision after each detection, [M] each."""
        count = np.cumsum(self.true_positive)
        return count / max(self.object_count, 1), count / np.arange(1, len(count) + 1)

    def at(self, score: float) -> tuple[float, float]:
        """Recall and precision of the detections with this score or more; NaN for 0 of 0."""
        count = int(np.searchsorted(-self.scores, -score, side="right"))
        correct = int(self.true_positive[:count].sum())
        return (
            correct / self.object_count if self.object_count else float("nan"),
            correct / count if count else float("nan"),
        )


@dataclass(frozen=True)
class VocResult:
    """Average precision of every class."""

    ap: NDArray[np.float64]  # K, in 0..1; NaN for a class without objects
    object_counts: NDArray[np.int64]  # K, objects that are not difficult

    @property
    def mean_ap(self) -> float:
        """Mean over the classes that have objects; NaN if there are none."""
        present = self.ap[self.object_counts > 0]
        return float(present.mean()) if len(present) else float("nan")


def evaluate_voc(
    detections: Sequence[Detections],
    ground_truths: Sequence[GroundTruth],
    class_count: int,
    rule: Rule = "voc07",
) -> VocResult:
    """Average precision of every class; for the arguments see `match_detections`."""
    matched = match_detections(detections, ground_truths, class_count)
    return average_precision(rank_by_class(matched), rule)


def rank_by_class(matched: MatchedDetections) -> list[Ranking]:
    """Rank the detections of each class, [K]."""
    return rank_detections(
        matched.detections,
        matched.matches.true_positive,
        ~matched.matches.ignored,
        matched.objects.counts(matched.class_count),
    )


def rank_detections(
    detections: DetectionTable, true_positive: Flags, counted: Flags, object_counts: Ints
) -> list[Ranking]:
    """Rank the detections of each class, [K].

    Args:
        true_positive: [M].
        counted: [M], whether a detection is ranked; the others are left out.
        object_counts: [K].
    """
    rows = np.flatnonzero(counted)
    # numpy sorts int16 by radix; sorting by class first keeps the scores of a class in the cache
    label_type = np.int16 if len(object_counts) < 2**15 else np.int64
    labels = detections.labels[rows].astype(label_type)
    rows = rows[np.argsort(labels, kind="stable")]
    ends = np.cumsum(np.bincount(labels, minlength=len(object_counts) + 1))
    rankings = []
    for of_class, count in zip(np.split(rows, ends)[1:-1], object_counts, strict=True):
        ranked = of_class[best_first(detections.scores[of_class])]
        rankings.append(
            Ranking(
                scores=detections.scores[ranked],
                true_positive=true_positive[ranked],
                image=detections.image[ranked],
                object_count=int(count),
            )
        )
    return rankings


def average_precision(rankings: Sequence[Ranking], rule: Rule) -> VocResult:
    """Average precision of each of the K ranked classes."""
    class_ap = eleven_point_ap if rule == "voc07" else area_ap
    ap = np.full(len(rankings), np.nan)
    for index, ranking in enumerate(rankings):
        if ranking.object_count:
            ap[index] = class_ap(*ranking.curve)
    return VocResult(ap, np.array([each.object_count for each in rankings], np.int64))


def eleven_point_ap(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    """Mean over recall 0, 0.1 … 1 of the best precision at that recall or a higher one.

    Args:
        recall, precision: [M], along the ranked detections; recall ascends.
    """
    start = np.searchsorted(
        recall, RECALL_POINTS, side="left"
    )  # the first rank that reaches the point
    reached = start < len(recall)
    return float(_interpolated(precision)[start[reached]].sum() / len(RECALL_POINTS))


def area_ap(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    """Area under the curve of the best precision at each recall or a higher one.

    Args:
        recall, precision: [M], along the ranked detections; recall ascends.
    """
    return float((np.diff(recall, prepend=0) * _interpolated(precision)).sum())


def _interpolated(precision: NDArray[np.float64]) -> NDArray[np.float64]:
    """The best precision at each rank or a later one."""
    return np.maximum.accumulate(precision[::-1])[::-1]
