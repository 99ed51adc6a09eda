"""Which classes are taken for which, and in which images a detector is at its worst.

K: classes, labelled 1..K; label 0 stands for the background. I: images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .matching import (
    IOU_THRESHOLD,
    Flags,
    Floats,
    Ints,
    MatchedDetections,
    best_first,
    pair_iou,
)


def confusion_matrix(matched: MatchedDetections, score: float) -> Ints:
    """Count what objects were detected as, [K + 1, K + 1]: row annotated, column detected.

    The detections with `score` or more are taken best first, whatever their class; each takes the
    object that overlaps it most of those that are left, if their IoU is IOU_THRESHOLD or more.
    Detections without an object are in row 0, objects without a detection in column 0. Difficult
    objects are not counted, nor are the detections that take them.
    """
    detections, objects = matched.detections, matched.objects
    matrix = np.zeros((matched.class_count + 1,) * 2, np.int64)
    rows = np.flatnonzero(detections.scores >= score)
    rows = rows[best_first(detections.scores[rows])]
    rows = rows[np.argsort(detections.image[rows], kind="stable")]
    images = np.arange(1, matched.image_count)
    for own, present in zip(
        np.split(rows, np.searchsorted(detections.image[rows], images)),
        np.split(np.arange(len(objects)), np.searchsorted(objects.image, images)),
        strict=True,
    ):
        taken = _take(detections.boxes[own], objects.boxes[present])
        counted = ~objects.difficult[present]
        annotated = np.where(taken >= 0, objects.labels[present][taken] if len(present) else 0, 0)
        kept = np.array([place < 0 or counted[place] for place in taken], np.bool_)
        np.add.at(matrix, (annotated[kept], detections.labels[own][kept]), 1)
        left = counted.copy()
        left[taken[taken >= 0]] = False
        matrix[:, 0] += np.bincount(objects.labels[present][left], minlength=len(matrix))
    return matrix


def _take(boxes: Floats, others: Floats) -> Ints:
    """For each box in turn the index of the other that it takes, -1 if there is none."""
    taken = np.full(len(boxes), -1, np.int64)
    free = np.ones(len(others), np.bool_)
    for place, box in enumerate(boxes if len(others) else ()):
        overlaps = np.where(free, pair_iou(np.broadcast_to(box, others.shape), others), -1.0)
        best = int(overlaps.argmax())
        if overlaps[best] >= IOU_THRESHOLD:
            taken[place], free[best] = best, False
    return taken


@dataclass(frozen=True, kw_only=True)
class ImageCounts:
    """Detections with a certain score or more, and objects that are not difficult, by image."""

    found: Ints  # I, objects with a true positive
    false: Ints  # I, false positives
    missed: Ints  # I, objects without a true positive


def image_counts(matched: MatchedDetections, score: float) -> ImageCounts:
    """Count what was found, wrong and missed in each image, by the rules of VOC."""
    detections, objects, matches = matched.detections, matched.objects, matched.matches
    confident = detections.scores >= score

    def count(images: Ints, chosen: Flags) -> Ints:
        return np.bincount(images[chosen], minlength=matched.image_count).astype(np.int64)

    found = count(detections.image, matches.true_positive & confident)
    return ImageCounts(
        found=found,
        false=count(detections.image, matches.false_positive & confident),
        missed=count(objects.image, ~objects.difficult) - found,
    )
