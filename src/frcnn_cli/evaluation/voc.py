"""Average precision by the rules of the PASCAL VOC development kits.

VOC2007: mean of the precision at 11 points of recall. VOC2010 and later: area under the curve.
K classes; class labels are 1..K. I images, M detections, G objects; H detections of a class hit.
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
    Matches,
    ObjectTable,
    best_first,
    detection_table,
    match,
    object_table,
)

Rule = Literal["voc07", "voc"]
# As numpy's arange gives them, and so in every Python copy of the devkit: three tenths is
# 0.30000000000000004, and recall must reach it.
RECALL_POINTS = np.arange(11) * 0.1


@dataclass(frozen=True)
class Ranking:
    """The detections of one class that count, best first, M of them."""

    scores: Floats  # M
    hit: Flags  # M
    image: Ints  # M
    objects: int  # that are not difficult

    @property
    def curve(self) -> tuple[Floats, Floats]:
        """Recall and precision at each hit, [H] each; between hits precision only falls."""
        at = np.flatnonzero(self.hit)
        found = np.arange(1, len(at) + 1)
        return found / max(self.objects, 1), found / (at + 1)

    @property
    def whole_curve(self) -> tuple[Floats, Floats]:
        """Recall and precision after each detection, [M] each."""
        found = np.cumsum(self.hit)
        return found / max(self.objects, 1), found / np.arange(1, len(found) + 1)

    def at(self, score: float) -> tuple[float, float]:
        """Recall and precision of the detections with this score or more; NaN for 0 of 0."""
        count = int(np.searchsorted(-self.scores, -score, side="right"))
        found = int(self.hit[:count].sum())
        return (
            found / self.objects if self.objects else float("nan"),
            found / count if count else float("nan"),
        )


@dataclass(frozen=True)
class VocResult:
    """Figures of an evaluation."""

    ap: NDArray[np.float64]  # K, in 0..1; NaN for a class without objects
    objects: NDArray[np.int64]  # K, those not difficult

    @property
    def mean_ap(self) -> float:
        """Mean over the classes that have objects; NaN if there are none."""
        present = self.ap[self.objects > 0]
        return float(present.mean()) if len(present) else float("nan")


@dataclass(frozen=True)
class MatchedDetections:
    """Detections beside the objects, and what became of each."""

    detections: DetectionTable
    objects: ObjectTable
    matches: Matches
    images: int
    classes: int

    def rankings(self) -> list[Ranking]:
        """One for each class."""
        return rankings(
            self.detections,
            self.matches.hit,
            ~self.matches.ignored,
            self.objects.counts(self.classes),
        )


def judge(
    detections: Sequence[Detections], ground_truths: Sequence[GroundTruth], class_count: int
) -> MatchedDetections:
    """Match all detections with all objects.

    Args:
        detections, ground_truths: one each for every image, in the same order.
        class_count: K.
    Raises:
        ValueError: one side has more images.
    """
    if len(detections) != len(ground_truths):
        raise ValueError(f"{len(detections)} images of detections, {len(ground_truths)} of objects")
    found = detection_table(detections, class_count)
    objects = object_table(ground_truths, class_count)
    return MatchedDetections(found, objects, match(found, objects), len(detections), class_count)


def evaluate(
    detections: Sequence[Detections],
    ground_truths: Sequence[GroundTruth],
    class_count: int,
    rule: Rule = "voc07",
) -> VocResult:
    """Average precision of every class; for the arguments see `judge`."""
    return average_precision(judge(detections, ground_truths, class_count).rankings(), rule)


def rankings(
    detections: DetectionTable, hit: Flags, counted: Flags, objects: Ints
) -> list[Ranking]:
    """Detections by class, best first.

    Args:
        hit, counted: [M]. objects: [K], the number of each class.
    """
    rows = np.flatnonzero(counted)
    # int16 takes numpy's radix sort; the scores of one class at a time stay in the cache
    kind = np.int16 if len(objects) < 2**15 else np.int64
    labels = detections.labels[rows].astype(kind)
    rows = rows[np.argsort(labels, kind="stable")]
    ends = np.cumsum(np.bincount(labels, minlength=len(objects) + 1))
    result = []
    for own, count in zip(np.split(rows, ends)[1:-1], objects, strict=True):
        ranked = own[best_first(detections.scores[own])]
        result.append(
            Ranking(detections.scores[ranked], hit[ranked], detections.image[ranked], int(count))
        )
    return result


def average_precision(ranked: Sequence[Ranking], rule: Rule) -> VocResult:
    """AP of each of K classes."""
    ap = np.full(len(ranked), np.nan)
    for index, each in enumerate(ranked):
        if each.objects:
            ap[index] = (eleven_point_ap if rule == "voc07" else area_ap)(*each.curve)
    return VocResult(ap, np.array([each.objects for each in ranked], np.int64))


def eleven_point_ap(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    """Mean over recall 0, 0.1 … 1 of the best precision at that recall or a higher one.

    Args:
        recall, precision: [M], along the ranked detections; recall ascends.
    """
    start = np.searchsorted(recall, RECALL_POINTS, side="left")  # the first that reaches the point
    reached = start < len(recall)
    return float(_best_from_here(precision)[start[reached]].sum() / len(RECALL_POINTS))


def area_ap(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    """Area under the curve whose precision is the best at that recall or a higher one.

    Args:
        recall, precision: [M], along the ranked detections; recall ascends.
    """
    return float((np.diff(recall, prepend=0) * _best_from_here(precision)).sum())


def _best_from_here(precision: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum.accumulate(precision[::-1])[::-1]
