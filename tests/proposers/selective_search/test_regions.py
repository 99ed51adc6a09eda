import numpy as np
import pytest

from frcnn_cli.proposers.selective_search import regions
from frcnn_cli.proposers.selective_search.segmentation import Segmentation, segment
from reference import (
    exact_histograms,
    pixel_code_list,
    region_boxes,
    region_sizes,
    touching_pairs,
)

SHAPES = [(12, 17), (1, 1), (1, 9), (9, 1), (2, 2)]


def noise(shape, seed=0):
    planes = np.random.default_rng(seed).uniform(0, 255, (3, *shape))
    return planes.astype(np.float32)


def segmented(shape, seed=0):
    planes = noise(shape, seed)
    result = segment(planes, (60.0,), (2,))
    return planes, result.labels(0), result.counts[0]


def every_pixel_alone(shape, seed=0):
    count = shape[0] * shape[1]
    return noise(shape, seed), np.arange(count, dtype=np.int32).reshape(shape), count


def one_region(shape, seed=0):
    return noise(shape, seed), np.zeros(shape, np.int32), 1


OFFSETS = [c * regions.COLOUR_BINS for c in range(3)] + [
    regions.COLOUR_LENGTH + slot * 2 * regions.TEXTURE_BINS for slot in range(12)
]


def codes_of(planes):
    """As indices into a histogram row, [H, W, 15]."""
    codes = regions.pixel_codes(planes)
    assert codes.dtype == np.uint8
    return codes.transpose(0, 2, 1).astype(int) + OFFSETS


def regions_of(planes, labels, n):
    whole = Segmentation(labels, (np.arange(n, dtype=np.int32),), (n,))
    return regions.regions(planes, whole)[0]


LABELLINGS = [segmented, every_pixel_alone, one_region]


def expected_codes(planes):
    return np.array(
        [
            [
                pixel_code_list(
                    planes,
                    y,
                    x,
                    regions.COLOUR_BINS,
                    regions.TEXTURE_BINS,
                    regions.TEXTURE_BIN_WIDTH,
                )
                for x in range(planes.shape[2])
            ]
            for y in range(planes.shape[1])
        ]
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", SHAPES)
def test_codes_of_noise(shape, seed):
    planes = noise(shape, seed)
    codes = codes_of(planes)
    np.testing.assert_array_equal(codes, expected_codes(planes))


@pytest.mark.parametrize("seed", range(3))
def test_codes_of_gentle_slopes(seed):
    planes = noise((12, 17), seed) / 5 + 100
    np.testing.assert_array_equal(codes_of(planes), expected_codes(planes))


@pytest.mark.parametrize("value", [0, 10.2, 10.3, 127.5, 255, 255.01])
@pytest.mark.parametrize("shape", SHAPES)
def test_codes_of_constant_planes(shape, value):
    planes = np.full((3, *shape), value, np.float32)
    codes = codes_of(planes)
    np.testing.assert_array_equal(codes, expected_codes(planes))
    assert (codes == codes[0, 0]).all()


def test_each_code_lies_in_the_bins_of_its_channel_and_direction():
    codes = codes_of(noise((12, 17)))
    for c in range(3):
        assert (codes[..., c] // regions.COLOUR_BINS == c).all()
    slots = (codes[..., 3:] - regions.COLOUR_LENGTH) // (2 * regions.TEXTURE_BINS)
    assert (slots == np.arange(12)).all()
    assert codes.max() < regions.HISTOGRAM_LENGTH


def test_orientation_tells_rising_from_falling():
    planes = np.tile(np.arange(8, dtype=np.float32) * 9, (3, 5, 1))
    rising = codes_of(planes)[2, 4]
    falling = codes_of(np.ascontiguousarray(planes[:, :, ::-1]))[2, 3]
    bins = (rising[3:7] - regions.COLOUR_LENGTH) % (2 * regions.TEXTURE_BINS)
    assert bins.tolist() == [4, 0, 3, 13]
    bins = (falling[3:7] - regions.COLOUR_LENGTH) % (2 * regions.TEXTURE_BINS)
    assert bins.tolist() == [14, 0, 13, 3]


@pytest.mark.parametrize("labelling", LABELLINGS)
@pytest.mark.parametrize("shape", SHAPES)
def test_statistics(labelling, shape):
    planes, labels, n = labelling(shape)
    codes = codes_of(planes)
    sizes, boxes, histograms, _ = regions_of(planes, labels, n)
    assert (sizes.dtype, boxes.dtype, histograms.dtype) == (np.int32, np.int32, np.uint16)
    assert sizes.tolist() == region_sizes(labels, n)
    np.testing.assert_array_equal(boxes, region_boxes(labels, n))
    exact = exact_histograms(
        labels,
        n,
        codes,
        regions.COLOUR_LENGTH,
        regions.HISTOGRAM_LENGTH,
        regions.FIXED_ONE,
    )
    assert histograms.shape == (n, regions.HISTOGRAM_LENGTH)
    for row, expected in zip(histograms.astype(int).tolist(), exact, strict=True):
        assert all(
            -0.01 < exact_value - got < 1.01 for got, exact_value in zip(row, expected, strict=True)
        )


@pytest.mark.parametrize("labelling", LABELLINGS)
def test_both_halves_of_a_histogram_sum_to_one_but_for_the_cut_fractions(labelling):
    planes, labels, n = labelling((12, 17))
    histograms = regions_of(planes, labels, n).histograms.astype(int)
    for half in (histograms[:, : regions.COLOUR_LENGTH], histograms[:, regions.COLOUR_LENGTH :]):
        total = half.sum(axis=1)
        filled = (half > 0).sum(axis=1)
        assert (total <= regions.FIXED_ONE).all()
        assert (total >= regions.FIXED_ONE - 1.01 * filled).all()


@pytest.mark.parametrize("labelling", LABELLINGS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(2))
def test_neighbour_pairs(labelling, shape, seed):
    pairs = regions_of(*labelling(shape, seed)).pairs
    assert pairs.dtype == np.int32
    assert pairs.shape[1] == 2
    assert pairs.tolist() == touching_pairs(labelling(shape, seed)[1])


def test_diagonal_contact_is_none():
    labels = np.array([[0, 1], [2, 3]], np.int32)
    assert regions_of(noise((2, 2)), labels, 4).pairs.tolist() == [[0, 1], [0, 2], [1, 3], [2, 3]]


def test_a_region_around_another_touches_it_once():
    labels = np.zeros((5, 5), np.int32)
    labels[1:4, 1:4] = 1
    labels[2, 2] = 2
    assert regions_of(noise((5, 5)), labels, 3).pairs.tolist() == [[0, 1], [1, 2]]


@pytest.mark.parametrize("seed", range(3))
def test_regions_of_several_scales_are_those_of_each_alone(seed):
    planes = noise((30, 41), seed) / 2
    several = segment(planes, (40.0, 20.0, 90.0), (6, 2, 12))
    for scale, together in enumerate(regions.regions(planes, several)):
        alone = regions_of(planes, several.labels(scale), several.counts[scale])
        for got, expected in zip(together, alone, strict=True):
            assert got.dtype == expected.dtype
            np.testing.assert_array_equal(got, expected)
        assert together.pairs.tolist() == touching_pairs(several.labels(scale))


def test_more_contacts_than_the_table_was_made_for():
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(6400) % 80).reshape(80, 80).astype(np.int32)
    assert len(touching_pairs(labels[:40, :40])) > 600
    pairs = regions_of(noise((80, 80)), labels, 80).pairs.tolist()
    assert len(pairs) > 2000
    assert pairs == touching_pairs(labels)
