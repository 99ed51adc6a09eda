import numpy as np
import pytest

from frcnn_cli.proposers.selective_search.colour import smooth
from frcnn_cli.proposers.selective_search.grouping import group, similarity
from frcnn_cli.proposers.selective_search.regions import (
    COLOUR_LENGTH,
    FIXED_ONE,
    HISTOGRAM_LENGTH,
    regions,
)
from frcnn_cli.proposers.selective_search.segmentation import Segmentation, segment
from reference import naive_grouping, region_similarity, union_box

ALL_LETTERS = ["C", "T", "S", "F", "CT", "SF", "TSF", "CTS", "CTSF"]
# Float32 similarities are right to about 1e-7; a lead above this decides alike in both.
CLEAR_LEAD = 1e-6


def flags(letters):
    return np.array([letter in letters for letter in "CTSF"])


def random_histograms(rng, n):
    raw = rng.uniform(0, 1, (n, HISTOGRAM_LENGTH)) ** 6
    raw[:, :COLOUR_LENGTH] /= raw[:, :COLOUR_LENGTH].sum(axis=1, keepdims=True)
    raw[:, COLOUR_LENGTH:] /= raw[:, COLOUR_LENGTH:].sum(axis=1, keepdims=True)
    return (raw * FIXED_ONE).astype(np.uint16)


def random_regions(n, seed):
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 3000, (n, 2))
    sides = rng.integers(20, 900, (n, 2))
    boxes = np.concatenate([corners, corners + sides], axis=1).astype(np.int32)
    sizes = (sides.prod(axis=1) * rng.uniform(0.4, 1, n)).astype(np.int32)
    return sizes, boxes, random_histograms(rng, n), 4000 * 4000


def random_pairs(n, extra, seed):
    rng = np.random.default_rng(seed)
    pairs = [(int(rng.integers(i)), i) for i in range(1, n)]
    for _ in range(extra):
        a, b = sorted(int(v) for v in rng.choice(n, 2, replace=False))
        if (a, b) not in pairs:
            pairs.append((a, b))
    return np.array(pairs, np.int32).reshape(-1, 2)


def assert_same_as_naive(sizes, boxes, histograms, pairs, pixels, letters):
    expected, lead = naive_grouping(
        sizes, boxes, histograms, pairs, pixels, letters, COLOUR_LENGTH, FIXED_ONE
    )
    assert lead > CLEAR_LEAD
    got = group(sizes, boxes, histograms, pairs, pixels, flags(letters))
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("letters", ALL_LETTERS)
@pytest.mark.parametrize("seed", range(2))
def test_similarity(letters, seed):
    sizes, boxes, histograms, pixels = random_regions(8, seed)
    rows = list(zip(sizes.tolist(), boxes.tolist(), histograms, strict=True))
    for a in range(8):
        for b in range(8):
            got = similarity(a, b, sizes, boxes, histograms, pixels, flags(letters))
            expected = region_similarity(
                rows[a], rows[b], pixels, letters, COLOUR_LENGTH, FIXED_ONE
            )
            assert got == pytest.approx(expected, abs=1e-6)


def test_similarity_of_known_regions():
    sizes = np.array([10, 30], np.int32)
    boxes = np.array([[0, 0, 5, 2], [5, 0, 10, 8]], np.int32)
    histograms = np.zeros((2, HISTOGRAM_LENGTH), np.uint16)
    histograms[0, 3] = histograms[1, 3] = 13107
    histograms[0, 4] = 52428
    histograms[1, 5] = 52428
    histograms[:, COLOUR_LENGTH] = FIXED_ONE
    for letters, expected in {"C": 0.2, "T": 1, "S": 0.6, "F": 0.6, "CTSF": 0.6}.items():
        got = similarity(0, 1, sizes, boxes, histograms, 100, flags(letters))
        assert got == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("letters", ALL_LETTERS)
@pytest.mark.parametrize(("n", "extra", "seed"), [(2, 0, 0), (3, 1, 1), (12, 10, 1), (40, 70, 3)])
def test_boxes_equal_the_naive_loop(letters, n, extra, seed):
    sizes, boxes, histograms, pixels = random_regions(n, seed)
    pairs = random_pairs(n, extra, seed)
    assert_same_as_naive(sizes, boxes, histograms, pairs, pixels, letters)


@pytest.mark.parametrize("letters", ["CTSF", "F"])
def test_boxes_equal_the_naive_loop_over_several_blocks(letters):
    sizes, boxes, histograms, pixels = random_regions(130, 8)
    assert_same_as_naive(sizes, boxes, histograms, random_pairs(130, 200, 8), pixels, letters)


@pytest.mark.parametrize("shape", ["chain", "star", "complete"])
@pytest.mark.parametrize("letters", ["CTSF", "F"])
def test_boxes_equal_the_naive_loop_on_extreme_graphs(shape, letters):
    n = 20
    sizes, boxes, histograms, pixels = random_regions(n, 5)
    pairs = {
        "chain": [(i, i + 1) for i in range(n - 1)],
        "star": [(0, i) for i in range(1, n)],
        "complete": [(a, b) for a in range(n) for b in range(a + 1, n)],
    }[shape]
    assert_same_as_naive(sizes, boxes, histograms, np.array(pairs, np.int32), pixels, letters)


@pytest.mark.parametrize("seed", range(5))
def test_boxes_equal_the_naive_loop_on_a_segmented_picture(seed):
    planes = np.random.default_rng(seed).uniform(0, 255, (3, 12, 17)).astype(np.float32)
    planes = smooth(planes, 0.8)
    sizes, boxes, _, pairs = regions(planes, segment(planes, (20.0,), (3,)))[0]
    assert len(sizes) > 5
    histograms = random_histograms(np.random.default_rng(seed), len(sizes))
    assert_same_as_naive(sizes, boxes, histograms, pairs, 12 * 17, "CTSF")


def test_one_region_gives_its_box():
    sizes, boxes, histograms, pixels = random_regions(1, 6)
    got = group(sizes, boxes, histograms, np.empty((0, 2), np.int32), pixels, flags("CTSF"))
    np.testing.assert_array_equal(got, boxes)


def test_the_inputs_stay_as_they_are():
    sizes, boxes, histograms, pixels = random_regions(12, 7)
    pairs = random_pairs(12, 10, 7)
    before = [array.copy() for array in (sizes, boxes, histograms, pairs)]
    group(sizes, boxes, histograms, pairs, pixels, flags("CTSF"))
    for array, copy in zip((sizes, boxes, histograms, pairs), before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("letters", ["S", "F", "SF", "CTSF"])
def test_with_ties_each_merge_still_joins_two_earlier_boxes_and_ends_with_the_whole(letters):
    height, width = 6, 9
    n = height * width
    labels = np.arange(n, dtype=np.int32).reshape(height, width)
    alone = Segmentation(labels, (np.arange(n, dtype=np.int32),), (n,))
    planes = np.full((3, height, width), 50, np.float32)
    sizes, boxes, histograms, pairs = regions(planes, alone)[0]
    got = group(sizes, boxes, histograms, pairs, n, flags(letters))
    assert len(got) == 2 * n - 1
    np.testing.assert_array_equal(got[:n], boxes)
    assert got[-1].tolist() == [0, 0, width, height]
    for new in range(n, 2 * n - 1):
        earlier = got[:new].tolist()
        inside = [box for box in earlier if union_box(box, got[new]) == got[new].tolist()]
        assert any(union_box(a, b) == got[new].tolist() for a in inside for b in inside)


def test_the_fill_term_joins_the_best_fitting_neighbours_first():
    sizes = np.array([4, 4, 4], np.int32)
    boxes = np.array([[0, 0, 2, 2], [2, 0, 4, 2], [3, 2, 5, 4]], np.int32)
    histograms = np.zeros((3, HISTOGRAM_LENGTH), np.uint16)
    pairs = np.array([[0, 1], [1, 2]], np.int32)
    got = group(sizes, boxes, histograms, pairs, 20, flags("F"))
    assert got[3].tolist() == [0, 0, 4, 2]
    assert got[4].tolist() == [0, 0, 5, 4]
