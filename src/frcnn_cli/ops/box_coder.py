"""The box parameterisation of R-CNN (Girshick et al. 2014, appendix C; Fast R-CNN, section 2.3).

    t_x = (G_x - P_x) / P_w    t_w = log(G_w / P_w)
    t_y = (G_y - P_y) / P_h    t_h = log(G_h / P_h)

P is a proposal and G the box it should become, both given by centre (x, y) and size (w, h).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .boxes import Boxes

# Limit of t_w and t_h, so that exp does not overflow: no side grows by more than 1000 / 16 times.
MAX_LOG_SCALE = math.log(1000.0 / 16.0)


def _centres_and_sizes(boxes: Boxes) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centres [N, 2] (x, y) and sizes [N, 2] (width, height) of boxes [N, 4]."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    return boxes[:, :2] + np.float32(0.5) * sizes, sizes


def encode(proposals: Boxes, targets: Boxes) -> NDArray[np.float32]:
    """Deltas (t_x, t_y, t_w, t_h) that turn each proposal into its target.

    Args:
        proposals, targets: [N, 4], width and height above zero.
    Returns:
        [N, 4].
    """
    centres, sizes = _centres_and_sizes(proposals)
    target_centres, target_sizes = _centres_and_sizes(targets)
    shift = (target_centres - centres) / sizes
    return np.concatenate([shift, np.log(target_sizes / sizes)], axis=1).astype(np.float32)


def decode(proposals: Boxes, deltas: NDArray[np.float32]) -> Boxes:
    """Boxes [N, 4] that `deltas` [N, 4] turn `proposals` [N, 4] into; the inverse of `encode`."""
    centres, sizes = _centres_and_sizes(proposals)
    with np.errstate(over="ignore"):  # a huge shift becomes infinity, and is clipped later
        new_centres = deltas[:, :2] * sizes + centres
    half = np.float32(0.5) * np.exp(np.minimum(deltas[:, 2:], np.float32(MAX_LOG_SCALE))) * sizes
    return np.concatenate([new_centres - half, new_centres + half], axis=1).astype(np.float32)
