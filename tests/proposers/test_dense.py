import numpy as np
import pytest

from frcnn_cli.proposers.dense import ASPECTS, MIN_SIDE, SCALES, dense
from reference import box_iou

SIZES = [(375, 500), (500, 333), (100, 100), (1, 1), (1, 50), (2, 2), (40, 2000)]


def windows(size):
    return dense(np.zeros((*size, 3), np.uint8))


@pytest.mark.parametrize("size", SIZES)
def test_windows_are_unique_and_inside_and_begin_with_the_whole_image(size):
    proposals = windows(size)
    height, width = size
    boxes = proposals.boxes
    assert proposals.image_size == size
    assert boxes[0].tolist() == [0, 0, width, height]
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= [width, height]).all()
    assert (boxes[:, :2] < boxes[:, 2:]).all()


def test_every_scale_and_aspect_has_windows():
    sides = windows((400, 400)).boxes
    sides = sides[:, 2:] - sides[:, :2]
    for scale in SCALES:
        for aspect in ASPECTS:
            expected = np.minimum(400, 400 * scale * np.array([aspect**-0.5, aspect**0.5]))
            if expected.min() >= MIN_SIDE:
                assert (np.abs(sides - expected) <= 1).all(axis=1).any(), (scale, aspect)


@pytest.mark.parametrize("seed", range(5))
def test_an_object_of_a_covered_shape_is_overlapped_by_half(seed):
    rng = np.random.default_rng(seed)
    boxes = windows((375, 500)).boxes.tolist()
    for _ in range(20):
        side, aspect = rng.uniform(60, 300), rng.uniform(0.6, 1.6)
        w, h = min(490, side / aspect**0.5), min(370, side * aspect**0.5)
        x, y = rng.uniform(0, 500 - w), rng.uniform(0, 375 - h)
        assert max(box_iou((x, y, x + w, y + h), box) for box in boxes) >= 0.5


def test_larger_windows_come_first():
    boxes = windows((375, 500)).boxes
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    assert areas[:50].min() > areas[-50:].max()
