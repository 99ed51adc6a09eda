"""Boxes of an image that was turned or resized after it was annotated.

An annotation may give the size of the image that its boxes were drawn in. Where it differs from the
size of the file, the boxes are moved to the image as a viewer shows it, or refused. For every
format, `Dataset.ground_truth` does so image by image, and `check_dataset` counts them in notes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..ops import boxes as box_ops
from .images import Layout

Size = tuple[int, int]  # (height, width)
_MARGIN = 0.02  # of a side; boxes that reach further out were not drawn in an image of that size


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
    """Move boxes from the stored to the displayed image, for an EXIF orientation that swaps sides.

    Args:
        boxes: G×4, in pixels of the stored image. orientation: of EXIF, 5 to 8.
        size: (height, width) of the stored image.
    Returns:
        G×4, in pixels of the displayed image.
    """
    height, width = size
    x1, y1, x2, y2 = boxes.T
    turned = {
        5: (y1, x1, y2, x2),  # flipped at the main diagonal
        6: (height - y2, x1, height - y1, x2),  # a quarter clockwise
        7: (height - y2, width - x2, height - y1, width - x1),  # flipped at the other diagonal
        8: (y1, width - x2, y2, width - x1),  # a quarter counter-clockwise
    }
    return np.stack(turned[orientation], axis=1).astype(np.float32)


def place_boxes(boxes: box_ops.Boxes, size: Size | None, layout: Layout) -> Placement | None:
    """Move boxes from the annotated image to the one that a viewer shows.

    The boxes are turned where EXIF swaps the sides and the size is that of the stored image. They
    are scaled where the size has the same aspect as the file, up to the rounding of one pixel. The
    size is ignored where it differs but boxes that lie in the file lie outside of it.

    Args:
        boxes: G×4. size: of the annotated image; None where the annotation does not give it.
    Returns:
        None where the size has another aspect than the file.
    """
    displayed = layout.displayed_size
    if size is None:
        return Placement(boxes, (1.0, 1.0), size_ignored=False)
    frames = [(layout.stored_size, True)] if layout.swaps_sides else []
    frames += [(displayed, False)]
    for is_same in (_equal, _nearly_equal, _same_aspect):
        for frame, turn in frames:
            if is_same(size, frame):
                factors = (1.0, 1.0)
                if is_same is _same_aspect:
                    if _reaches_out(boxes, size) and not _reaches_out(boxes, displayed):
                        return Placement(boxes, factors, size_ignored=True)
                    factors = (frame[1] / size[1], frame[0] / size[0])
                    boxes = (boxes * np.array(factors * 2)).astype(np.float32)
                if turn:
                    boxes = upright_boxes(boxes, layout.orientation, frame)
                return Placement(boxes, factors, size_ignored=False)
    if _reaches_out(boxes, size) and not _reaches_out(boxes, displayed):
        return Placement(boxes, (1.0, 1.0), size_ignored=True)
    return None


def _equal(size: Size, frame: Size) -> bool:
    return size == frame


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
    limits = np.array([size[1], size[0]]) * (1 + _MARGIN) + 1
    return bool((boxes[:, 2:] > limits).any())
