"""Greedy non-maximum suppression, each class by itself."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .boxes import Boxes


@njit(cache=True, nogil=True, error_model="numpy")  # 0 / 0 is not above any threshold
def _greedy(boxes, labels, threshold):
    n = boxes.shape[0]
    keep = np.ones(n, np.bool_)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for i in range(n):
        if not keep[i]:
            continue
        for j in range(i + 1, n):
            if not keep[j] or labels[j] != labels[i]:
                continue
            width = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0])
            height = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1])
            if width <= 0 or height <= 0:
                continue
            intersection = width * height
            if intersection / (areas[i] + areas[j] - intersection) > threshold:
                keep[j] = False
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
    order = np.argsort(-scores, kind="stable")
    return order[_greedy(boxes[order], labels[order], np.float32(threshold))]
