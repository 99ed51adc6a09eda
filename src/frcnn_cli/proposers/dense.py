"""Sliding windows over scales and aspect ratios (Fast R-CNN, section 5.5).

The windows of one shape lie on a grid whose step is a fraction of their sides, so that neighbours
overlap by the same fraction at every scale. Larger windows come first, since fewer of them cover
the image.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..structures import Proposals

VERSION = 1  # part of every cache key

SCALES = 2.0 ** -np.arange(0, 3.5, 0.5)  # square root of (area of a window / area of the image)
ASPECTS = (1.0, 0.5, 2.0)  # height / width
STEP = 0.25  # fraction of a window's side
MIN_SIDE = 12.0  # pixels


def dense(image: NDArray[np.uint8]) -> Proposals:
    """Propose windows over an [H, W, 3] image, the largest first; the first is the whole image."""
    height, width = image.shape[:2]
    grids = [np.array([[0, 0, width, height]], dtype=np.float64)]
    for scale in SCALES:
        side = scale * np.sqrt(height * width)
        for aspect in ASPECTS:
            box_width = min(float(width), side / np.sqrt(aspect))
            box_height = min(float(height), side * np.sqrt(aspect))
            if min(box_width, box_height) >= MIN_SIDE:
                grids.append(_grid(width, height, box_width, box_height))
    boxes = np.rint(np.concatenate(grids)).astype(np.float32)
    _, first = np.unique(boxes, axis=0, return_index=True)
    return Proposals(boxes[np.sort(first)], (height, width))


def _grid(width: int, height: int, box_width: float, box_height: float) -> NDArray[np.float64]:
    """[N, 4] windows of one shape, spread evenly from edge to edge of the image."""
    columns = 1 + round((width - box_width) / (STEP * box_width))
    rows = 1 + round((height - box_height) / (STEP * box_height))
    x = np.linspace(0, width - box_width, columns)
    y = np.linspace(0, height - box_height, rows)
    left, top = (grid.ravel() for grid in np.meshgrid(x, y))
    return np.stack([left, top, left + box_width, top + box_height], axis=1)
