"""Sampling of RoIs for training (Fast R-CNN, section 2.3, "Mini-batch sampling")."""

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
    """Choose the RoIs of one image at random, foreground first.

    Missing foreground is replaced by background, but not the reverse: with too little background,
    fewer RoIs are returned, as in the original code. Where the fraction is not of whole RoIs, as
    for one RoI an image, it is right on average.

    Args:
        max_overlaps: [N], IoU of each proposal with the object it overlaps most.
        rois_per_image: R / number of images in the batch (64 in the paper).
        fg_fraction: largest fraction of foreground (0.25 in the paper).
        fg_threshold: least IoU of foreground (0.5 in the paper).
        bg_thresholds: background has an IoU in [low, high) ([0.1, 0.5) in the paper).
    Returns:
        Indices of the chosen proposals, at most `rois_per_image`; and the number of foreground
        ones, which come first.
    """
    low, high = bg_thresholds
    foreground = np.flatnonzero(max_overlaps >= fg_threshold)
    background = np.flatnonzero((max_overlaps >= low) & (max_overlaps < high))
    most_fg = int(rois_per_image * fg_fraction + 1e-9)
    rest = rois_per_image * fg_fraction - most_fg
    if rest > 1e-9:
        most_fg += int(rng.random() < rest)
    fg_count = min(most_fg, len(foreground))
    bg_count = min(rois_per_image - fg_count, len(background))
    chosen_fg = rng.choice(foreground, fg_count, replace=False)
    chosen_bg = rng.choice(background, bg_count, replace=False)
    return np.concatenate([chosen_fg, chosen_bg]).astype(np.intp), fg_count
