"""Greedy non-maximum suppression, Soft-NMS and box voting, each class by itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .boxes import Boxes
from .kernels import njit


@njit(inline="always")
def _intersection(boxes, i, j):
    """The area that boxes i and j have in common."""
    width = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0])
    height = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1])
    return width * height if width > 0 and height > 0 else np.float32(0)


@njit(cache=True, nogil=True, error_model="numpy")  # 0 / 0 is not above any threshold
def _greedy(boxes, labels, threshold):
    """Which boxes are kept, [N] bool; the boxes are sorted by class, then best score first."""
    n = boxes.shape[0]
    keep = np.ones(n, np.bool_)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for i in range(n):
        if not keep[i]:
            continue
        for j in range(i + 1, n):
            if labels[j] != labels[i]:
                break
            if keep[j]:
                intersection = _intersection(boxes, i, j)
                keep[j] = not intersection / (areas[i] + areas[j] - intersection) > threshold
    return keep


def nms(
    boxes: Boxes, scores: NDArray[np.float32], labels: NDArray[np.int64], threshold: float
) -> NDArray[np.intp]:
    """Greedy non-maximum suppression.

    A box is dropped if its IoU with a kept box of the same class and a better score is above the
    threshold; at equality it is kept, as in torchvision. Equal scores keep their order.

    Args:
        boxes: [N, 4]. scores: [N]. labels: [N], the class of each box.
        threshold: IoU in 0..1.
    Returns:
        Indices of the kept boxes, best score first.
    """
    order = np.lexsort((-scores, labels))  # by class, so that boxes of two classes never meet
    kept = order[_greedy(boxes[order], labels[order], np.float32(threshold))]
    return kept[np.lexsort((kept, -scores[kept]))]


@njit(cache=True, nogil=True, error_model="numpy")
def _vote(boxes, scores, labels, kept, threshold, voted):
    """Write the mean for each kept box into `voted`, [K, 4] float64, which starts as zeros."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for k in range(len(kept)):
        i, total = kept[k], 0.0
        for j in range(len(boxes)):
            if labels[j] == labels[i]:
                intersection = _intersection(boxes, i, j)
                if j == i or intersection / (areas[i] + areas[j] - intersection) >= threshold:
                    total += scores[j]
                    for side in range(4):
                        voted[k, side] += scores[j] * np.float64(boxes[j, side])
        for side in range(4):
            voted[k, side] /= total


def vote(
    boxes: Boxes,
    scores: NDArray[np.float32],
    labels: NDArray[np.int64],
    kept: NDArray[np.intp],
    threshold: float,
) -> Boxes:
    """Box voting (Gidaris and Komodakis 2015, section 5).

    Each kept box is replaced by the mean, weighted by score, of all boxes of its class whose IoU
    with it is at least the threshold, itself included.

    Args:
        boxes: [N, 4]. scores: [N], above 0. labels: [N], the class of each box.
        kept: [K], indices of the kept boxes. threshold: IoU in 0..1.
    Returns:
        [K, 4].
    """
    voted = np.zeros((len(kept), 4))
    _vote(boxes, scores, labels, kept, np.float32(threshold), voted)
    return voted.astype(np.float32)


@njit(cache=True, nogil=True, error_model="numpy")
def _soften(boxes, scores, labels, pictures, threshold, min_score):
    """Lower `scores` in place, and return the indices of the boxes in the order they were taken."""
    n = boxes.shape[0]
    taken = np.empty(n, np.int64)
    remaining = np.ones(n, np.bool_)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for step in range(n):
        best = -1
        for i in range(n):
            if remaining[i] and scores[i] > min_score and (best < 0 or scores[i] > scores[best]):
                best = i
        if best < 0:
            return taken[:step]
        taken[step] = best
        remaining[best] = False
        for j in range(n):
            if remaining[j] and labels[j] == labels[best] and pictures[j] != pictures[best]:
                intersection = _intersection(boxes, best, j)
                iou = intersection / (areas[best] + areas[j] - intersection)
                if iou > threshold:
                    scores[j] *= np.float32(1) - iou
    return taken


def soft_nms(
    boxes: Boxes,
    scores: NDArray[np.float32],
    labels: NDArray[np.int64],
    threshold: float,
    min_score: float,
    pictures: NDArray[np.intp] | None = None,
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Soft-NMS (Bodla et al. 2017) with linear weights: boxes lose score instead of being dropped.

    The best box is taken, and the score of each remaining box of its class whose IoU with it is
    above the threshold is multiplied by 1 - IoU. This is repeated with the best remaining box; of
    equal scores the first is taken.

    Args:
        boxes: [N, 4]. scores: [N]. labels: [N], the class of each box. threshold: IoU in 0..1.
        min_score: boxes are taken while their score is above it.
        pictures: [N], where the boxes come from several soft-NMS: the number of each one's, whose
            boxes do not lower each other's scores again. None: all boxes are new.
    Returns:
        Indices of the boxes taken, in falling order of their new scores, and these scores.
    """
    lowered = scores.astype(np.float32)
    pictures = np.arange(len(boxes)) if pictures is None else pictures
    limits = np.float32(threshold), np.float32(min_score)
    taken = _soften(boxes, lowered, labels, pictures, *limits)
    return taken, lowered[taken]
