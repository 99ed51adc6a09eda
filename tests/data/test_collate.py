from __future__ import annotations

import numpy as np
import pytest
import torch

from frcnn_cli.data import collate
from frcnn_cli.data.collate import PreprocessedImage
from frcnn_cli.errors import DataError


def prepared(
    height: int, width: int, rois: list, scale: float = 1.0, **targets
) -> PreprocessedImage:
    image = np.full((height, width, 3), 7, np.uint8)
    original = (round(height / scale), round(width / scale))
    return PreprocessedImage(
        image=image,
        scale=scale,
        original_size=original,
        rois=np.array(rois, np.float32),
        **targets,
    )


def test_preprocess_scales_the_image_and_keeps_the_rois() -> None:
    image = np.zeros((30, 40, 3), np.uint8)
    rois = np.array([[1, 2, 30, 20]], np.float32)
    item = collate.preprocess(image, rois, 60, 100)
    assert item.image.shape == (60, 80, 3)
    assert item.scale == 2.0
    assert item.original_size == (30, 40)
    np.testing.assert_array_equal(item.rois, rois)
    assert item.labels is None
    assert item.deltas is None


def test_collate_pads_to_what_the_convolutions_need() -> None:
    batch = collate.collate([prepared(4, 90, [[0, 0, 1, 1]])])
    assert batch.images.shape == (1, 3, collate.MIN_SIDE, 90)
    assert (batch.images[:, :, 4:] == 0).all()


def test_collate_pads_right_and_bottom_with_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collate, "MIN_SIDE", 1)
    batch = collate.collate([prepared(4, 9, [[0, 0, 1, 1]]), prepared(6, 5, [[0, 0, 1, 1]])])
    assert batch.images.shape == (2, 3, 6, 9)
    assert (batch.images[0, :, :4] == 7).all()
    assert (batch.images[0, :, 4:] == 0).all()
    assert (batch.images[1, :, :, :5] == 7).all()
    assert (batch.images[1, :, :, 5:] == 0).all()
    assert batch.images.dtype == torch.uint8
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.sizes == ((4, 9), (6, 5))


def test_collate_scales_rois_and_names_their_image() -> None:
    first = prepared(8, 8, [[1, 2, 3, 4], [0, 0, 4, 4]], scale=2.0)
    second = prepared(6, 9, [[2, 2, 9, 10]], scale=0.5)
    batch = collate.collate([first, second])
    assert batch.rois.dtype == torch.float32
    assert batch.rois.tolist() == [[0, 2, 4, 6, 8], [0, 0, 0, 8, 8], [1, 1, 1, 4.5, 5]]
    assert batch.scales == (2.0, 0.5)
    assert batch.targets is None


def test_collate_joins_targets_in_order() -> None:
    one = {"labels": np.array([2, 0]), "deltas": np.arange(8, dtype=np.float32).reshape(2, 4)}
    two = {"labels": np.array([1]), "deltas": np.full((1, 4), 9, np.float32)}
    batch = collate.collate(
        [
            prepared(4, 4, [[0, 0, 1, 1], [0, 0, 2, 2]], **one),
            prepared(4, 4, [[0, 0, 3, 3]], **two),
        ],
    )
    assert batch.targets is not None
    assert batch.targets.labels.tolist() == [2, 0, 1]
    assert batch.targets.foreground.tolist() == [0, 2]
    assert batch.targets.deltas.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [9, 9, 9, 9]]
    assert batch.rois[:, 0].tolist() == [0, 0, 1]


def test_collate_takes_an_image_without_rois() -> None:
    nothing = PreprocessedImage(
        image=np.zeros((4, 4, 3), np.uint8),
        scale=1.0,
        original_size=(4, 4),
        rois=np.zeros((0, 4), np.float32),
    )
    batch = collate.collate([nothing, prepared(4, 4, [[0, 0, 1, 1]])])
    assert batch.rois.tolist() == [[1, 0, 0, 1, 1]]
    assert batch.roi_counts == (0, 1)


def test_collate_refuses_a_mix_of_training_and_detection() -> None:
    trained = prepared(
        4, 4, [[0, 0, 1, 1]], labels=np.array([1]), deltas=np.zeros((1, 4), np.float32)
    )
    with pytest.raises(DataError):
        collate.collate([trained, prepared(4, 4, [[0, 0, 1, 1]])])


def test_every_box_goes_to_the_scale_that_brings_it_nearest_to_224_pixels() -> None:
    image = np.zeros((300, 400, 3), np.uint8)
    rois = np.array(
        [[0, 0, 224, 224], [0, 0, 112, 112], [5, 5, 9, 9], [0, 0, 400, 300]], np.float32
    )
    first = collate.preprocess_scales(image, rois, (300, 600), 1000)
    (second,) = first.other_scales
    assert (first.scale, second.scale) == (1.0, 2.0)
    assert first.image.shape[:2] == (300, 400)
    assert second.image.shape[:2] == (600, 800)
    assert first.rois.tolist() == rois[[0, 3]].tolist()
    assert second.rois.tolist() == rois[[1, 2]].tolist()
    assert collate.preprocess_scales(image, rois, (300,), 1000).other_scales == ()


@pytest.mark.parametrize("ends_are_inside", [False, True])
def test_every_second_view_is_mirrored(ends_are_inside) -> None:
    image = np.arange(300 * 400 * 3, dtype=np.uint32).reshape(300, 400, 3).astype(np.uint8)
    rois = np.array([[0, 0, 399, 299], [10, 20, 30, 60]], np.float32)
    first = collate.preprocess_views(image, rois, (300, 300, 150), 1000, ends_are_inside)
    second, third = first.other_views
    assert [each.is_mirrored for each in first.passes] == [False, True, False]
    assert [each.scale for each in first.passes] == [1.0, 1.0, 0.5]
    assert first.roi_count == 2
    assert np.array_equal(first.rois, rois)
    assert np.array_equal(third.rois, rois)
    for x in range(400):
        assert np.array_equal(second.image[:, x], image[:, 399 - x])
    # a box holds the same columns of the image as its mirrored one
    for box, mirrored in zip(rois, second.rois, strict=True):
        columns = range(int(box[0]), int(box[2]) + ends_are_inside)
        others = range(int(mirrored[0]), int(mirrored[2]) + ends_are_inside)
        assert sorted(399 - x for x in columns) == list(others)
        assert mirrored[[1, 3]].tolist() == box[[1, 3]].tolist()
