"""Boxes of an image that was turned or resized after it was annotated.

An annotation may give the size of the image that its boxes were drawn in. Where it differs from the
size of the file, the boxes are moved to the image as a viewer shows it, or refused. For every
format, `Dataset.ground_truth` does so image by image, and `check_dataset` counts them in notes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ..ops import boxes as box_ops
from .annotation import Annotation
from .images import Layout

Size = tuple[int, int]  # (height, width)
MARGIN = 0.02  # of a side; boxes that reach further out were not drawn in an image of that size


class Placement(NamedTuple):
    """Boxes in pixels of the displayed image, and how they came there."""

    boxes: box_ops.Boxes
    factors: tuple[float, float]  # of x and y
    size_ignored: bool  # the size is not that of the image that the boxes were drawn in

    @property
    def is_scaled(self) -> bool:
        """Whether the file has another size than the annotated image."""
        return self.factors != (1.0, 1.0)


def upright_boxes(boxes: box_ops.Boxes, orientation: int, size: Size) -> box_ops.Boxes:
    """Move boxes from the stored to the displayed image.

    Args:
        boxes: G×4, in pixels of the stored image. orientation: of EXIF, 2 to 8.
        size: (height, width) of the stored image.
    Returns:
        G×4, in pixels of the displayed image.
    """
    height, width = size
    x1, y1, x2, y2 = boxes.T
    turned = {
        2: (width - x2, y1, width - x1, y2),  # flipped left to right
        3: (width - x2, height - y2, width - x1, height - y1),  # half a turn
        4: (x1, height - y2, x2, height - y1),  # flipped top to bottom
        5: (y1, x1, y2, x2),  # flipped at the main diagonal
        6: (height - y2, x1, height - y1, x2),  # a quarter clockwise
        7: (height - y2, width - x2, height - y1, width - x1),  # flipped at the other diagonal
        8: (y1, width - x2, y2, width - x1),  # a quarter counter-clockwise
    }
    return np.stack(turned[orientation], axis=1).astype(np.float32)


def tells_stored(size: Size | None, layout: Layout) -> bool | None:
    """Whether a size is that of the stored, not of the displayed image; None: it may be both."""
    (height, width), swaps = layout.stored_size, layout.swaps_sides
    if size is None or not swaps or height == width or size[0] == size[1]:
        return None
    return (size[0] > size[1]) == (height > width)


def is_unclear(annotation: Annotation, layout: Layout) -> bool:
    """Whether the objects of an image that EXIF turns may be in the stored or the displayed image,
    since both have the size that the annotation gives."""
    size, is_turned = annotation.size, layout.orientation != 1
    is_told = size is None or tells_stored(size, layout) is not None
    return bool(annotation.names) and is_turned and not is_told


def find_stored(
    annotations: Sequence[Annotation], layouts: Iterable[Layout | None]
) -> tuple[bool, str]:
    """Whether the boxes of a data set are those of the stored images, by all sizes that tell it,
    and what is said of the images of which `is_unclear` is true: that they are taken so.

    Args:
        layouts: of the images, one per annotation; None for an image that cannot be read.
    """
    pairs = zip(annotations, layouts, strict=True)
    told = {tells_stored(each.size, layout) for each, layout in pairs if layout is not None}
    told -= {None}
    if told == {True}:
        return True, "are turned by EXIF: like those of others, their boxes were drawn before that"
    if told == {False}:
        return False, ""
    return False, (
        "are turned by EXIF, and nothing tells whether their boxes were drawn before that: they "
        "are taken for drawn in the image as it is shown"
    )


def place_boxes(
    boxes: box_ops.Boxes, size: Size | None, layout: Layout, is_stored: bool = False
) -> Placement | None:
    """Move boxes from the annotated image to the one that a viewer shows.

    The boxes are turned where the size is that of the stored image, and EXIF turns it. They are
    scaled where the size has the same aspect as the file, up to the rounding of one pixel. The size
    is ignored where it differs but boxes that lie in the file lie outside of it.

    Args:
        boxes: G×4. size: of the annotated image; None where the annotation does not give it.
        is_stored: they are of the stored image where the size does not tell; see `find_stored`.
    Returns:
        None where the size has another aspect than the file.
    """
    displayed = layout.displayed_size
    if size is None:
        return Placement(boxes, (1.0, 1.0), size_ignored=False)
    told = tells_stored(size, layout)
    turn = layout.orientation != 1 and (is_stored if told is None else told)
    frame = layout.stored_size if turn else displayed
    is_same = _nearly_equal(size, frame)
    if not is_same and _reaches_out(boxes, size) and not _reaches_out(boxes, displayed):
        return Placement(boxes, (1.0, 1.0), size_ignored=True)
    if not is_same and not _same_aspect(size, frame):
        return None
    factors = (1.0, 1.0) if is_same else (frame[1] / size[1], frame[0] / size[0])
    if not is_same:
        boxes = (boxes * np.array(factors * 2)).astype(np.float32)
    if turn:
        boxes = upright_boxes(boxes, layout.orientation, frame)
    return Placement(boxes, factors, size_ignored=False)


def _nearly_equal(size: Size, frame: Size) -> bool:
    """Whether the sides differ by at most one pixel: some tools count from 0."""
    return all(abs(a - b) <= 1 for a, b in zip(size, frame, strict=True))


def _same_aspect(size: Size, frame: Size) -> bool:
    """Whether one of the two is the other, scaled and rounded to whole pixels."""
    return any(
        max((side - 1) / own for side, own in zip(large, small, strict=True))
        <= min((side + 1) / own for side, own in zip(large, small, strict=True))
        for large, small in ((frame, size), (size, frame))
    )


def _reaches_out(boxes: box_ops.Boxes, size: Size) -> bool:
    """Whether a box reaches further out of an image of that size than rounding explains."""
    limits = np.array([size[1], size[0]]) * (1 + MARGIN) + 1
    return bool((boxes[:, 2:] > limits).any())
