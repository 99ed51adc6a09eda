"""Greedy non-maximum suppression, the soft kind, and box voting; each class by itself."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .boxes import Boxes


@njit(inline="always")
def _intersection(boxes, i, j):
    width = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0])
    height = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1])
    return width * height if width > 0 and height > 0 else np.float32(0)


@njit(cache=True, nogil=True, error_model="numpy")  # 0 / 0 is not above any threshold
def _greedy(boxes, labels, threshold):
    """Boxes are class by class, the best of each first."""
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
    """Indices of the boxes that stay, best score first.

    A box is dropped when a better one of the same class overlaps it by IoU > `threshold` (not
    at equality, as torchvision). Equal scores keep their order.

    Args:
        boxes: [N, 4]. scores: [N]. labels: [N], the class of each box.
    """
    order = np.lexsort((-scores, labels))  # class by class: none meets the boxes of another
    kept = order[_greedy(boxes[order], labels[order], np.float32(threshold))]
    return kept[np.lexsort((kept, -scores[kept]))]


@njit(cache=True, nogil=True, error_model="numpy")
def _vote(boxes, scores, labels, kept, threshold, voted):
    """Writes the mean of each kept box into `voted`, [K, 4] of float64."""
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
    """Box voting (Gidaris and Komodakis 2015, section 5): a box that stays becomes the mean of
    all boxes of its class that overlap it by IoU >= `threshold`, itself among them, by score.

    Args:
        boxes: [N, 4]. scores: [N], above 0. labels: [N], the class of each box.
        kept: [K], indices of the boxes that stay.
    Returns:
        [K, 4].
    """
    voted = np.zeros((len(kept), 4))
    _vote(boxes, scores, labels, kept, np.float32(threshold), voted)
    return voted.astype(np.float32)


@njit(cache=True, nogil=True, error_model="numpy")
def _soften(boxes, scores, labels, threshold, least):
    """Lowers `scores` in place; returns the boxes taken, in their order."""
    n = boxes.shape[0]
    taken = np.empty(n, np.int64)
    left = np.ones(n, np.bool_)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for step in range(n):
        best = -1
        for i in range(n):
            if left[i] and scores[i] > least and (best < 0 or scores[i] > scores[best]):
                best = i
        if best < 0:
            return taken[:step]
        taken[step] = best
        left[best] = False
        for j in range(n):
            if left[j] and labels[j] == labels[best]:
                intersection = _intersection(boxes, best, j)
                overlap = intersection / (areas[best] + areas[j] - intersection)
                if overlap > threshold:
                    scores[j] *= np.float32(1) - overlap
    return taken


def soft_nms(
    boxes: Boxes,
    scores: NDArray[np.float32],
    labels: NDArray[np.int64],
    threshold: float,
    least: float,
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Soft-NMS (Bodla et al. 2017), the linear kind: boxes lose score instead of being dropped.

    The best box is taken; each that is left and overlaps it by IoU > `threshold` has its score
    multiplied by 1 - IoU; and so on with the best of the rest. Of equal scores the first is taken.

    Args:
        boxes: [N, 4]. scores: [N]. labels: [N], the class of each box.
        least: only boxes whose score stays above it are taken.
    Returns:
        Indices of the boxes taken, best score first, and their new scores.
    """
    lowered = scores.astype(np.float32)
    taken = _soften(boxes, lowered, labels, np.float32(threshold), np.float32(least))
    return taken, lowered[taken]
