"""Match the detections of a whole data set with its objects.

I: images, M: detections of all images, G: objects of all images, K: classes, labelled 1..K.
Boxes are float64 here, because float32 rounding would decide matches at an IoU of exactly 0.5.
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
_MAX_PAIRS = 2_000_000  # compared at once; keeps the memory below about 200 MB


@dataclass(frozen=True, kw_only=True)
class DetectionTable:
    """The detections of all images, in the order of the images."""

    image: Ints  # M, in 0..I-1
    boxes: Floats  # M×4
    scores: Floats  # M
    labels: Ints  # M

    def __len__(self) -> int:
        return len(self.image)

    @property
    def areas(self) -> Floats:
        """Areas of the boxes in square pixels, [M]."""
        return _areas(self.boxes)


@dataclass(frozen=True, kw_only=True)
class ObjectTable:
    """The annotated objects of all images, in the order of the images."""

    image: Ints  # G, in 0..I-1
    boxes: Floats  # G×4
    labels: Ints  # G
    difficult: Flags  # G
    areas: Floats  # G, square pixels; of the outline where the data set gives one

    def __len__(self) -> int:
        return len(self.image)

    def counts(self, class_count: int) -> Ints:
        """The number of objects of each class that are not difficult, [K]."""
        labels = self.labels[~self.difficult]
        return np.bincount(labels, minlength=class_count + 1)[1:].astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Matches:
    """The object that each detection matches, and whether the match counts."""

    nearest: Ints  # M, index of the object of its class with the largest IoU; -1 if there is none
    iou: Floats  # M, IoU with that object
    true_positive: Flags  # M
    ignored: Flags  # M, matches a difficult object: neither a true nor a false positive

    @property
    def false_positive(self) -> Flags:
        """Whether each detection is a false positive, [M]."""
        return ~self.true_positive & ~self.ignored


@dataclass(frozen=True, kw_only=True)
class MatchedDetections:
    """The detections and objects of a data set, and the matches between them."""

    detections: DetectionTable
    objects: ObjectTable
    matches: Matches
    image_count: int
    class_count: int


def match_detections(
    detections: Sequence[Detections], ground_truths: Sequence[GroundTruth], class_count: int
) -> MatchedDetections:
    """Match all detections with all objects; see `match_tables` for the rules.

    Args:
        detections, ground_truths: one for each image, in the same order.
        class_count: K.
    Raises:
        ValueError: the two sequences differ in length.
    """
    if len(detections) != len(ground_truths):
        raise ValueError(
            f"expected detections and objects of the same images, got {len(detections)} images of "
            f"detections and {len(ground_truths)} of objects"
        )
    detected = detection_table(detections, class_count)
    objects = object_table(ground_truths, class_count)
    return MatchedDetections(
        detections=detected,
        objects=objects,
        matches=match_tables(detected, objects),
        image_count=len(detections),
        class_count=class_count,
    )


def detection_table(detections: Sequence[Detections], class_count: int) -> DetectionTable:
    """Put the detections of I images into one table, leaving out labels outside 1..K."""
    counts = np.array([len(each) for each in detections], np.int64)
    image = np.repeat(np.arange(len(detections)), counts)
    labels = _concatenate([each.labels for each in detections]).astype(np.int64)
    boxes = _concatenate([each.boxes for each in detections]).astype(np.float64).reshape(-1, 4)
    scores = _concatenate([each.scores for each in detections]).astype(np.float64)
    known = (labels >= 1) & (labels <= class_count)
    if known.all():
        return DetectionTable(image=image, boxes=boxes, scores=scores, labels=labels)
    return DetectionTable(
        image=image[known], boxes=boxes[known], scores=scores[known], labels=labels[known]
    )


def object_table(ground_truths: Sequence[GroundTruth], class_count: int) -> ObjectTable:
    """Put the objects of I images into one table, leaving out labels outside 1..K."""
    counts = np.array([len(each.labels) for each in ground_truths], np.int64)
    image = np.repeat(np.arange(len(ground_truths)), counts)
    labels = _concatenate([each.labels for each in ground_truths]).astype(np.int64)
    boxes = _concatenate([each.boxes for each in ground_truths]).astype(np.float64).reshape(-1, 4)
    difficult = _concatenate([each.difficult for each in ground_truths]).astype(np.bool_)
    outlines = _concatenate(
        [
            np.full(len(each.labels), np.nan) if each.areas is None else each.areas
            for each in ground_truths
        ]
    ).astype(np.float64)
    areas = np.where(np.isnan(outlines), _areas(boxes), outlines)
    known = (labels >= 1) & (labels <= class_count)
    return ObjectTable(
        image=image[known],
        boxes=boxes[known],
        labels=labels[known],
        difficult=difficult[known],
        areas=areas[known],
    )


def _concatenate(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(parts) if len(parts) else np.zeros(0)


def _areas(boxes: Floats) -> Floats:
    areas: Floats = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return areas


def match_tables(detections: DetectionTable, objects: ObjectTable) -> Matches:
    """Match detections with objects as VOCevaldet.m does.

    Each detection is compared with the object of its class with which it has the largest IoU. At
    an IoU of IOU_THRESHOLD or more, the detection with the best score is the true positive of that
    object, and later ones are false positives; detections of a difficult object are ignored.
    """
    classes = int(max(detections.labels.max(initial=0), objects.labels.max(initial=0))) + 1
    nearest, iou = nearest_objects(
        detections.image * classes + detections.labels,
        detections.boxes,
        objects.image * classes + objects.labels,
        objects.boxes,
    )
    close = iou >= IOU_THRESHOLD
    ignored = np.zeros(len(close), np.bool_)
    ignored[close] = objects.difficult[nearest[close]]
    candidates = np.flatnonzero(close & ~ignored)
    candidates = candidates[best_first(detections.scores[candidates])]
    _, first = np.unique(nearest[candidates], return_index=True)
    true_positive = np.zeros(len(close), np.bool_)
    true_positive[candidates[first]] = True
    return Matches(nearest=nearest, iou=iou, true_positive=true_positive, ignored=ignored)


def nearest_objects(
    groups: Ints, boxes: Floats, object_groups: Ints, object_boxes: Floats
) -> tuple[Ints, Floats]:
    """Find the object of its own group with which each detection has the largest IoU.

    Args:
        groups, object_groups: [M], [G], small integers >= 0, such as the index of the image.
    Returns:
        The index of the object, [M], at equal IoU the first, and the IoU with it, [M]; -1 and 0
        where the group has no objects.
    """
    order = np.argsort(object_groups, kind="stable")
    size = int(max(groups.max(initial=-1), object_groups.max(initial=-1))) + 1
    members = np.bincount(object_groups, minlength=size)
    first = np.cumsum(members) - members
    nearest = np.full(len(groups), -1, np.int64)
    largest = np.zeros(len(groups))
    with_objects = np.flatnonzero(members[groups])
    for rows in _blocks(with_objects, members[groups[with_objects]]):
        counts = members[groups[rows]]
        starts = np.cumsum(counts) - counts
        offsets = np.arange(counts.sum()) - np.repeat(starts - first[groups[rows]], counts)
        columns = order[offsets]
        iou = pair_iou(np.repeat(boxes[rows], counts, axis=0), object_boxes[columns])
        best = np.maximum.reduceat(iou, starts)
        at_best = np.flatnonzero(iou == np.repeat(best, counts))
        first_best = np.searchsorted(at_best, starts)  # at equal IoU the first pair
        nearest[rows], largest[rows] = columns[at_best[first_best]], best
    return nearest, largest


def _blocks(rows: Ints, pair_counts: Ints) -> Iterator[Ints]:
    """Split rows into blocks of about _MAX_PAIRS pairs each."""
    number = np.cumsum(pair_counts) // _MAX_PAIRS
    yield from (part for part in np.split(rows, np.flatnonzero(np.diff(number)) + 1) if len(part))


def pair_iou(boxes: Floats, others: Floats) -> Floats:
    """IoU of each box with the box in the same row of `others`, [M]; 0 where both are empty."""
    width = np.minimum(boxes[:, 2], others[:, 2]) - np.maximum(boxes[:, 0], others[:, 0])
    height = np.minimum(boxes[:, 3], others[:, 3]) - np.maximum(boxes[:, 1], others[:, 1])
    intersection = np.maximum(width, 0) * np.maximum(height, 0)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    other_area = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    union = area + other_area - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


def best_first(scores: Floats) -> Ints:
    """The indices in order of falling score; equal scores keep their order, as in MATLAB's sort."""
    return np.argsort(-scores, kind="stable")
