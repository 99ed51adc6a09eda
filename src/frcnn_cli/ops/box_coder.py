"""The box parameterisation of R-CNN (Girshick et al. 2014, appendix C; Fast R-CNN, section 2.3).

    t_x = (G_x - P_x) / P_w    t_w = log(G_w / P_w)
    t_y = (G_y - P_y) / P_h    t_h = log(G_h / P_h)

with P a proposal and G the box it should become, both as centre and size.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .boxes import Boxes

# A predicted log-scale beyond this would overflow exp; no box grows by more than 1000/16.
MAX_LOG_SCALE = math.log(1000.0 / 16.0)


def _centres_and_sizes(boxes: Boxes) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    sizes = boxes[:, 2:] - boxes[:, :2]
    return boxes[:, :2] + np.float32(0.5) * sizes, sizes


def encode(proposals: Boxes, targets: Boxes) -> NDArray[np.float32]:
    """Deltas (t_x, t_y, t_w, t_h) that turn each proposal into its target.

    Args:
        proposals: [N, 4], width and height above zero.
        targets: [N, 4], width and height above zero.
    Returns:
        [N, 4], without unit.
    """
    centres, sizes = _centres_and_sizes(proposals)
    target_centres, target_sizes = _centres_and_sizes(targets)
    shift = (target_centres - centres) / sizes
    return np.concatenate([shift, np.log(target_sizes / sizes)], axis=1).astype(np.float32)


def decode(proposals: Boxes, deltas: NDArray[np.float32]) -> Boxes:
    """Boxes that `deltas` [N, 4] make of `proposals` [N, 4]; the inverse of `encode`."""
    centres, sizes = _centres_and_sizes(proposals)
    with np.errstate(over="ignore"):  # an absurd shift becomes infinity, which clipping ends
        new_centres = deltas[:, :2] * sizes + centres
    half = np.float32(0.5) * np.exp(np.minimum(deltas[:, 2:], np.float32(MAX_LOG_SCALE))) * sizes
    return np.concatenate([new_centres - half, new_centres + half], axis=1).astype(np.float32)
