import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from frcnn_cli.config import SEARCH_MODES, SelectiveSearchConfig
from frcnn_cli.proposers.selective_search.search import colour, selective_search
from frcnn_cli.proposers.selective_search.segmentation import segment
from reference import box_iou, region_boxes

DEFAULT = SelectiveSearchConfig()
FINE = SelectiveSearchConfig(scales=(15.0, 30.0), min_box_side=5)

RECTANGLES = {
    (10, 12, 50, 52): (200, 30, 30),
    (70, 8, 110, 60): (30, 160, 40),
    (20, 66, 66, 100): (40, 60, 210),
    (84, 70, 124, 106): (230, 200, 20),
}


def noisy(height, width, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (-(-height // 8), -(-width // 8), 3))
    image = np.repeat(np.repeat(coarse, 8, axis=0), 8, axis=1)[:height, :width]
    return np.clip(image + rng.normal(0, 12, image.shape), 0, 255).astype(np.uint8)


def rectangles(background=(128, 128, 128)):
    image = np.full((112, 136, 3), background, np.uint8)
    for (x1, y1, x2, y2), rgb in RECTANGLES.items():
        image[y1:y2, x1:x2] = rgb
    return image


def box_set(proposals):
    return {tuple(box) for box in proposals.boxes.tolist()}


@pytest.fixture(scope="module")
def image():
    return noisy(56, 72)


@pytest.fixture(scope="module")
def proposals(image):
    return selective_search(image, FINE)


def test_there_are_many_boxes(proposals):
    assert len(proposals.boxes) > 50
    assert proposals.image_size == (56, 72)


@pytest.mark.parametrize("config", [FINE, DEFAULT, replace(FINE, max_side=40)])
@pytest.mark.parametrize("size", [(56, 72), (30, 75), (64, 33)])
def test_boxes_are_unique_whole_numbers_inside_the_image(size, config):
    height, width = size
    boxes = selective_search(noisy(height, width, 1), config).boxes
    assert boxes.dtype == np.float32
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    assert (boxes == np.rint(boxes)).all()
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= [width, height]).all()
    assert (boxes[:, :2] < boxes[:, 2:]).all()
    assert [0, 0, width, height] in boxes.tolist()


@pytest.mark.parametrize("min_box_side", [1, 5, 9, 20])
@pytest.mark.parametrize("max_side", [500, 36])
def test_sides_are_long_enough(image, min_box_side, max_side):
    config = replace(FINE, min_box_side=min_box_side, max_side=max_side)
    boxes = selective_search(image, config).boxes
    ratio = max(1.0, 72 / max_side)
    parts = boxes[(boxes != [0, 0, 72, 56]).any(axis=1)]
    sides = parts[:, 2:] - parts[:, :2]
    assert len(parts) > 0
    assert sides.min() >= (min_box_side if ratio == 1 else min_box_side * ratio - 1)


def test_a_smaller_minimum_side_only_adds_boxes(image, proposals):
    plain = replace(FINE, near_duplicate=1.0)
    more = selective_search(image, replace(plain, min_box_side=1))
    assert box_set(more) > box_set(proposals)
    assert selective_search(image, plain).boxes.tolist() == [
        box
        for box in more.boxes.tolist()
        if min(box[2] - box[0], box[3] - box[1]) >= FINE.min_box_side
    ]


def test_a_minimum_side_above_the_image_leaves_the_whole_image(image):
    boxes = selective_search(image, replace(FINE, min_box_side=100)).boxes
    assert boxes.tolist() == [[0, 0, 72, 56]]


def test_the_same_bits_twice(image, proposals):
    again = selective_search(image.copy(), FINE)
    assert again.boxes.tobytes() == proposals.boxes.tobytes()


def test_the_same_bits_from_several_threads_at_once():
    images = [noisy(40, 48, seed) for seed in range(4)] * 3
    alone = [selective_search(image, FINE).boxes.tobytes() for image in images]
    assert len(set(alone)) == 4
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda image: selective_search(image, FINE), images))
    assert [each.boxes.tobytes() for each in together] == alone


def test_layout_of_the_array_does_not_matter(image, proposals):
    strided = np.zeros((56, 144, 4), np.uint8)
    strided[:, ::2, :3] = image
    view = strided[:, ::2, :3]
    assert not view.flags.c_contiguous
    assert selective_search(view, FINE).boxes.tobytes() == proposals.boxes.tobytes()
    small = replace(FINE, max_side=40)
    expected = selective_search(image, small).boxes
    assert selective_search(view, small).boxes.tobytes() == expected.tobytes()


def test_the_image_stays_as_it_is(image, proposals):
    np.testing.assert_array_equal(image, noisy(56, 72))
    frozen = image.copy()
    frozen.flags.writeable = False
    assert selective_search(frozen, FINE).boxes.tobytes() == proposals.boxes.tobytes()


@pytest.mark.parametrize("seed", [0, 1, 4, 2**20])
def test_another_seed_gives_another_order_of_the_same_boxes(image, proposals, seed):
    other = selective_search(image, replace(FINE, seed=seed))
    assert box_set(other) == box_set(proposals)
    assert other.boxes.tolist() != proposals.boxes.tolist()


def test_late_merges_rank_before_the_first_regions(image):
    ranks = []
    areas = []
    for seed in range(20):
        boxes = selective_search(image, replace(FINE, seed=seed, near_duplicate=1.0)).boxes
        ranks.append(boxes.tolist().index([0, 0, 72, 56]) / len(boxes))
        area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        half = len(boxes) // 2
        areas.append(area[:half].mean() / area[half:].mean())
    assert np.mean(ranks) < 0.1
    assert np.mean(areas) > 1.5


@pytest.mark.parametrize("config", [DEFAULT, FINE, replace(FINE, min_box_side=1)])
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (2, 2), (40, 60)])
@pytest.mark.parametrize("rgb", [(0, 0, 0), (255, 255, 255), (10, 130, 70)])
def test_one_colour_gives_exactly_the_whole_image(size, rgb, config):
    height, width = size
    proposals = selective_search(np.full((height, width, 3), rgb, np.uint8), config)
    assert proposals.boxes.tolist() == [[0, 0, width, height]]
    assert proposals.image_size == size


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (2, 2), (1, 700), (700, 1)])
def test_noise_too_small_for_a_box_gives_exactly_the_whole_image(size):
    height, width = size
    boxes = selective_search(noisy(height, width), DEFAULT).boxes
    assert boxes.tolist() == [[0, 0, width, height]]


@pytest.mark.parametrize("background", [(128, 128, 128), (250, 250, 250), (60, 20, 90)])
def test_each_rectangle_is_found(background):
    boxes = selective_search(rectangles(background), DEFAULT).boxes
    for rectangle in RECTANGLES:
        assert max(box_iou(rectangle, box) for box in boxes.tolist()) >= 0.9


def test_two_rectangles_side_by_side_are_found_apart_and_together():
    image = np.full((80, 100, 3), 240, np.uint8)
    image[20:60, 15:45] = (180, 40, 40)
    image[20:60, 45:80] = (40, 40, 180)
    boxes = selective_search(image, DEFAULT).boxes.tolist()
    expected = {(15, 20, 45, 60): 0.75, (45, 20, 80, 60): 0.75, (15, 20, 80, 60): 0.9}
    for rectangle, overlap in expected.items():
        assert max(box_iou(rectangle, box) for box in boxes) >= overlap


@pytest.mark.parametrize("factor", [3, 5])
def test_boxes_of_a_large_image_are_in_its_own_pixels(factor):
    image = rectangles().repeat(factor, axis=0).repeat(factor, axis=1)
    height, width = image.shape[:2]
    proposals = selective_search(image, replace(DEFAULT, max_side=136))
    assert proposals.image_size == (height, width)
    boxes = proposals.boxes.tolist()
    assert [0, 0, width, height] in boxes
    for rectangle in RECTANGLES:
        scaled = [factor * v for v in rectangle]
        assert max(box_iou(scaled, box) for box in boxes) >= 0.9


def test_the_longest_side_that_needs_no_scaling(image, proposals):
    exact = selective_search(image, replace(FINE, max_side=72))
    assert exact.boxes.tobytes() == proposals.boxes.tobytes()
    below = selective_search(image, replace(FINE, max_side=71))
    assert below.boxes.tolist() != proposals.boxes.tolist()


@pytest.mark.parametrize(
    ("setting", "first", "second"),
    [
        ("colour_spaces", ("hsv",), ("lab",)),
        ("scales", (15.0,), (30.0,)),
        ("similarities", ("C",), ("F",)),
        ("similarities", ("CTSF",), ("T", "S")),
    ],
)
def test_boxes_are_the_union_over_the_groupings(image, setting, first, second):
    parts = [
        box_set(selective_search(image, replace(FINE, **{setting: values})))
        for values in (first, second)
    ]
    both = box_set(selective_search(image, replace(FINE, **{setting: first + second})))
    assert both == parts[0] | parts[1]
    assert parts[0] != parts[1]


@pytest.mark.parametrize("space", ["hsv", "lab"])
def test_each_region_of_the_segmentation_is_among_the_boxes(image, space):
    config = replace(FINE, colour_spaces=(space,), scales=(20.0,), sigma=0.8)
    planes = colour.smooth(getattr(colour, space)(image), 0.8)
    proposals = segment(planes, (20.0,), (20,))
    regions = region_boxes(proposals.labels(0), proposals.counts[0])
    wide = ((regions[:, 2:] - regions[:, :2]) >= FINE.min_box_side).all(axis=1)
    assert wide.sum() > 5
    assert {tuple(box) for box in regions[wide].tolist()} <= box_set(
        selective_search(image, config)
    )


@pytest.mark.parametrize(
    "change", [{"sigma": 0.5}, {"similarities": ("S",)}, {"scales": (50.0,)}, {"max_side": 40}]
)
def test_settings_change_the_boxes(image, proposals, change):
    assert box_set(selective_search(image, replace(FINE, **change))) != box_set(proposals)


@pytest.mark.parametrize("mode", SEARCH_MODES)
@pytest.mark.parametrize("threads", [2, 7])
def test_threads_within_an_image_change_nothing(image, mode, threads):
    config = replace(SEARCH_MODES[mode], min_box_side=3)
    alone = selective_search(image, config)
    assert selective_search(image, config, threads).boxes.tobytes() == alone.boxes.tobytes()


def test_the_modes_give_more_boxes_in_turn():
    image = noisy(150, 200)
    single, fast, quality = (
        len(selective_search(image, mode).boxes) for mode in SEARCH_MODES.values()
    )
    assert 1 < single < fast < quality


# Taken when the kernels were checked against the loops above; caches hold these very bits.
def test_the_bits_of_version_2_stay_as_they_are(image):
    plain = replace(DEFAULT, near_duplicate=1.0)
    boxes = selective_search(rectangles(), plain).boxes
    assert hashlib.sha256(boxes.astype("<i4").tobytes()).hexdigest()[:16] == "b42cf69c80462ddb"
    boxes = selective_search(noisy(300, 400, 5), plain).boxes
    assert hashlib.sha256(boxes.astype("<i4").tobytes()).hexdigest()[:16] == "a239628c074739b7"


@pytest.mark.parametrize("count", [1, 7, 50])
def test_only_the_first_boxes_are_kept(image, proposals, count):
    few = selective_search(image, replace(FINE, max_boxes=count))
    assert few.boxes.tolist() == proposals.boxes[:count].tolist()
    assert len(few.boxes) == count


def test_a_coarser_scale_ranks_higher(image):
    """The same regions twice: the whole image of the larger k is drawn nearer to the top."""
    means = []
    for scale in (15.0, 60.0):
        proposals = selective_search(image, replace(FINE, scales=(scale, 30.0), near_duplicate=1.0))
        alone = box_set(selective_search(image, replace(FINE, scales=(scale,))))
        other = box_set(selective_search(image, replace(FINE, scales=(30.0,))))
        places = [
            i for i, box in enumerate(proposals.boxes.tolist()) if tuple(box) in alone - other
        ]
        means.append(np.mean(places) / len(proposals.boxes))
    assert means[1] < means[0]


@pytest.mark.parametrize("threshold", [0.5, 0.8])
def test_near_duplicates_change_the_order_alone(image, threshold):
    plain = selective_search(image, replace(FINE, near_duplicate=1.0))
    proposals = selective_search(image, replace(FINE, near_duplicate=threshold))
    assert box_set(proposals) == box_set(plain)
    assert proposals.boxes.tolist() != plain.boxes.tolist()
