from __future__ import annotations

import numpy as np
import pytest

from frcnn_cli.data.collate import preprocess_scales
from frcnn_cli.errors import ImageError
from frcnn_cli.inference.batching import ReadFailure, ReadImage, group_by_shape, in_order


def read(name: str, height: int, width: int) -> ReadImage[str]:
    pixels = np.zeros((height, width, 3), np.uint8)
    ready = preprocess_scales(pixels, np.zeros((0, 4), np.float32), (10, 20), 1000)
    return ReadImage(item=name, file_size=0, pixels=pixels, preprocessed=ready)


def names(groups: list) -> list[object]:
    """The names of each group, or the name of what could not be read."""
    return [
        group[1].item if isinstance(group, tuple) else [image.item for _, image in group]
        for group in groups
    ]


def test_images_of_a_shape_wait_for_each_other() -> None:
    wide, high = (10, 20), (20, 10)
    images = [
        read("a", *wide), read("b", *high), read("c", *wide),
        ReadFailure("d", ImageError("broken", "")), read("e", *high), read("f", *wide),
    ]  # fmt: skip
    groups = list(group_by_shape(images, 2))
    assert names(groups) == [["a", "c"], "d", ["b", "e"], ["f"]]
    numbers = [group[0] if isinstance(group, tuple) else [n for n, _ in group] for group in groups]
    assert numbers == [[0, 2], 3, [1, 4], [5]]


def test_no_image_waits_for_more_than_a_window() -> None:
    images = [read("rare", 10, 30), *(read(str(i), 10, 11 + i) for i in range(20))]
    groups = names(list(group_by_shape(images, 2)))
    assert groups.index(["rare"]) == 0
    assert len(groups) == 21


def test_images_that_differ_at_a_larger_scale_do_not_share_a_group() -> None:
    a, b = read("a", 300, 400), read("b", 300, 410)
    shapes = [[scaled.image.shape for scaled in each.preprocessed.passes] for each in (a, b)]
    assert shapes[0] != shapes[1]
    assert names(list(group_by_shape([a, b], 2))) == [["a"], ["b"]]


@pytest.mark.parametrize("order", [[], [0], [0, 1, 2], [2, 0, 1], [3, 2, 1, 0], [1, 0, 3, 2]])
def test_outcomes_come_in_order(order) -> None:
    assert list(in_order((number, f"{number}") for number in order)) == [
        f"{number}" for number in sorted(order)
    ]


def test_an_outcome_comes_as_soon_as_those_before_it_are_there() -> None:
    seen: list[int] = []

    def numbered():
        for number in (0, 2, 1):
            seen.append(number)
            yield number, number

    outcomes = in_order(numbered())
    assert next(outcomes) == 0
    assert seen == [0]
    assert next(outcomes) == 1
    assert seen == [0, 2, 1]
