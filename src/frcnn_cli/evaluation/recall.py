"""Recall of proposals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..ops import boxes as box_ops
from ..structures import GroundTruth, Proposals


def best_overlaps(
    proposals: Proposals, ground_truth: GroundTruth, counts: tuple[int, ...]
) -> NDArray[np.float32]:
    """How well the first proposals of an image cover its objects.

    Args:
        counts: C numbers of proposals.
    Returns:
        [G, C] for the G objects that are not difficult: the largest IoU of each with any of
        the first `counts` proposals.
    """
    objects = ground_truth[~ground_truth.difficult].boxes
    overlaps = box_ops.iou(proposals.boxes, objects)  # [N, G]
    best = [overlaps[:count].max(axis=0, initial=0) for count in counts]
    return np.stack(best, axis=1)
