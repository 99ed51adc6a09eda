from __future__ import annotations

import numpy as np
import pytest

from frcnn_cli.data.rle import enclosing_box


def runs(mask: np.ndarray) -> list[int]:
    """The runs of a mask [H, W], column by column, beginning outside."""
    flat = mask.T.reshape(-1).astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat]))).tolist()
    return np.diff([0, *edges, flat.size]).tolist()


def pack(counts: list[int]) -> str:
    """pycocotools' text for runs."""
    letters = []
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            letters.append(chr((bits | (32 if more else 0)) + 48))
    return "".join(letters)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("is_packed", [False, True])
def test_box_of_a_mask(seed: int, is_packed: bool) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros((rng.integers(1, 60), rng.integers(1, 60)), bool)
    for _ in range(rng.integers(1, 4)):
        y, x = (int(rng.integers(0, side)) for side in mask.shape)
        mask[y : y + int(rng.integers(1, 60)), x : x + int(rng.integers(1, 60))] = True
    counts = runs(mask)
    ys, xs = np.nonzero(mask)
    expected = [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
    found = {"size": list(mask.shape), "counts": pack(counts) if is_packed else counts}
    assert enclosing_box(found) == expected


@pytest.mark.parametrize(
    ("outline", "box"),
    [
        ([[1, 2, 5, 2, 5, 8]], [1, 2, 4, 6]),
        ([[1, 2, 5, 2, 5, 8], [0, 3, 4, 9, 2, 2]], [0, 2, 5, 7]),
        ([1, 2, 5, 2, 5, 8], [1, 2, 4, 6]),
    ],
)
def test_box_of_polygons(outline, box) -> None:
    assert enclosing_box(outline) == box


@pytest.mark.parametrize(
    "outline",
    [
        None,
        [],
        [[]],
        [[1, 2, 3]],
        [["1", "2"]],
        [None],
        7,
        {},
        {"counts": [4, 4], "size": [2, 2]},  # longer than the mask
        {"counts": [4], "size": [2, 2]},
        {"counts": [1, -1, 4], "size": [2, 2]},
        {"counts": [1, 3], "size": [0, 2]},
        {"counts": [1, 3], "size": None},
        {"counts": "\n\n", "size": [2, 2]},
        {"counts": "o" * 100, "size": [2, 2]},
    ],
)
def test_no_box(outline) -> None:
    assert enclosing_box(outline) is None
