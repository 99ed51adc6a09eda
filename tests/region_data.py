"""Stored regions with made-up features, for the tests of the SVMs and the box regressors."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from frcnn_cli.structures import GroundTruth
from frcnn_cli.training.region_store import RegionStore

WIDTH, CLASSES = 8, 2


def make_regions(
    folder: Path, images: int = 12, per_image: int = 40, seed: int = 0
) -> tuple[RegionStore, list[GroundTruth]]:
    """Images with an object of each class and random boxes.

    The features of a region tell how far it overlaps the objects, with noise, so that some regions
    are hard.
    """
    rng = np.random.default_rng(seed)
    store = RegionStore(folder, WIDTH, {})
    truths = []
    for _ in range(images):
        corners = rng.uniform(0, 60, (CLASSES, 2))
        objects = np.concatenate([corners, corners + rng.uniform(20, 40, (CLASSES, 2))], axis=1)
        shifted = np.repeat(objects, per_image // 4, axis=0)
        shifted = shifted + rng.normal(0, 6, shifted.shape)
        starts = rng.uniform(0, 80, (per_image, 2))
        others = np.concatenate([starts, starts + rng.uniform(5, 30, (per_image, 2))], axis=1)
        boxes = np.concatenate([objects, shifted, others]).astype(np.float32)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 4)
        truth = GroundTruth(
            boxes=objects.astype(np.float32),
            labels=np.arange(1, CLASSES + 1),
            difficult=np.zeros(CLASSES, np.bool_),
        )
        # the distance of each of the four sides from each object's
        distances = (boxes[:, None] - objects[None]).reshape(len(boxes), WIDTH) / 15
        features = distances + rng.normal(0, 0.2, distances.shape)
        store.add(boxes, np.exp(-(features**2)).astype(np.float16))
        truths.append(truth)
    store.save()
    return store, truths
