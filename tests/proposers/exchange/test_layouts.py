import numpy as np
import pytest

from frcnn_cli.errors import DataError
from frcnn_cli.proposers.exchange.layouts import HALF_OPEN, LAYOUTS, detect

SIZE = (300, 500)
GIRSHICK = LAYOUTS["yxyx1"]
DETECTRON = LAYOUTS["xyxy0"]


def random_boxes(size, seed=0, count=200):
    """Whole pixels, half-open, the whole image among them."""
    rng = np.random.default_rng(seed)
    limit = np.array(size[::-1])
    first = rng.integers(0, limit - 1, (count, 2))
    second = first + 1 + rng.integers(0, limit - first, (count, 2))
    boxes = np.concatenate([first, np.minimum(second, limit)], axis=1)
    boxes[0] = [0, 0, *limit]
    return boxes.astype(np.float32)


@pytest.mark.parametrize(
    ("name", "written"),
    {
        "xyxy": [10, 20, 30, 45],
        "yxyx": [20, 10, 45, 30],
        "xyxy0": [10, 20, 29, 44],
        "yxyx0": [20, 10, 44, 29],
        "xyxy1": [11, 21, 30, 45],
        "yxyx1": [21, 11, 45, 30],
    }.items(),
)
def test_a_known_box_in_every_layout(name, written):
    box = np.array([[10, 20, 30, 45]], np.float32)
    assert LAYOUTS[name].encode(box).tolist() == [written]
    assert LAYOUTS[name].decode(np.array([written], np.float32)).tolist() == box.tolist()


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("sizes", [[SIZE], [(500, 300)], [(300, 500), (500, 300), (200, 200)]])
def test_every_layout_is_recognised_from_a_mat_file(name, sizes):
    pairs = [(LAYOUTS[name].encode(random_boxes(size, i)), size) for i, size in enumerate(sizes)]
    assert detect(pairs, GIRSHICK) == LAYOUTS[name]


def test_half_open_boxes_with_fractions_stay_half_open():
    boxes = random_boxes(SIZE) * np.float32(0.93)
    assert detect([(boxes, SIZE)], HALF_OPEN) == HALF_OPEN


@pytest.mark.parametrize("scale", [1, 0.93])
@pytest.mark.parametrize("size", [SIZE, (200, 200)])
@pytest.mark.parametrize("layout", [HALF_OPEN, DETECTRON])
def test_the_last_pixel_of_a_pickle_of_detectron(layout, size, scale):
    boxes = random_boxes(size)
    boxes[1:, :2] *= np.float32(scale)  # with fractions, as those of an RPN
    assert detect([(layout.encode(boxes), size)], DETECTRON) == layout


@pytest.mark.parametrize("name", LAYOUTS)
def test_square_images_do_not_tell_the_order(name):
    pairs = [(LAYOUTS[name].encode(random_boxes((200, 200))), (200, 200))]
    with pytest.raises(DataError, match="cannot tell whether columns") as caught:
        detect(pairs, GIRSHICK)
    assert "frcnn propose --layout" in caught.value.hint
    assert detect(pairs, HALF_OPEN).columns == "x1 y1 x2 y2"


def test_boxes_of_other_images_are_refused():
    with pytest.raises(DataError, match="reach beyond their images"):
        detect([(random_boxes((900, 900)), SIZE)], GIRSHICK)


def test_no_boxes_at_all_are_what_the_format_says():
    assert detect([(np.zeros((0, 4), np.float32), SIZE)], HALF_OPEN) == HALF_OPEN
