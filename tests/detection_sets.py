"""Random and hand-made detections and objects, for the tests of evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from frcnn_cli.evaluation.detection_log import DetectionLog, Header
from frcnn_cli.structures import Detections, GroundTruth

IMAGE_SIZE = (40, 40)
LOG_HEADER = Header(("ball", "box", "tile"), {"weights": "w", "settings": {"classes": []}})


def make_truth(*objects):
    """Objects as (box, label) or (box, label, difficult)."""
    boxes = np.array([o[0] for o in objects], np.float32).reshape(-1, 4)
    labels = np.array([o[1] for o in objects], np.int64)
    difficult = np.array([len(o) > 2 and o[2] for o in objects], np.bool_)
    return GroundTruth(boxes=boxes, labels=labels, difficult=difficult)


def make_detections(*detections):
    """Detections as (box, score, label)."""
    boxes = np.array([d[0] for d in detections], np.float32).reshape(-1, 4)
    scores = np.array([d[1] for d in detections], np.float32)
    labels = np.array([d[2] for d in detections], np.int64)
    return Detections(boxes=boxes, scores=scores, labels=labels, image_size=IMAGE_SIZE)


def _box(rng, whole):
    x, y = rng.integers(0, 12, 2) if whole else rng.uniform(0, 12, 2)
    w, h = rng.integers(2, 14, 2) if whole else rng.uniform(2, 14, 2)
    return (x, y, x + w, y + h)


def _near(rng, box, whole):
    shift = rng.integers(-1, 2, 4) if whole else rng.uniform(-1, 1, 4)
    x1, y1, x2, y2 = np.array(box) + shift
    return (x1, y1, max(x2, x1 + 1), max(y2, y1 + 1))


def _image(rng, classes, whole):
    objects = [
        (_box(rng, whole), rng.integers(1, classes), rng.random() < 0.25)
        for _ in range(rng.integers(0, 6))
    ]
    copies = [
        (_near(rng, box, whole), rng.integers(1, 8) / 8, label)
        for box, label, _ in objects
        for _ in range(rng.integers(0, 4))
    ]
    strays = [
        (_box(rng, whole), rng.integers(1, 8) / 8, rng.integers(1, classes + 1))
        for _ in range(rng.integers(0, 5))
    ]
    detections = copies + strays
    order = rng.permutation(len(detections))
    return make_detections(*(detections[i] for i in order)), make_truth(*objects)


def random_set(seed, classes):
    """Detections and objects of 1 to 8 images, some empty, with equal scores and duplicates.

    Objects may be difficult; the last class has none. Boxes of even seeds are whole numbers.
    """
    rng = np.random.default_rng(seed)
    images = [_image(rng, classes, seed % 2 == 0) for _ in range(rng.integers(1, 9))]
    detections, truths = zip(*images, strict=True)
    return list(detections), list(truths)


def random_detections(seed: int, count: int = 5) -> Detections:
    """Detections in an image of the synthetic data set."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 50, (count, 2)).astype(np.float32)
    boxes = np.concatenate([corners, corners + rng.uniform(1, 50, (count, 2))], axis=1)
    return Detections(
        boxes=boxes.astype(np.float32),
        scores=rng.random(count).astype(np.float32),
        labels=rng.integers(1, 4, count),
        image_size=(120, 160),
    )


def equal(one: Detections, other: Detections) -> bool:
    """Whether boxes, scores and labels are the same to the last bit."""
    fields = ("boxes", "scores", "labels")
    return all(np.array_equal(getattr(one, each), getattr(other, each)) for each in fields)


def write_log(path: Path, dataset, count: int | None = None) -> list[Detections]:
    """Write a log of the first `count` images; returns detections of every image."""
    detections = [random_detections(index, index) for index in range(len(dataset))]
    with DetectionLog(path, LOG_HEADER) as log:
        for image_id, each in list(zip(dataset.ids, detections, strict=True))[:count]:
            log.add(image_id, 100, each)
    return detections
