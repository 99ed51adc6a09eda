"""Which detection found which object, for a whole data set at once.

I: images, M: detections of all images, G: objects of all images, K: classes, labelled 1..K.
Boxes are float64 here: at an IoU of exactly a half float32 would decide by its rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..structures import Detections, GroundTruth

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

IOU_THRESHOLD = 0.5
_PAIRS_AT_ONCE = 2_000_000  # bounds the memory at about 200 MB


@dataclass(frozen=True)
class DetectionTable:
    """Detections, image after image, in the order in which they came."""

    image: Ints  # M, in 0..I-1
    boxes: Floats  # M×4
    scores: Floats  # M
    labels: Ints  # M

    def __len__(self) -> int:
        return len(self.image)


@dataclass(frozen=True)
class ObjectTable:
    """Annotated objects, image after image, in the order of the annotations."""

    image: Ints  # G, in 0..I-1
    boxes: Floats  # G×4
    labels: Ints  # G
    difficult: Flags  # G
    areas: Floats  # G, square pixels

    def __len__(self) -> int:
        return len(self.image)

    def counts(self, class_count: int) -> Ints:
        """Objects of each class that are not difficult, [K]."""
        labels = self.labels[~self.difficult]
        return np.bincount(labels, minlength=class_count + 1)[1:].astype(np.int64)


@dataclass(frozen=True)
class Matches:
    """What became of each detection."""

    nearest: Ints  # M, the object of its class that it overlaps most; -1 where there is none
    overlap: Floats  # M, the IoU with it
    hit: Flags  # M, the first to find its object
    ignored: Flags  # M, on a difficult object: neither right nor wrong


def detection_table(detections: Sequence[Detections], class_count: int) -> DetectionTable:
    """The detections of I images in one table; labels outside 1..K are left out."""
    counts = np.array([len(each) for each in detections], np.int64)
    image = np.repeat(np.arange(len(detections)), counts)
    labels = _joined([each.labels for each in detections]).astype(np.int64)
    boxes = _joined([each.boxes for each in detections]).astype(np.float64).reshape(-1, 4)
    scores = _joined([each.scores for each in detections]).astype(np.float64)
    known = (labels >= 1) & (labels <= class_count)
    if known.all():
        return DetectionTable(image, boxes, scores, labels)
    return DetectionTable(image[known], boxes[known], scores[known], labels[known])


def object_table(truths: Sequence[GroundTruth], class_count: int) -> ObjectTable:
    """The objects of I images in one table; labels outside 1..K are left out."""
    counts = np.array([len(each.labels) for each in truths], np.int64)
    image = np.repeat(np.arange(len(truths)), counts)
    labels = _joined([each.labels for each in truths]).astype(np.int64)
    boxes = _joined([each.boxes for each in truths]).astype(np.float64).reshape(-1, 4)
    difficult = _joined([each.difficult for each in truths]).astype(np.bool_)
    given = [np.full(len(t.labels), np.nan) if t.areas is None else t.areas for t in truths]
    areas = _joined(given).astype(np.float64)
    areas = np.where(np.isnan(areas), (boxes[:, 2:] - boxes[:, :2]).prod(axis=1), areas)
    known = (labels >= 1) & (labels <= class_count)
    return ObjectTable(image[known], boxes[known], labels[known], difficult[known], areas[known])


def _joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(parts) if len(parts) else np.zeros(0)


def pair_iou(boxes: Floats, others: Floats) -> Floats:
    """IoU of each box with the one in the same row, [M]; 0 where both are empty."""
    width = np.minimum(boxes[:, 2], others[:, 2]) - np.maximum(boxes[:, 0], others[:, 0])
    height = np.minimum(boxes[:, 3], others[:, 3]) - np.maximum(boxes[:, 1], others[:, 1])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    other = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    union = area + other - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def nearest_objects(
    groups: Ints, boxes: Floats, object_groups: Ints, object_boxes: Floats
) -> tuple[Ints, Floats]:
    """The object that each detection overlaps most, among those of its group.

    Args:
        groups [M], object_groups [G]: small numbers from 0 on, such as that of the image.
    Returns:
        The index of the object [M], the first of those that overlap equally, -1 where the group
        has none; and the IoU with it [M], 0 where there is none.
    """
    order = np.argsort(object_groups, kind="stable")
    size = int(max(groups.max(initial=-1), object_groups.max(initial=-1))) + 1
    members = np.bincount(object_groups, minlength=size)
    first = np.cumsum(members) - members
    nearest = np.full(len(groups), -1, np.int64)
    overlap = np.zeros(len(groups))
    some = np.flatnonzero(members[groups])
    for rows in _blocks(some, members[groups[some]]):
        counts = members[groups[rows]]
        starts = np.cumsum(counts) - counts
        offsets = np.arange(counts.sum()) - np.repeat(starts - first[groups[rows]], counts)
        columns = order[offsets]
        iou = pair_iou(np.repeat(boxes[rows], counts, axis=0), object_boxes[columns])
        best = np.maximum.reduceat(iou, starts)
        at_best = np.flatnonzero(iou == np.repeat(best, counts))
        place = np.searchsorted(at_best, starts)  # the first of the equals
        nearest[rows], overlap[rows] = columns[at_best[place]], best
    return nearest, overlap


def _blocks(rows: Ints, pairs: Ints) -> Iterator[Ints]:
    """Rows in runs of about _PAIRS_AT_ONCE pairs."""
    number = np.cumsum(pairs) // _PAIRS_AT_ONCE
    yield from (part for part in np.split(rows, np.flatnonzero(np.diff(number)) + 1) if len(part))


def best_first(scores: Floats) -> Ints:
    """The order of falling scores, equal ones as they came, as MATLAB's sort has it."""
    return np.argsort(-scores, kind="stable")


def match(detections: DetectionTable, objects: ObjectTable) -> Matches:
    """Compare detections and objects as VOCevaldet.m does.

    Each detection goes to the object of its class that it overlaps most. An IoU of IOU_THRESHOLD
    or more is a hit for the best score that claims the object, a false positive for later ones,
    and does not count at all for a difficult object.
    """
    classes = int(max(detections.labels.max(initial=0), objects.labels.max(initial=0))) + 1
    nearest, overlap = nearest_objects(
        detections.image * classes + detections.labels,
        detections.boxes,
        objects.image * classes + objects.labels,
        objects.boxes,
    )
    close = overlap >= IOU_THRESHOLD
    ignored = np.zeros(len(close), np.bool_)
    ignored[close] = objects.difficult[nearest[close]]
    claims = np.flatnonzero(close & ~ignored)
    claims = claims[best_first(detections.scores[claims])]
    _, first = np.unique(nearest[claims], return_index=True)
    hit = np.zeros(len(close), np.bool_)
    hit[claims[first]] = True
    return Matches(nearest, overlap, hit, ignored)
