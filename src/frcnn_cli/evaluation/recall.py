"""Recall of proposals (Hosang et al., PAMI 2016) and their average best overlap (Uijlings et al.).

N: proposals, G: objects that are not difficult, C: numbers of proposals to measure at.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..ops import boxes as box_ops
from ..runtime.svg import Axis, Series, axis, line_chart
from ..structures import GroundTruth, Proposals

# Numbers of proposals in a table, and along a curve.
COUNTS = (100, 200, 500, 1000, 2000, 5000, 10_000)
CURVE = (
    10, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700,
    1000, 1500, 2000, 3000, 5000, 7000, 10_000,
)  # fmt: skip
THRESHOLDS = (0.5, 0.7)  # the smallest IoU at which a proposal covers an object


def best_overlaps(
    proposals: Proposals, ground_truth: GroundTruth, counts: tuple[int, ...]
) -> NDArray[np.float32]:
    """The largest IoU of each object with any of the first proposals of its image.

    Args:
        counts: C numbers of proposals.
    Returns:
        [G, C], for the G objects that are not difficult.
    """
    objects = ground_truth[~ground_truth.difficult].boxes
    overlaps = box_ops.iou(proposals.boxes, objects)  # [N, G]
    best = [overlaps[:count].max(axis=0, initial=0) for count in counts]
    return np.stack(best, axis=1)


def recall_table(
    best: NDArray[np.float32], labels: NDArray[np.int64], counts: Sequence[int]
) -> dict[str, dict[str, float]]:
    """Recall and average best overlap for each number of proposals.

    Args:
        best: [G, C], from `best_overlaps`, of all images. labels: [G]. counts: C.
    Returns:
        By number of proposals: `0.5` and `0.7`, the fraction of the objects that a proposal covers
        with at least this IoU; `abo`, the average best overlap; `mabo`, the mean over the classes
        of their average best overlaps.
    """
    table = {}
    for column, count in enumerate(counts):
        overlaps = best[:, column]
        class_means = [overlaps[labels == label].mean() for label in np.unique(labels)]
        row = {str(each): float((overlaps >= each).mean()) for each in THRESHOLDS}
        row |= {"abo": float(overlaps.mean()), "mabo": float(np.mean(class_means))}
        table[str(count)] = {key: round(value, 4) for key, value in row.items()}
    return table


class RecallMeter:
    """Collects how well proposals cover the objects of a data set, image by image.

    Args:
        counts: numbers of proposals that it can measure at.
    """

    def __init__(self, counts: tuple[int, ...] = CURVE) -> None:
        self._counts = counts
        self._overlaps = [np.zeros((0, len(counts)), np.float32)]
        self._labels = [np.zeros(0, np.int64)]

    def add(self, proposals: Proposals, ground_truth: GroundTruth) -> None:
        """Add the proposals and objects of an image."""
        self._overlaps.append(best_overlaps(proposals, ground_truth, self._counts))
        self._labels.append(ground_truth.labels[~ground_truth.difficult])

    @property
    def objects(self) -> int:
        """Objects so far that are not difficult."""
        return sum(map(len, self._labels))

    def table(self, counts: Sequence[int]) -> dict[str, dict[str, float]]:
        """The `recall_table` at some of the meter's counts; empty if there was no object."""
        if not self.objects:
            return {}
        columns = [self._counts.index(count) for count in counts]
        overlaps = np.concatenate(self._overlaps)[:, columns]
        return recall_table(overlaps, np.concatenate(self._labels), counts)

    def chart(self, title: str) -> str:
        """Recall and MABO over the number of proposals, as an SVG file.

        Raises:
            DataError: there was no object.
        """
        table = self.table(self._counts)
        if not table:
            raise DataError("there are no objects in these images", "choose another split")
        names = {"0.5": "recall at IoU 0.5", "0.7": "recall at IoU 0.7", "mabo": "MABO"}
        lines = [
            Series(name, [(int(count), row[key]) for count, row in table.items()])
            for key, name in names.items()
        ]
        across = axis("proposals an image", self._counts, logarithmic=True)
        return line_chart(title, across, Axis("fraction of the objects, overlap", 0, 1), lines)
