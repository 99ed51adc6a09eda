"""Random and hand-made detections beside the objects that they may have found."""

from __future__ import annotations

import numpy as np

from frcnn_cli.structures import Detections, GroundTruth

IMAGE_SIZE = (40, 40)


def truth(*objects):
    """Objects as (box, label) or (box, label, difficult)."""
    boxes = np.array([o[0] for o in objects], np.float32).reshape(-1, 4)
    labels = np.array([o[1] for o in objects], np.int64)
    difficult = np.array([len(o) > 2 and o[2] for o in objects], np.bool_)
    return GroundTruth(boxes=boxes, labels=labels, difficult=difficult)


def found(*detections):
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
    return found(*(detections[i] for i in order)), truth(*objects)


def random_set(seed, classes):
    """Detections and objects of 1 to 8 images, some empty, with equal scores and duplicates.

    Objects may be difficult; the last class has none. Boxes of even seeds are whole numbers.
    """
    rng = np.random.default_rng(seed)
    images = [_image(rng, classes, seed % 2 == 0) for _ in range(rng.integers(1, 9))]
    detections, truths = zip(*images, strict=True)
    return list(detections), list(truths)
