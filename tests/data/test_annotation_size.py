from __future__ import annotations

import numpy as np
import pytest

from frcnn_cli.data.annotation_size import place_boxes
from frcnn_cli.data.images import Layout

BOXES = np.array([[10, 20, 30, 40]], np.float32)


def place(size, stored, orientation=1, boxes=BOXES):
    return place_boxes(boxes, size, Layout(stored, orientation))


@pytest.mark.parametrize("size", [None, (240, 320), (239, 321), (241, 320)])
def test_boxes_of_the_same_size_stay(size) -> None:
    placement = place(size, (240, 320))
    assert placement.boxes is BOXES
    assert not placement.is_scaled
    assert not placement.size_ignored


@pytest.mark.parametrize(
    ("size", "stored", "factors"),
    [
        ((480, 640), (240, 320), (0.5, 0.5)),
        ((240, 320), (720, 960), (3, 3)),
        ((375, 500), (300, 400), (0.8, 0.8)),
        ((333, 500), (107, 160), (0.32, 107 / 333)),  # 106.56 rounded
        ((333, 500), (106, 160), (0.32, 106 / 333)),  # 106.56 cut off
        ((1067, 1600), (4000, 6000), (3.75, 4000 / 1067)),  # 1066.67 rounded
    ],
)
def test_boxes_are_scaled_where_the_aspect_agrees(size, stored, factors) -> None:
    placement = place(size, stored)
    assert placement.factors == pytest.approx(factors)
    np.testing.assert_allclose(placement.boxes, BOXES * [*factors, *factors], rtol=1e-6)
    assert placement.boxes.dtype == np.float32


@pytest.mark.parametrize(
    ("size", "stored"),
    [((240, 320), (320, 240)), ((480, 640), (416, 416)), ((480, 640), (240, 330))],
)
def test_another_aspect_is_not_explained(size, stored) -> None:
    assert place(size, stored) is None


@pytest.mark.parametrize(("size", "stored"), [((24, 32), (240, 320)), ((35, 35), (240, 320))])
def test_a_size_that_its_own_boxes_exceed_is_ignored(size, stored) -> None:
    placement = place(size, stored)
    assert placement.size_ignored
    assert placement.boxes is BOXES


def test_boxes_that_exceed_both_sizes_are_scaled() -> None:
    boxes = np.array([[-10, -10, 900, 700]], np.float32)
    assert place((480, 640), (240, 320), boxes=boxes).factors == (0.5, 0.5)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("factor", [1, 2])
def test_turned_images(orientation: int, factor: int) -> None:
    stored = (240, 320)
    shown = place((320 * factor, 240 * factor), stored, orientation)
    np.testing.assert_array_equal(shown.boxes, BOXES / factor)
    turned = place((240 * factor, 320 * factor), stored, orientation)
    exact = place(stored, stored, orientation, BOXES / np.float32(factor))
    np.testing.assert_array_equal(turned.boxes, exact.boxes)
    assert not np.array_equal(turned.boxes, shown.boxes)


def test_no_boxes() -> None:
    assert place((480, 640), (240, 320), boxes=np.zeros((0, 4), np.float32)).boxes.shape == (0, 4)
