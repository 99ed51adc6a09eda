"""A JPEG that is written from strips has the pixels of one that is written as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frcnn_cli.inference import jpeg
from frcnn_cli.inference.drawing import draw, draw_strips
from frcnn_cli.structures import Detections


@pytest.mark.parametrize("size", [(1, 1), (8, 16), (45, 37), (100, 9), (201, 50)])
def test_strips_have_the_pixels_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    monkeypatch.setattr(jpeg, "_STRIP_PIXELS", 500)  # more than eight strips: markers repeat
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    rows = jpeg.strip_rows(size[1])
    strips = [Image.fromarray(pixels[top : top + rows]) for top in range(0, size[0], rows)]
    jpeg.save_strips(tmp_path / "strips.jpg", strips, size)
    Image.fromarray(pixels).save(tmp_path / "whole.jpg", **jpeg.JPEG_OPTIONS)
    with Image.open(tmp_path / "strips.jpg") as ours, Image.open(tmp_path / "whole.jpg") as whole:
        assert np.array_equal(np.asarray(ours), np.asarray(whole))


def test_the_interval_of_the_widest_image_fits_its_field() -> None:
    for width in (1, 7, 5000, 65_500):
        rows = jpeg.strip_rows(width)
        assert rows % 8 == 0
        assert 1 <= rows // 8 * -(-width // 8) < 2**16


def test_strips_are_drawn_like_the_whole() -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 1, (30, 2)) * [300, 200]
    boxes = np.concatenate([corners, corners + rng.uniform(5, 100, (30, 2))], axis=1)
    found = Detections(
        boxes=boxes.astype(np.float32),
        scores=np.sort(rng.uniform(0, 1, 30)).astype(np.float32)[::-1].copy(),
        labels=rng.integers(1, 3, 30),
        image_size=(300, 400),
    )
    whole = np.asarray(draw(image, found, ("cat", "dog")))
    for rows in (7, 16, 299):
        strips = [np.asarray(each) for each in draw_strips(image, found, ("cat", "dog"), rows)]
        assert np.array_equal(np.concatenate(strips), whole)
