import numpy as np
import pytest

from frcnn_cli.proposers.selective_search import segmentation
from frcnn_cli.proposers.selective_search.colour import smooth
from reference import (
    edge_ends,
    edge_weight_dict,
    felzenszwalb,
    kept_edges,
    spanning_forest,
)

SHAPES = [(12, 17), (1, 1), (1, 9), (9, 1), (2, 2), (2, 7), (7, 2)]
PER_UNIT = segmentation.BUCKETS_PER_UNIT


def noise(shape, seed=0):
    planes = np.random.default_rng(seed).uniform(0, 255, (3, *shape))
    return planes.astype(np.float32)


def patches(shape, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (3, *(-(-side // 4) for side in shape)))
    planes = np.repeat(np.repeat(coarse, 4, axis=1), 4, axis=2)[:, : shape[0], : shape[1]]
    return np.clip(planes + rng.normal(0, 6, (3, *shape)), 0, 255).astype(np.float32)


def few_levels(shape, seed=0):
    planes = np.random.default_rng(seed).integers(0, 3, (3, *shape)) * 20
    return planes.astype(np.float32)


def constant(shape, seed=0):
    return np.full((3, *shape), 17 * (seed + 1), np.float32)


def smooth_noise(shape, seed=0):
    return smooth(noise(shape, seed), 1.0)


MAKERS = [noise, patches, few_levels, constant, smooth_noise]


def weight_dict(weights):
    return {
        2 * (y * weights.shape[2] + x) + direction: int(weight)
        for (y, direction, x), weight in np.ndenumerate(weights)
        if weight < segmentation.BUCKETS
    }


def only_scale(planes, scales, min_sizes):
    result = segmentation.segment(planes, scales, min_sizes)
    return result.labels(0), result.counts[0]


@pytest.mark.parametrize("make_planes", MAKERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_edge_weights(make_planes, shape):
    planes = make_planes(shape)
    weights = segmentation.edge_weights(planes)
    assert weights.dtype == np.uint16
    assert weight_dict(weights) == edge_weight_dict(planes, PER_UNIT)


def test_missing_neighbours_have_no_weight():
    weights = segmentation.edge_weights(noise((4, 6)))
    missing = weights == segmentation.BUCKETS
    assert missing[:, 0, -1].all()
    assert missing[-1, 1, :].all()
    assert missing.sum() == 4 + 6


def test_the_largest_distance_has_a_bucket():
    planes = np.zeros((3, 2, 2), np.float32)
    planes[:, 0, 0] = planes[:, 1, 1] = 255
    weights = list(weight_dict(segmentation.edge_weights(planes)).values())
    assert weights == [segmentation.BUCKETS - 2] * 4


@pytest.mark.parametrize("make_planes", MAKERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_kept_edges_and_their_order(make_planes, shape):
    weights = segmentation.edge_weights(make_planes(shape))
    kept = segmentation.candidate_edges(weights)
    expected = kept_edges(weight_dict(weights), *shape)
    assert kept.dtype == np.uint16
    assert weight_dict(kept) == {edge: weight_dict(weights)[edge] for edge in expected}
    edges, starts = segmentation.sort_edges(kept)
    assert edges.tolist() == expected
    assert starts[0] == 0
    assert len(starts) == segmentation.BUCKETS + 1
    assert starts[-1] == len(edges)
    for bucket in np.unique(weights[weights < segmentation.BUCKETS]):
        inside = edges[starts[bucket] : starts[bucket + 1]]
        assert all(weight_dict(weights)[int(edge)] == bucket for edge in inside)


@pytest.mark.parametrize("make_planes", MAKERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_dropped_edges_are_in_no_spanning_forest(make_planes, shape):
    weights = segmentation.edge_weights(make_planes(shape, 1))
    every = weight_dict(weights)
    pixels, width = shape[0] * shape[1], shape[1]
    kept = list(weight_dict(segmentation.candidate_edges(weights)))
    forest = spanning_forest(every, every, pixels, width)
    assert len(forest) == pixels - 1
    assert spanning_forest(every, kept, pixels, width) == forest


@pytest.mark.parametrize(("k", "min_size"), [(0, 1), (3, 1), (30, 1), (30, 5), (100, 20), (1, 999)])
@pytest.mark.parametrize("make_planes", MAKERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_segments_equal_the_textbook(make_planes, shape, k, min_size):
    planes = make_planes(shape, 2)
    weights = edge_weight_dict(planes, PER_UNIT)
    edges = kept_edges(weights, *shape)
    pixels = shape[0] * shape[1]
    expected, count = felzenszwalb(weights, edges, pixels, shape[1], k, min_size, PER_UNIT)
    labels, n = only_scale(planes, (k,), (min_size,))
    assert labels.dtype == np.int32
    assert n == count
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("make_planes", [noise, patches, smooth_noise, few_levels])
def test_several_scales_at_once_equal_each_alone(make_planes, seed):
    planes = make_planes((12, 17), seed)
    scales, min_sizes = (5.0, 40.0, 150.0), (2, 6, 15)
    together = segmentation.segment(planes, scales, min_sizes)
    weights = edge_weight_dict(planes, PER_UNIT)
    edges = kept_edges(weights, 12, 17)
    for scale, (k, min_size) in enumerate(zip(scales, min_sizes, strict=True)):
        expected = felzenszwalb(weights, edges, 12 * 17, 17, k, min_size, PER_UNIT)
        assert together.counts[scale] == expected[1]
        np.testing.assert_array_equal(together.labels(scale), expected[0])


@pytest.mark.parametrize("scales", [(40.0,), (40.0, 5.0), (5.0, 40.0, 150.0)])
@pytest.mark.parametrize("shape", [*SHAPES, (23, 31)])
def test_cells_are_the_largest_parts_that_no_scale_divides(shape, scales):
    result = segmentation.segment(patches(shape, 6), scales, (2,) * len(scales))
    labels = np.stack([result.labels(scale).ravel() for scale in range(len(scales))])
    _, expected = np.unique(labels, axis=1, return_inverse=True)
    names = {}
    in_order = [names.setdefault(int(cell), len(names)) for cell in expected]
    assert result.cells.dtype == np.int32
    assert result.cells.ravel().tolist() == in_order
    assert all(len(owner) == len(names) for owner in result.owners)


@pytest.mark.parametrize("min_size", [1, 4, 25, 150])
@pytest.mark.parametrize("make_planes", MAKERS)
def test_labels_are_in_order_of_appearance_and_components_large_enough(make_planes, min_size):
    labels, n = only_scale(make_planes((12, 17), 3), (10.0,), (min_size,))
    values, first, counts = np.unique(labels, return_index=True, return_counts=True)
    assert values.tolist() == list(range(n))
    assert (np.diff(first) > 0).all()
    assert n == 1 or counts.min() >= min_size


@pytest.mark.parametrize("make_planes", [noise, patches, smooth_noise])
def test_components_are_connected(make_planes):
    labels, n = only_scale(make_planes((12, 17), 4), (30.0,), (3,))
    assert n > 1
    flat = labels.ravel()
    inside = {}
    for edge in edge_weight_dict(make_planes((12, 17), 4), PER_UNIT):
        a, b = edge_ends(edge, 17)
        if flat[a] == flat[b]:
            inside[edge] = 0
    assert len(spanning_forest(inside, inside, flat.size, 17)) == flat.size - n


def test_a_minimum_size_above_the_image_gives_one_component():
    labels, n = only_scale(noise((12, 17)), (0.0,), (12 * 17 + 1,))
    assert n == 1
    assert (labels == 0).all()


def test_no_scale_and_no_minimum_size_joins_equal_pixels_alone():
    planes = few_levels((12, 17), 5)
    labels, _ = only_scale(planes, (0.0,), (1,))
    colours = planes.reshape(3, -1).T
    flat = labels.ravel()
    for region in np.unique(flat):
        assert len(np.unique(colours[flat == region], axis=0)) == 1
    for edge, weight in edge_weight_dict(planes, PER_UNIT).items():
        a, b = edge_ends(edge, 17)
        assert weight > 0 or flat[a] == flat[b]


def test_two_flat_halves_are_two_components():
    planes = np.zeros((3, 6, 10), np.float32)
    planes[:, :, 4:] = 100
    labels, n = only_scale(planes, (100.0,), (5,))
    assert n == 2
    np.testing.assert_array_equal(labels, (planes[0] > 0).astype(int))


def test_every_scale_needs_a_minimum_size():
    with pytest.raises(ValueError, match="zip"):
        segmentation.segment(noise((2, 2)), (1.0, 2.0), (1,))


def same_partition(first, second):
    pairs = set(zip(first.ravel().tolist(), second.ravel().tolist(), strict=True))
    return len(pairs) == len(np.unique(first)) == len(np.unique(second))


@pytest.mark.parametrize("grid", [(1, 2), (2, 3), (4, 4), (7, 8)])
def test_flat_areas_far_apart_in_colour_equal_those_of_scikit_image(grid):
    # scikit-image joins eight-connected pixels, keeps all edges and normalises the image: the two
    # definitions agree where every area is flat and refused by all its neighbours
    skimage = pytest.importorskip("skimage.segmentation")
    rng = np.random.default_rng(0)
    levels = np.array(np.meshgrid(*[[0.0, 85.0, 170.0, 255.0]] * 3)).reshape(3, -1)
    areas = np.arange(grid[0] * grid[1]).reshape(grid)
    areas = areas.repeat(rng.integers(5, 12, grid[0]), axis=0)
    areas = areas.repeat(rng.integers(5, 12, grid[1]), axis=1)
    planes = levels[:, rng.permutation(levels.shape[1])][:, areas].astype(np.float32)
    labels, _ = only_scale(planes, (40.0,), (1,))
    theirs = skimage.felzenszwalb(np.moveaxis(planes, 0, -1) / 255, 40.0, sigma=0, min_size=1)
    assert same_partition(labels, areas)
    assert same_partition(theirs, areas)
