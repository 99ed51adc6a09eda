from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from frcnn_cli.inference.drawing import class_colour, draw_regions
from frcnn_cli.training.pictures import BATCHES_FILE, write_batches
from tiny_training import CONFIG, make_learner


def count_near(picture: np.ndarray, label: int) -> int:
    return int((np.abs(picture.astype(int) - class_colour(label)).max(axis=2) < 40).sum())


def test_the_first_batches_are_drawn(dataset, source, init, tmp_path) -> None:
    learner = make_learner(dataset, source, init)
    write_batches(tmp_path, learner.batches)
    with Image.open(tmp_path / BATCHES_FILE) as picture:
        shown = np.asarray(picture)
    assert shown.shape == (3 * 308 + 8, 4 * 408 + 8, 3)  # 6 iterations of 2 images
    labels = learner.batches(0).targets.labels
    assert count_near(shown[:, :816], int(labels[labels > 0][0])) > 100


def test_a_run_of_one_iteration(dataset, source, init, tmp_path) -> None:
    learner = make_learner(dataset, source, init, replace(CONFIG, iterations=1))
    write_batches(tmp_path, learner.batches)
    with Image.open(tmp_path / BATCHES_FILE) as picture:
        assert picture.size == (2 * 408 + 8, 308 + 8)


def test_an_image_that_is_gone_is_left_to_the_training(dataset, source, init, tmp_path) -> None:
    learner = make_learner(dataset, source, init)
    for path in dataset.paths:
        path.unlink()
    write_batches(tmp_path, learner.batches)
    assert (tmp_path / BATCHES_FILE).exists()


def test_regions_have_the_colours_of_their_classes() -> None:
    image = np.full((200, 200, 3), 128, np.uint8)
    boxes = np.array([[10, 10, 60, 60], [100, 100, 180, 180], [20, 120, 60, 190]], np.float32)
    drawn = np.asarray(draw_regions(image, boxes, np.array([2, 1, 2]), ("a", "b")))
    for (x1, y1, _, _), label in zip(boxes.astype(int), (2, 1, 2), strict=True):
        assert count_near(drawn[y1 : y1 + 3, x1 + 30 : x1 + 40], label) > 5
    empty = draw_regions(image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), ("a",))
    np.testing.assert_array_equal(empty, image)
