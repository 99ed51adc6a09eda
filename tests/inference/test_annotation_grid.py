from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from frcnn_cli.data.dataset import Dataset
from frcnn_cli.data.registry import open_dataset
from frcnn_cli.inference.annotation_grid import annotation_grid, choose_samples
from frcnn_cli.inference.drawing import class_colour


@pytest.fixture
def dataset(voc_folder: Path) -> Dataset:
    return open_dataset(f"voc:{voc_folder}", None, "trainval")


def test_boxes_are_drawn_in_the_colours_of_their_classes(dataset: Dataset) -> None:
    pixels = np.asarray(annotation_grid(dataset.select([0])))
    assert pixels.shape == (316, 416, 3)
    label = int(dataset.ground_truth(0).labels[0])
    near = np.abs(pixels.astype(int) - class_colour(label)).max(axis=2) < 40
    assert near.sum() > 200


def test_cells_fill_rows(dataset: Dataset) -> None:
    assert annotation_grid(dataset).size == (4 * 408 + 8, 2 * 308 + 8)
    assert annotation_grid(dataset.select([0, 1])).size == (2 * 408 + 8, 308 + 8)


def test_damaged_images_are_passed_over(dataset: Dataset) -> None:
    dataset.paths[0].write_bytes(b"no image")
    assert annotation_grid(dataset.select([0, 1])).size == (408 + 8, 308 + 8)
    assert annotation_grid(dataset.select([0])).size == (408 + 8, 308 + 8)


def test_samples_have_every_class(dataset: Dataset) -> None:
    assert choose_samples(dataset, 99) == list(range(8))
    few = choose_samples(dataset, 4)
    assert len(few) <= 4
    names = {name for index in few for name in dataset.annotations[index].names}
    assert names == set(dataset.classes)
