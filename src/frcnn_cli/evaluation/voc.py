"""Average precision by the rules of the PASCAL VOC development kit (VOC2007: 11 points).

K classes; class labels are 1..K.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..ops import boxes as box_ops
from ..structures import Detections, GroundTruth

IOU_THRESHOLD = 0.5
# As numpy's arange gives them, and so in every Python copy of the devkit: three tenths is
# 0.30000000000000004, and recall must reach it.
RECALL_POINTS = np.arange(11) * 0.1


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


def evaluate(
    detections: Sequence[Detections], ground_truths: Sequence[GroundTruth], class_count: int
) -> VocResult:
    """Average precision of every class.

    Args:
        detections, ground_truths: one each for every image, in the same order.
        class_count: K.
    """
    ap = np.full(class_count, np.nan)
    objects = np.zeros(class_count, np.int64)
    for label in range(1, class_count + 1):
        scores, hits, ignored = [], [], []
        for found, truth in zip(detections, ground_truths, strict=True):
            truth_of_class = truth[truth.labels == label]
            objects[label - 1] += int((~truth_of_class.difficult).sum())
            own = found.labels == label
            if not own.any():
                continue
            order = np.argsort(-found.scores[own], kind="stable")
            hit, ignore = match(found.boxes[own][order], truth_of_class)
            scores.append(found.scores[own][order])
            hits.append(hit)
            ignored.append(ignore)
        if objects[label - 1]:
            ap[label - 1] = _class_ap(scores, hits, ignored, int(objects[label - 1]))
    return VocResult(ap, objects)


def match(boxes: box_ops.Boxes, truth: GroundTruth) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which detections of one class in one image are right.

    Each detection goes to the object that it overlaps most. IoU of IOU_THRESHOLD or more is a hit
    for the first one to claim the object, a false positive for later ones, and does not count at
    all for a difficult object.

    Args:
        boxes: [M, 4], best score first. truth: objects of the class, difficult ones included.
    Returns:
        hit [M] and ignored [M].
    """
    hit, ignored = np.zeros(len(boxes), np.bool_), np.zeros(len(boxes), np.bool_)
    if not len(truth.boxes):
        return hit, ignored
    overlaps = box_ops.iou(boxes, truth.boxes)
    nearest = overlaps.argmax(axis=1)
    close = overlaps[np.arange(len(boxes)), nearest] >= IOU_THRESHOLD
    ignored = close & truth.difficult[nearest]
    claims = np.flatnonzero(close & ~ignored)
    _, first = np.unique(nearest[claims], return_index=True)  # the best score comes first
    hit[claims[first]] = True
    return hit, ignored


def _class_ap(
    scores: list[NDArray[np.float32]],
    hits: list[NDArray[np.bool_]],
    ignored: list[NDArray[np.bool_]],
    objects: int,
) -> float:
    if not scores:
        return 0.0
    order = np.argsort(-np.concatenate(scores), kind="stable")
    counted = order[~np.concatenate(ignored)[order]]
    hit = np.concatenate(hits)[counted]
    true_positives = np.cumsum(hit)
    recall = true_positives / objects
    precision = true_positives / np.arange(1, len(hit) + 1)
    return eleven_point_ap(recall, precision)


def eleven_point_ap(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    """Mean over recall 0, 0.1 … 1 of the best precision at that recall or a higher one.

    Args:
        recall, precision: [M], along the ranked detections; recall ascends.
    """
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    start = np.searchsorted(recall, RECALL_POINTS, side="left")  # the first that reaches the point
    reached = start < len(recall)
    return float(best_from_here[start[reached]].sum() / len(RECALL_POINTS))
