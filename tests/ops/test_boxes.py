import numpy as np
import pytest

import reference
from frcnn_cli.ops import boxes as box_ops


def as_boxes(*rows):
    return np.array(rows, np.float32).reshape(-1, 4)


def random_boxes(rng, count, whole_pixels=False):
    corners = rng.uniform(0, 40, (count, 2, 2))
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    return (boxes.round() if whole_pixels else boxes).astype(np.float32)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((1, 2, 4, 7), 15),
        ((0.5, 0, 2, 0.5), 0.75),
        ((3, 3, 3, 9), 0),
        ((5, 0, 2, 4), 0),
        ((5, 4, 2, 0), 0),
    ],
)
def test_area(box, expected):
    assert box_ops.area(as_boxes(box)).tolist() == [expected]


@pytest.mark.parametrize(
    ("box", "other", "expected"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1),
        ((0, 0, 2, 2), (1, 0, 3, 2), np.float32(1 / 3)),
        ((0, 0, 4, 4), (1, 1, 3, 3), 0.25),
        ((0, 0, 2, 1), (0, 0, 1, 1), 0.5),
        ((0, 0, 0.25, 0.5), (0, 0, 0.25, 0.25), 0.5),
        ((0, 0, 2, 2), (2, 0, 4, 2), 0),
        ((0, 0, 2, 2), (2, 2, 4, 4), 0),
        ((0, 0, 2, 2), (5, 5, 7, 7), 0),
        ((0, 0, 2, 2), (1, 1, 1, 1), 0),
        ((1, 1, 1, 1), (1, 1, 1, 1), 0),
        ((3, 3, 1, 1), (0, 0, 4, 4), 0),
    ],
)
def test_iou_of_two_boxes(box, other, expected):
    assert box_ops.iou(as_boxes(box), as_boxes(other)).item() == expected
    assert box_ops.iou(as_boxes(other), as_boxes(box)).item() == expected


@pytest.mark.parametrize("whole_pixels", [False, True])
def test_iou_equals_the_reference(whole_pixels):
    rng = np.random.default_rng(0)
    boxes = random_boxes(rng, 40, whole_pixels)
    others = random_boxes(rng, 25, whole_pixels)
    expected = [[reference.iou(box, other) for other in others] for box in boxes.tolist()]
    result = box_ops.iou(boxes, others)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-5)


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (3, 0)])
def test_iou_without_boxes(n, m):
    rng = np.random.default_rng(1)
    result = box_ops.iou(random_boxes(rng, n), random_boxes(rng, m))
    assert result.shape == (n, m)
    assert result.dtype == np.float32


def test_clip():
    boxes = as_boxes((-3, -4, 30, 20), (1, 2, 3, 4), (25, 5, 28, 6), (-9, -9, -1, -1))
    expected = as_boxes((0, 0, 20, 10), (1, 2, 3, 4), (20, 5, 20, 6), (0, 0, 0, 0))
    clipped = box_ops.clip(boxes, (10, 20))
    assert clipped.dtype == np.float32
    np.testing.assert_array_equal(clipped, expected)


def test_scale():
    scaled = box_ops.scale(as_boxes((1, 2, 3, 5)), 1.5)
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(scaled, as_boxes((1.5, 3, 4.5, 7.5)))


def test_flip():
    boxes = as_boxes((0, 1, 3, 4), (2, 0, 10, 9))
    flipped = box_ops.flip(boxes, 10)
    assert flipped.dtype == np.float32
    np.testing.assert_array_equal(flipped, as_boxes((7, 1, 10, 4), (0, 0, 8, 9)))
    np.testing.assert_array_equal(boxes, as_boxes((0, 1, 3, 4), (2, 0, 10, 9)))


def test_flip_twice_is_no_change():
    boxes = random_boxes(np.random.default_rng(2), 20, whole_pixels=True)
    np.testing.assert_array_equal(box_ops.flip(box_ops.flip(boxes, 41), 41), boxes)


def test_flip_keeps_the_pixels():
    image = np.arange(6 * 9).reshape(6, 9)
    x1, y1, x2, y2 = 2, 1, 5, 4
    a, b, c, d = box_ops.flip(as_boxes((x1, y1, x2, y2)), 9)[0].astype(int)
    np.testing.assert_array_equal(image[:, ::-1][b:d, a:c], image[y1:y2, x1:x2][:, ::-1])


@pytest.mark.parametrize(
    "change",
    [
        lambda boxes: box_ops.clip(boxes, (5, 5)),
        lambda boxes: box_ops.scale(boxes, 2.0),
        lambda boxes: box_ops.flip(boxes, 5),
    ],
)
def test_no_boxes_stay_no_boxes(change):
    result = change(as_boxes())
    assert result.shape == (0, 4)
    assert result.dtype == np.float32
