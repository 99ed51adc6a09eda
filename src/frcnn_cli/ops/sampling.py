"""RoI sampling (Fast R-CNN, section 2.3, "Mini-batch sampling")."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def sample_rois(
    max_overlaps: NDArray[np.float32],
    rois_per_image: int,
    fg_fraction: float,
    fg_threshold: float,
    bg_thresholds: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[NDArray[np.intp], int]:
    """Choose the RoIs of one image, foreground first.

    Foreground has IoU >= `fg_threshold` with an object; background has IoU in
    [`bg_thresholds`[0], `bg_thresholds`[1]) with its best object. Where there are too few of
    either, fewer RoIs are returned, as in the original.

    Args:
        max_overlaps: [N], IoU of each proposal with the object it overlaps most.
        rois_per_image: R / number of images in the batch (64 in the paper).
        fg_fraction: largest share of foreground (0.25 in the paper).
    Returns:
        Indices of the chosen proposals, and how many of them (the first ones) are foreground.
    """
    low, high = bg_thresholds
    foreground = np.flatnonzero(max_overlaps >= fg_threshold)
    background = np.flatnonzero((max_overlaps >= low) & (max_overlaps < high))
    fg_count = min(round(rois_per_image * fg_fraction), len(foreground))
    bg_count = min(rois_per_image - fg_count, len(background))
    chosen_fg = rng.choice(foreground, fg_count, replace=False)
    chosen_bg = rng.choice(background, bg_count, replace=False)
    return np.concatenate([chosen_fg, chosen_bg]).astype(np.intp), fg_count
