"""Boxes: N×4 float32 arrays (x1, y1, x2, y2) in pixels, continuous and half-open.

A box covers x1 <= x < x2, so its width is x2 - x1 and areas need no +1.
N, M: numbers of boxes; sizes are (height, width).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]


def area(boxes: Boxes) -> NDArray[np.float32]:
    """Areas in square pixels, [N]; zero for inverted boxes."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return sides[:, 0] * sides[:, 1]


def iou(boxes: Boxes, others: Boxes) -> NDArray[np.float32]:
    """Intersection over union of each box with each of `others`, [N, M]; 0 for empty boxes."""
    intersection = intersections(boxes, others)
    union = area(boxes)[:, None] + area(others)[None, :] - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


def intersections(boxes: Boxes, others: Boxes) -> NDArray[np.float32]:
    """The area that each box has in common with each of `others`, [N, M], in square pixels."""
    top_left = np.maximum(boxes[:, None, :2], others[None, :, :2])  # [N, M, 2]
    bottom_right = np.minimum(boxes[:, None, 2:], others[None, :, 2:])  # [N, M, 2]
    sides = np.maximum(bottom_right - top_left, 0)
    common: NDArray[np.float32] = sides[..., 0] * sides[..., 1]
    return common


def clip(boxes: Boxes, size: tuple[int, int]) -> Boxes:
    """Boxes clipped to an image of `size` (height, width)."""
    height, width = size
    limit = np.array([width, height, width, height], dtype=np.float32)
    return np.clip(boxes, 0, limit)


def scale(boxes: Boxes, factor: float) -> Boxes:
    """The same boxes in an image resized by `factor`."""
    return boxes * np.float32(factor)


def to_last_pixel(boxes: Boxes, enabled: bool = True) -> Boxes:
    """Boxes that end with their last pixel, as in Caffe's Fast R-CNN; half a pixel or larger.

    Args:
        enabled: otherwise the boxes are returned as they are.
    """
    if not enabled:
        return boxes
    return np.concatenate(
        [boxes[:, :2], np.maximum(boxes[:, 2:] - 1, boxes[:, :2] + np.float32(0.5))], axis=1
    )


def from_last_pixel(boxes: Boxes, enabled: bool = True) -> Boxes:
    """The inverse of `to_last_pixel`."""
    return boxes + np.array([0, 0, 1, 1], np.float32) if enabled else boxes


def flip(boxes: Boxes, width: int) -> Boxes:
    """The same boxes in an image of `width` pixels that was flipped horizontally."""
    flipped = boxes.copy()
    flipped[:, 0] = width - boxes[:, 2]
    flipped[:, 2] = width - boxes[:, 0]
    return flipped
