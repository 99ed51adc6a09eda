"""The rows of YOLO's label files: boxes, boxes with keypoints, and outlines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from math import isnan
from typing import NamedTuple

from ..errors import DataError
from .number_text import parse_number

_MARGIN = 0.01  # how far outside of 0..1 a coordinate may lie, because of rounding
_REACH = 0.1  # how far outside of its box a keypoint may lie, as a fraction of the box's sides
_MANY = 0.2  # of the boxes
_SOME, _SHARE = 2, 0.05  # boxes, as in `box_forms`
_HINT = "mend the row"
# the beginning of a label file: a class number and four numbers at least
_ROW = re.compile(r"\s*\d+(\.0*)?([ \t,]+[-+]?[\d.]+(e[-+]?\d+)?){4}", re.IGNORECASE)


class Row(NamedTuple):
    """One object."""

    label: int  # class number from 0
    box: list[float]  # x1, y1, x2, y2 as fractions of the sides of the image
    outline: list[float]  # the coordinates that the box encloses; empty for a box


def begins_with_row(text: str) -> bool:
    """Whether the beginning of a text looks like that of a label file."""
    return _ROW.match(text.lstrip("\ufeff")) is not None


def parse_rows(
    text: str, file: str, class_count: int, keypoints: tuple[int, int] | None
) -> Iterator[Row]:
    """The objects in the text of a label file.

    Args:
        file: for messages.
        keypoints: number of keypoints, and of the values of each, 2 or 3; (0, 0): there are none;
            None: not known.
    Raises:
        DataError: a row is no object of a known class inside the image.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield _parse_row(_fields(line), f"{file}:{number}", class_count, keypoints)


def _fields(line: str) -> list[str]:
    """The numbers of a row, which blanks or commas separate; with blanks, a comma in a number is a
    decimal point."""
    fields = line.replace(", ", " ").split()
    return line.split(",") if len(fields) == 1 else [each.replace(",", ".") for each in fields]


def _parse_row(
    fields: list[str], where: str, class_count: int, keypoints: tuple[int, int] | None
) -> Row:
    values = [parse_number(field) for field in fields]
    number, coordinates = values[0], values[1:]
    if len(fields) in (9, 10) and isnan(parse_number(fields[8])):
        raise DataError(
            f"{where}: expected a class number and a box, got four corners and a class",
            "name a data set of DOTA's texts as dota:DIR",
        )
    if number not in range(class_count):
        raise DataError(
            f"{where}: expected a class number from 0 to {class_count - 1}, got {fields[0]!r:.40}",
            f"{_HINT}, or name all classes in the list of them",
        )
    outline: list[float] = []
    if len(coordinates) == 4 or _has_keypoints(coordinates, where, keypoints):
        coordinates = coordinates[:4]
        box = _box(coordinates)
    elif len(coordinates) >= 6 and len(coordinates) % 2 == 0:
        outline = coordinates
        xs, ys = coordinates[::2], coordinates[1::2]
        box = [min(xs), min(ys), max(xs), max(ys)]
    else:
        hint = "a sixth number may be the score of a detector: remove it, or " + _HINT
        raise DataError(
            f"{where}: expected 5 numbers, got {len(fields)}", hint if len(fields) == 6 else _HINT
        )
    inside = all(-_MARGIN <= value <= 1 + _MARGIN for value in coordinates)
    if not inside or box[2] < box[0] or box[3] < box[1]:  # ones without an area are left out later
        raise DataError(
            f"{where}: expected a box as fractions of the image, in 0..1, got {fields[1:5]}",
            f"{_HINT}: pixels are divided by the sides of the image",
        )
    return Row(int(number), box, outline)


def _box(coordinates: Sequence[float]) -> list[float]:
    x, y, w, h = coordinates[:4]
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def _has_keypoints(coordinates: list[float], where: str, keypoints: tuple[int, int] | None) -> bool:
    """Whether the coordinates are a box with keypoints.

    Raises:
        DataError: the number of coordinates is not that of the data set's keypoints.
    """
    if keypoints is None:
        # A third value that is 0, 1 or 2 everywhere is the visibility of a keypoint.
        points = coordinates[4:]
        visible = len(points) >= 3 and len(points) % 3 == 0 and set(points[2::3]) <= {0, 1, 2}
        return visible and may_have_keypoints(coordinates, 3)
    count, size = keypoints
    if not count:
        return False
    if len(coordinates) == 4 + count * size:
        return True
    raise DataError(
        f"{where}: expected 5 or {5 + count * size} numbers, got {len(coordinates) + 1}",
        f"kpt_shape in data.yaml says {count} keypoints of {size} values",
    )


def may_have_keypoints(coordinates: Sequence[float], size: int) -> bool:
    """Whether coordinates can be a box in the image and keypoints of `size` values in that box."""
    x1, y1, x2, y2 = _box(coordinates)
    if min(x1, y1) < -_MARGIN or max(x2, y2) > 1 + _MARGIN or x2 <= x1 or y2 <= y1:
        return False
    xs, ys = coordinates[4::size], coordinates[5::size]
    x_reach, y_reach = _REACH * (x2 - x1), _REACH * (y2 - y1)
    return len(xs) == len(ys) and all(
        (x, y) == (0, 0)  # a keypoint without a place
        or (x1 - x_reach <= x <= x2 + x_reach and y1 - y_reach <= y <= y2 + y_reach)
        for x, y in zip(xs, ys, strict=True)
    )


def are_corners(rows: Sequence[Row]) -> bool:
    """Whether all boxes that were read as centre and sides are two corners instead.

    Then the third and fourth number of each are larger than the first two, and as centre and sides
    many of them would reach far out of their images.
    """
    boxes = [row.box for row in rows if not row.outline]
    if len(boxes) < len(rows) or not boxes:
        return False
    ordered = all(w > (x1 + x2) / 2 and h > (y1 + y2) / 2 for x1, y1, x2, y2, w, h in _sized(boxes))
    return ordered and _count_out(boxes) > _MANY * len(boxes)


def begin_at_corners(rows: Sequence[Row]) -> bool:
    """Whether boxes that were read as centre and sides are the upper left corner and sides instead:
    several would reach out of their images, while none does as corner and sides."""
    boxes = [row.box for row in rows if not row.outline]
    moved = [from_corner(row).box for row in rows]
    is_out = _count_out(boxes) > max(_SOME, _SHARE * len(boxes))
    return len(boxes) == len(rows) and is_out and not _count_out(moved)


def _count_out(boxes: Sequence[Sequence[float]]) -> int:
    """The number of boxes that reach further out of their images than rounding explains."""
    return sum(min(box[:2]) < -_MARGIN or max(box[2:]) > 1 + _MARGIN for box in boxes)


def from_corner(row: Row) -> Row:
    """The row with the box whose upper left corner was taken for its centre."""
    x1, y1, x2, y2 = row.box
    return row._replace(box=[(x1 + x2) / 2, (y1 + y2) / 2, x2 + (x2 - x1) / 2, y2 + (y2 - y1) / 2])


def from_corners(row: Row) -> Row:
    """The row with the box that its numbers give as two corners."""
    x1, y1, x2, y2 = row.box
    return row._replace(box=[(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1])


def _sized(boxes: Sequence[Sequence[float]]) -> Iterator[tuple[float, ...]]:
    """Boxes with their width and height."""
    return ((x1, y1, x2, y2, x2 - x1, y2 - y1) for x1, y1, x2, y2 in boxes)


def check_keypoints(rows: Sequence[Row], name: str) -> None:
    """Check that rows read as outlines cannot all be boxes with keypoints instead.

    Rows with keypoints have equally many numbers, begin with a box and have the points in it. Where
    one of the rows differs, all of them are outlines.

    Raises:
        DataError: they can be either.
    """
    outlines = [row.outline for row in rows if row.outline]
    if not outlines or len({len(each) for each in outlines}) > 1:
        return
    for size in (2, 3):  # a third value that is no visibility is how sure a detector is
        count, rest = divmod(len(outlines[0]) - 4, size)
        if not rest and all(may_have_keypoints(each, size) for each in outlines):
            raise DataError(
                f"{name}: the rows of {len(outlines[0]) + 1} numbers can be outlines or boxes with "
                f"{count} keypoints",
                f"write kpt_shape: [{count}, {size}] in data.yaml, or kpt_shape: [] for outlines",
            )
