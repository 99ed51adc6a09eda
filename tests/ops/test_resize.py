"""Large images, which are resized in strips, get the bits that Pillow gives to the whole."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from frcnn_cli.ops import resize


@pytest.mark.parametrize("factor", [0.07, 0.3, 0.61, 1.0])
@pytest.mark.parametrize("shape", [(90, 90), (90, 120), (160, 90), (200, 90), (400, 90), (90, 400)])
@pytest.mark.parametrize("view", ["plain", "turned"])
def test_strips_give_the_bits_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], factor: float, view: str
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    if view == "turned":  # as rotated photographs are
        image = image.transpose(1, 0, 2)[:, ::-1]
    height, width = (round(side * factor) for side in image.shape[:2])
    whole = resize.resize_bilinear(image, (height, width))
    pillow = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(whole, np.asarray(pillow))
    monkeypatch.setattr(resize, "_LARGE_PIXELS", 1000)
    for strip in (1, 140, 1000, 10**6):
        monkeypatch.setattr(resize, "_STRIP_PIXELS", strip)
        np.testing.assert_array_equal(resize.resize_bilinear(image, (height, width)), whole)
