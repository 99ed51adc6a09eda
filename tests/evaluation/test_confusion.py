from __future__ import annotations

import numpy as np
import pytest

from frcnn_cli.evaluation.confusion import confusion_matrix, image_counts
from frcnn_cli.evaluation.matching import match_detections
from frcnn_cli.structures import Detections, GroundTruth


def detections(*rows: tuple) -> Detections:
    """Rows of (label, score, x1, y1, x2, y2)."""
    return Detections(
        boxes=np.array([row[2:] for row in rows], np.float32).reshape(-1, 4),
        scores=np.array([row[1] for row in rows], np.float32),
        labels=np.array([row[0] for row in rows], np.int64),
        image_size=(100, 100),
    )


def objects(*rows: tuple, difficult: tuple[bool, ...] | None = None) -> GroundTruth:
    """Rows of (label, x1, y1, x2, y2)."""
    return GroundTruth(
        boxes=np.array([row[1:] for row in rows], np.float32).reshape(-1, 4),
        labels=np.array([row[0] for row in rows], np.int64),
        difficult=np.array(difficult or (False,) * len(rows), np.bool_),
    )


A, B = (0, 0, 10, 10), (50, 50, 70, 70)


def test_confusions_of_two_images() -> None:
    matched = match_detections(
        [
            # the right one, a weaker one of another class on the same object, and background
            detections((1, 0.9, *A), (2, 0.8, *A), (2, 0.7, 80, 80, 99, 99)),
            # an object taken for class 1 although a weaker detection is right; one below the score
            detections((1, 0.9, *B), (2, 0.8, *B), (2, 0.3, *A)),
            detections(),
        ],
        [objects((1, *A)), objects((2, *B), (2, *A)), objects((1, *B))],
        class_count=2,
    )
    matrix = confusion_matrix(matched, 0.5)
    #        background, 1, 2
    assert matrix.tolist() == [[0, 0, 3], [1, 1, 0], [1, 1, 0]]
    counts = image_counts(matched, 0.5)
    assert counts.found.tolist() == [1, 1, 0]
    assert counts.false.tolist() == [2, 1, 0]
    assert counts.missed.tolist() == [0, 1, 1]
    assert image_counts(matched, 0.1).missed.tolist() == [0, 0, 1]


def test_a_detection_takes_the_object_that_it_overlaps_most_of_those_left() -> None:
    near = (1, 0, 11, 10)  # IoU 0.82 with A
    matched = match_detections(
        [detections((1, 0.9, *A), (1, 0.8, *A))], [objects((2, *near), (1, *A))], class_count=2
    )
    assert confusion_matrix(matched, 0.5).tolist() == [[0, 0, 0], [0, 1, 0], [0, 1, 0]]


def test_difficult_objects_are_not_counted() -> None:
    matched = match_detections(
        [detections((1, 0.9, *A))],
        [objects((1, *A), (1, *B), difficult=(True, True))],
        class_count=1,
    )
    assert confusion_matrix(matched, 0.5).tolist() == [[0, 0], [0, 0]]
    counts = image_counts(matched, 0.5)
    assert (counts.found[0], counts.false[0], counts.missed[0]) == (0, 0, 0)


@pytest.mark.parametrize("images", [0, 2])
def test_nothing_at_all(images: int) -> None:
    matched = match_detections([detections()] * images, [objects()] * images, class_count=3)
    assert confusion_matrix(matched, 0.5).sum() == 0
    assert len(image_counts(matched, 0.5).found) == images


def test_sums_are_those_of_the_tables() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 60, (40, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 40, (40, 2))], axis=1)
    truths = [objects(*((1 + k % 3, *box) for k, box in enumerate(boxes[:10])))] * 3
    found = [detections(*((1 + k % 3, rng.random(), *box) for k, box in enumerate(boxes)))] * 3
    matrix = confusion_matrix(match_detections(found, truths, class_count=3), 0.4)
    assert matrix[1:].sum() == 30  # every object once
    assert matrix[:, 1:].sum() == sum((each.scores >= 0.4).sum() for each in found)
