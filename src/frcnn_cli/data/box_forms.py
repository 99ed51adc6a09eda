"""The form of the boxes in a file, told by all boxes of a data set together.

Some programs write fractions of the images' sides where pixels are expected, or two corners, or the
centre and the sides, where a corner and the sides are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, ImageError
from ..ops import boxes as box_ops
from .annotation import Annotation
from .annotation_size import MARGIN, Size, tells_stored
from .images import Layout, read_layout

FRACTIONS = "all coordinates are fractions of 1, so they are taken for parts of the images' sides"
CORNERS = "the boxes are two corners, not corner and sides: taken as [x1, y1, x2, y2]"
CENTRES = (
    "the boxes are centre and sides, not corner and sides: taken as [x, y, width, height] of it"
)
_MANY = 0.2  # of the boxes
# Boxes that reach out of their images, of which fewer may be mistakes of those who drew them.
_SOME, _SHARE = 2, 0.05
# Fractions may reach out of the image, and two corners that were read as corner and sides end at
# their sum. No data set has all of its objects in the first two pixels.
_FRACTIONS = (-0.5, 2.0)


def true_form(
    annotations: Sequence[Annotation], paths: Sequence[Path], has_sides: bool
) -> tuple[tuple[Annotation, ...], list[str]]:
    """The annotations with their boxes in pixels, and a sentence where they were in another form.

    Args:
        paths: of the images, one per annotation.
        has_sides: the boxes were read as a corner and sides, which may be two corners, or the
            centre and sides.
    """
    notes = []
    if are_fractions(each.boxes for each in annotations):
        annotations = scale_fractions(annotations, paths)
        notes.append(FRACTIONS)
    if has_sides and _are_corners(annotations, paths):
        annotations = [_with_boxes(each, _as_corners(each.boxes)) for each in annotations]
        notes.append(CORNERS)
    elif has_sides and _are_centres(annotations, paths):
        annotations = [_with_boxes(each, _as_centres(each.boxes)) for each in annotations]
        notes.append(CENTRES)
    return tuple(annotations), notes


def are_fractions(boxes: Iterable[box_ops.Boxes]) -> bool:
    """Whether the boxes of all images are fractions of the images' sides: none is beyond
    _FRACTIONS."""
    some = [each for each in boxes if len(each)]
    low, high = _FRACTIONS
    return bool(some) and all(
        float(each.min()) >= low and float(each.max()) <= high for each in some
    )


def refuse_fractions(boxes: Iterable[box_ops.Boxes], path: Path) -> None:
    """Check boxes that must be in pixels.

    Args:
        boxes: of each image. path: of their file.
    Raises:
        DataError: they are fractions.
    """
    if are_fractions(boxes):
        raise DataError(
            f"{path}: all boxes lie in the first pixels, as fractions of the images' sides do",
            "multiply them by the width and the height of the images",
        )


def _are_corners(annotations: Sequence[Annotation], paths: Sequence[Path]) -> bool:
    """Whether boxes that were read as a corner and sides are two corners instead.

    Areas in the file tell it; else that many boxes would reach out of their images, while none does
    as two corners.
    """
    own = [each for each in annotations if len(each.boxes)]
    boxes = np.concatenate([each.boxes for each in own]) if own else np.zeros((0, 4))
    first, second = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    if not len(boxes) or not (second > first).all():
        return False
    if all(each.areas is not None for each in own):
        areas = np.concatenate([each.areas for each in own if each.areas is not None])
        as_corners, as_sides = (second - first).prod(axis=1), second.prod(axis=1)
        if _all_close(areas, as_corners) and not _all_close(areas, as_sides):
            return True
    return _fits_better(annotations, paths, _as_corners, _MANY * len(boxes))


def _are_centres(annotations: Sequence[Annotation], paths: Sequence[Path]) -> bool:
    """Whether boxes that were read as a corner and sides are the centre and sides instead: several
    would reach out of their images, while none does as centre and sides."""
    count = sum(len(each.boxes) for each in annotations)
    return _fits_better(annotations, paths, _as_centres, max(_SOME, _SHARE * count))


def _fits_better(
    annotations: Sequence[Annotation],
    paths: Sequence[Path],
    change: Callable[[box_ops.Boxes], box_ops.Boxes],
    more_than: float,
) -> bool:
    """Whether more boxes than some reach out of their images, and none does when it is changed."""
    pairs = [
        (each.boxes, each.size or _displayed_size(path))
        for each, path in zip(annotations, paths, strict=True)
        if len(each.boxes)
    ]
    out = sum(count_out(boxes, size) for boxes, size in pairs)
    return out > more_than and not any(count_out(change(boxes), size) for boxes, size in pairs)


def _all_close(areas: NDArray[np.float32], others: NDArray[np.float32]) -> bool:
    return bool(np.allclose(areas, others, rtol=0.05, atol=1))


def _as_corners(boxes: box_ops.Boxes) -> box_ops.Boxes:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def _as_centres(boxes: box_ops.Boxes) -> box_ops.Boxes:
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def _with_boxes(annotation: Annotation, boxes: box_ops.Boxes) -> Annotation:
    return replace(annotation, boxes=boxes, areas=_area(boxes))


def _area(boxes: box_ops.Boxes) -> NDArray[np.float32]:
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)


def count_out(boxes: box_ops.Boxes, size: Size | None) -> int:
    """The number of boxes that reach further out of an image of that size than rounding explains; 0
    where it is not known."""
    if size is None:
        return 0
    sides = np.array([size[1], size[0]])
    slack = MARGIN * sides + 1
    out = (boxes[:, :2] < -slack) | (boxes[:, 2:] > sides + slack)
    return int(out.any(axis=1).sum())


def _displayed_size(path: Path) -> Size | None:
    layout = _layout(path)
    return None if layout is None else layout.displayed_size


def _layout(path: Path) -> Layout | None:
    try:
        return read_layout(path)
    except ImageError:  # it is raised again when the image or its objects are read
        return None


def scale_fractions(
    annotations: Sequence[Annotation], paths: Sequence[Path]
) -> tuple[Annotation, ...]:
    """Multiply boxes that are fractions by the sides of the images: as they are displayed, or as
    they are stored where the size in the annotation tells it.

    Args:
        paths: of the images, one per annotation.
    """
    return tuple(
        _scaled(annotation, _layout(path))
        for annotation, path in zip(annotations, paths, strict=True)
    )


def _scaled(annotation: Annotation, layout: Layout | None) -> Annotation:
    if layout is None:
        return replace(annotation, size=None, areas=None)
    is_stored = tells_stored(annotation.size, layout)
    height, width = layout.stored_size if is_stored else layout.displayed_size
    boxes = (annotation.boxes * (width, height, width, height)).astype(np.float32)
    size = None if annotation.size is None else (height, width)
    return replace(annotation, boxes=boxes, size=size, areas=None)
