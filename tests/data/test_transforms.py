from __future__ import annotations

import numpy as np
import pytest
import torch

from frcnn_cli.data import transforms
from frcnn_cli.structures import PixelStatistics


@pytest.mark.parametrize(
    ("size", "factor"),
    [
        ((375, 500), 1.6),
        ((500, 375), 1.6),
        ((100, 500), 2.0),
        ((500, 100), 2.0),
        ((600, 1000), 1.0),
        ((1200, 1200), 0.5),
        ((300, 2000), 0.5),
        ((1, 1), 600.0),
    ],
)
def test_resize_factor(size: tuple[int, int], factor: float) -> None:
    assert transforms.resize_factor(size, 600, 1000) == pytest.approx(factor)


@pytest.mark.parametrize("size", [(375, 500), (333, 500), (40, 900), (7, 3), (2000, 2000)])
def test_resized_sides_respect_both_limits(size: tuple[int, int]) -> None:
    factor = transforms.resize_factor(size, 600, 1000)
    short, long = min(size) * factor, max(size) * factor
    assert short <= 600 + 1e-6
    assert long <= 1000 + 1e-6
    assert short == pytest.approx(600) or long == pytest.approx(1000)


@pytest.mark.parametrize(
    ("shape", "factor", "expected"),
    [
        ((10, 20), 1.6, (16, 32)),
        ((10, 20), 0.5, (5, 10)),
        ((1, 40), 0.1, (1, 4)),
        ((3, 5), 1, (3, 5)),
    ],
)
def test_resize_sides(shape: tuple, factor: float, expected: tuple) -> None:
    image = np.zeros((*shape, 3), np.uint8)
    assert transforms.resize(image, factor).shape == (*expected, 3)


def test_resize_by_one_changes_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(transforms.resize(image, 1.0), image)


def test_resize_is_bilinear_and_keeps_orientation_and_channels() -> None:
    image = np.zeros((4, 8, 3), np.uint8)
    image[:, 4:, 0] = 200
    image[2:, :, 2] = 100
    big = transforms.resize(image, 4)
    assert big[0, 0].tolist() == [0, 0, 0]
    assert big[0, -1].tolist() == [200, 0, 0]
    assert big[-1, 0].tolist() == [0, 0, 100]
    edge = big[0, 14:18, 0].astype(int)
    assert (np.diff(edge) > 0).all()
    assert edge.min() > 0
    assert edge.max() < 200


def test_resize_takes_a_mirrored_view() -> None:
    image = np.random.default_rng(1).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    view = transforms.resize(image[:, ::-1], 2)
    np.testing.assert_array_equal(view, transforms.resize(image[:, ::-1].copy(), 2))


def test_normalizer_normalises_by_channel_and_pads_with_zeros() -> None:
    images = torch.zeros((2, 3, 4, 5), dtype=torch.uint8)
    images[0, :, 0, 1] = torch.tensor([10, 20, 30])
    normalize = transforms.Normalizer(PixelStatistics((1, 2, 3), (1, 2, 10)), torch.device("cpu"))
    result = normalize(images, [(2, 3), (4, 5)])
    assert result.dtype == torch.float32
    assert result.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(result[0, :, 0, 1], torch.tensor([9.0, 9.0, 2.7]))
    background = torch.tensor([-1.0, -1.0, -0.3])
    for place in ((0, slice(None), 1, 2), (1, slice(None), 3, 4)):
        torch.testing.assert_close(result[place], background)
    assert (result[0, :, 2:] == 0).all()
    assert (result[0, :, :, 3:] == 0).all()
    assert images[0, :, 0, 1].tolist() == [10, 20, 30]
