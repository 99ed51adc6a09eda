"""Random and hostile images through the whole path: file, decoding, search, cache."""

from __future__ import annotations

import io
import resource
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frcnn_cli.proposers.cache import ProposalSource
from frcnn_cli.proposers.propose import propose_files
from frcnn_cli.proposers.registry import PROPOSERS

FORMATS = {  # of each mode, those that can hold it
    "1": ("PNG", "TIFF"),
    "L": ("PNG", "JPEG", "BMP", "WEBP"),
    "LA": ("PNG",),
    "P": ("PNG", "GIF"),
    "RGB": ("PNG", "JPEG", "BMP", "WEBP", "PPM"),
    "RGBA": ("PNG", "WEBP"),
    "CMYK": ("JPEG", "TIFF"),
    "YCbCr": ("JPEG",),
    "I;16": ("PNG", "TIFF"),
    "I": ("TIFF",),
    "F": ("TIFF",),
}


def pixels(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """[height, width, 3] of one of several kinds."""
    kind = rng.integers(7)
    if kind == 0:
        return np.full((height, width, 3), rng.integers(0, 256, 3), np.uint8)
    if kind == 1 and height * width < 2e6:
        return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    rows, columns = np.mgrid[:height, :width].astype(np.int32)
    step = int(rng.integers(1, 40))
    patterns = [
        lambda: ((rows // step + columns // step) % 2) * 255,  # a chessboard
        lambda: (rows + columns) // max(1, (height + width) // 255),  # a slope
        lambda: (rows * columns * step) % 256,
        lambda: np.where(columns == width // 2, 255, 0),  # one line
    ]
    grey = patterns[rng.integers(len(patterns))]()
    return np.stack([grey, grey // 2, 255 - grey], axis=2).astype(np.uint8)


def hostile(rng: np.random.Generator, largest: int) -> bytes:
    """An image file, sometimes a damaged one."""
    height, width = (int(largest ** rng.uniform(0, 1)) for _ in range(2))
    mode = str(rng.choice(list(FORMATS)))
    image = Image.fromarray(pixels(rng, height, width))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    elif mode == "F":
        values = np.asarray(image.convert("F")).copy()
        values.flat[:: max(1, values.size // 7)] = rng.choice([np.nan, np.inf, -np.inf, 1e30, -1])
        image = Image.fromarray(values)
    else:
        image = image.convert(mode)
    out = io.BytesIO()
    image.save(out, str(rng.choice(FORMATS[mode])))
    content = bytearray(out.getvalue())
    fate = rng.integers(8)
    if fate == 0:
        content = content[: rng.integers(0, len(content))]
    elif fate == 1:
        for _ in range(20):
            content[rng.integers(len(content))] = rng.integers(256)
    return bytes(content)


def check(folder: Path, count: int, largest: int, seed: int) -> tuple[int, float]:
    """Propose for so many images; how many could not be read, and the longest time in seconds."""
    rng = np.random.default_rng(seed)
    sources = [ProposalSource(PROPOSERS[mode](1), folder) for mode in ("fast", "single", "quality")]
    for source in sources:
        source.method.propose(np.zeros((8, 8, 3), np.uint8))  # compiles
    failed, longest = 0, 0.0
    for i in range(count):
        path = folder / "image"
        path.write_bytes(hostile(rng, largest))
        start = time.perf_counter()
        (result,) = propose_files([path], sources[i % 3], 1)
        longest = max(longest, time.perf_counter() - start)
        if result.proposals is None:
            failed += 1
            continue
        boxes, (height, width) = result.proposals.boxes, result.proposals.image_size
        assert len(boxes) >= 1
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, :2] < boxes[:, 2:]).all()
        assert (boxes[:, 2:] <= [width, height]).all()
        assert [0, 0, width, height] in boxes.tolist()
    return failed, longest


@pytest.mark.filterwarnings("ignore")  # Pillow's, about damaged files
def test_hostile_images(tmp_path: Path) -> None:
    failed, longest = check(tmp_path, count=60, largest=400, seed=1)
    assert 1 <= failed < 20
    assert longest < 10


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_many_hostile_images_up_to_5000_pixels(tmp_path: Path) -> None:
    failed, longest = check(tmp_path, count=2000, largest=5000, seed=2)
    assert failed < 500
    assert longest < 10
    scale = 1 if sys.platform == "darwin" else 1024
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale < 2 * 2**30
