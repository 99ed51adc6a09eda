"""Recall of proposals (Hosang et al., PAMI 2016) and their average best overlap (Uijlings et al.).

G: objects that are not difficult; C: numbers of proposals.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..ops import boxes as box_ops
from ..structures import GroundTruth, Proposals

COUNTS = (100, 200, 500, 1000, 2000, 5000, 10_000)  # of the table
CURVE = (
    10,
    20,
    30,
    50,
    70,
    100,
    150,
    200,
    300,
    500,
    700,
    1000,
    1500,
    2000,
    3000,
    5000,
    7000,
    10_000,
)
THRESHOLDS = (0.5, 0.7)


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


def recall_table(
    best: NDArray[np.float32], labels: NDArray[np.int64], counts: Sequence[int]
) -> dict[str, dict[str, float]]:
    """Recall and overlap for each number of proposals.

    Args:
        best: [G, C] of all images, from `best_overlaps`. labels: [G]. counts: C.
    Returns:
        By number of proposals: `0.5` and `0.7`, the share of objects that one of them overlaps by
        so much; `abo`, the average best overlap; `mabo`, the mean over the classes of theirs.
    """
    table = {}
    for column, count in enumerate(counts):
        own = best[:, column]
        of_classes = [own[labels == label].mean() for label in np.unique(labels)]
        row = {str(each): float((own >= each).mean()) for each in THRESHOLDS}
        row |= {"abo": float(own.mean()), "mabo": float(np.mean(of_classes))}
        table[str(count)] = {key: round(value, 4) for key, value in row.items()}
    return table
