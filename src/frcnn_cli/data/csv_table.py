"""One CSV file of boxes: a row for each, with the image, the class and the corners.

csv_columns.py finds the columns. Where none has classes, all objects are of one. Coordinates are
taken as they are, continuous from 0; where all are fractions of 1, they are multiplied by the sides
of the image.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import DataError, counted, reason, short_list
from ..runtime.csv_cells import plain_text
from ..runtime.safe_read import read_text
from .csv_columns import FORMS, HINT, KNOWN, SECOND, Columns, columns_of, first_row, floats
from .number_text import has_decimal_comma, may_be_thousands, parse_number
from .shapes import enclose
from .splits import SPLITS, canonical_split
from .table import Box, Table
from .via import via_class_key, via_corners, via_label

_ONE_CLASS = "object"  # the class where a file has no column of classes
_EMPTY = frozenset({"", "nan", "none", "null", "na"})  # cells without a value
_OPEN_IMAGES_CLASS = re.compile(r"/[mg]/\w+")
_UTF8 = "save it as CSV in UTF-8"


class _Row(NamedTuple):
    """A row of a file."""

    where: str  # for messages
    cells: dict[str, str]  # by column

    @property
    def image(self) -> str:
        return self.cells["image"]


def read_table(path: Path) -> Table:
    """Read a file.

    Raises:
        DataError: the file cannot be read, has no columns of boxes, or a row that is no box.
    """
    lines = read_text(path, _UTF8).split("\n")
    begin = first_row(lines)
    columns = columns_of(lines[begin])
    if columns is None:
        raise DataError(f"{path} has no columns of boxes: {lines[begin]!r:.120}", HINT)
    keys = columns.keys
    form = next(form for form in FORMS if set(keys).issuperset(form))
    rows = _with_names(_rows(path, lines, begin, columns))
    texts = (row.cells.get(key, "") for row in rows for key in form)
    comma_is_point = form[0] not in ("box", "shape") and has_decimal_comma(texts)
    class_key = _via_class_key(path, rows) if form == ("shape",) else ""
    boxes: dict[str, list[Box]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    left_out, are_of_boxes = 0, True
    for row in rows:
        own = boxes.setdefault(row.image, [])
        box = (
            _via_box(row, class_key)
            if form == ("shape",)
            else _parse_box(row.cells, form, row.where, comma_is_point)
        )
        own += [] if box is None else [box]
        left_out += box is None and row.cells.get("shape", "{}") != "{}"
        size = floats([row.cells.get("height", ""), row.cells.get("width", "")], comma_is_point)
        if size is not None and min(size) >= 1:
            sizes[row.image] = (int(size[0]), int(size[1]))
            are_of_boxes = are_of_boxes and box is not None and _are_sides(size, box)
    if are_of_boxes:
        sizes = {}
    splits, notes = _splits(path, rows)
    if left_out:
        notes.append(
            f"{path.name}: left out {counted(left_out, 'point or line', 'points or lines')}"
        )
    if empty := sum(not each for each in boxes.values()):
        of = counted(empty, "image", "images")
        notes.append(f"{path.name}: took {of} without a box for background")
    if not columns.is_header and keys not in KNOWN:
        notes.append(f"{path.name} has no header: taken as {', '.join(map(str, keys))}")
    if "label" not in keys and form != ("shape",):
        notes.append(
            f"{path.name} has no column of classes, such as class or label: all objects are of "
            f"{_ONE_CLASS!r}{_unread(lines[begin], columns)}"
        )
    if "score" in keys:
        notes.append(f"{path.name} has scores, which are ignored: every box counts as an object")
    if names := _class_descriptions(path, boxes):
        boxes = {
            image: [replace(box, label=names.get(box.label, box.label)) for box in own]
            for image, own in boxes.items()
        }
    return Table(
        boxes=boxes,
        sizes=sizes,
        notes=tuple(notes),
        splits=splits,
        has_sides=form in (("box",), ("x", "y", "w", "h")),
    )


def _rows(path: Path, lines: Sequence[str], begin: int, columns: Columns) -> list[_Row]:
    """The rows of a file that are not blank, from the line `begin` on.

    Raises:
        DataError: a row names no image, has too many cells or a quote that is not closed, or the
            file is not CSV.
    """
    separator, width = columns.separator, len(columns.keys)
    named = [(index, key) for index, key in enumerate(columns.keys) if key]
    reader = csv.reader(lines[begin:], delimiter=separator)
    header = next(csv.reader(lines[begin : begin + 1], delimiter=separator), [])
    rows, end = [], begin
    try:
        for cells in reader:
            start, end = end, begin + reader.line_num
            where = f"{path}:{start + 1}"
            if end - start > 1 and "".join(lines[start:end]).count('"') % 2:
                raise DataError(f"{where}: a quote is not closed", "mend the row")
            if not any(cells) or (columns.is_header and cells == header):
                continue
            if any(map(str.strip, cells[width:])):
                raise DataError(
                    f"{where}: expected {width} cells, got {len(cells)}",
                    f"mend the row; put cells that hold a {separator!r} in quotes",
                )
            row = {}
            for index, key in named:
                cell = cells[index].strip() if index < len(cells) else ""
                is_name = key in ("image", "label", SECOND)
                row[key] = "" if cell.lower() in _EMPTY and not is_name else cell
            row |= {key: plain_text(row[key]) for key in ("image", "label", SECOND) if key in row}
            if not row.get("image") or "\0" in row["image"]:
                raise DataError(f"{where}: no image", "mend the row")
            rows.append(_Row(where, row))
    except csv.Error as error:
        raise DataError(f"{path}:{begin + reader.line_num}: {error}", HINT) from None
    return rows


def _unread(header: str, columns: Columns) -> str:
    """The columns that are not read, for the end of a sentence; empty where there are none."""
    cells = next(csv.reader([header], delimiter=columns.separator), [])
    pairs = zip(cells, columns.keys, strict=False)
    others = [cell.strip() for cell, key in pairs if key is None and columns.is_header]
    return f"; not read are {short_list(filter(None, others), 6)}" if any(others) else ""


def _with_names(rows: list[_Row]) -> list[_Row]:
    """The rows with the names of classes from a second column of them where the first has numbers,
    and with whole numbers as such, which pandas writes as 1.0 where a row has none."""
    labels = [row.cells.get("label", "") for row in rows]
    numbers = [parse_number(each) for each in filter(None, labels)]
    seconds = [row.cells.get(SECOND, "") for row in rows]
    if not all(map(float.is_integer, numbers)):
        return rows
    if any(math.isnan(parse_number(each)) for each in filter(None, seconds)):
        labels = seconds
    elif any("." in each for each in labels):
        labels = [each and str(int(parse_number(each))) for each in labels]
    else:
        return rows
    pairs = zip(rows, labels, strict=True)
    return [row._replace(cells={**row.cells, "label": label}) for row, label in pairs]


def _splits(path: Path, rows: Sequence[_Row]) -> tuple[dict[str, str], list[str]]:
    """The split of each image by the file's column of splits, and a note where it has another
    meaning; empty without such a column."""
    splits: dict[str, str] = {}
    for row in rows:
        if not (value := row.cells.get("split", "")):
            return {}, []
        split = canonical_split(value)
        if split not in SPLITS or splits.setdefault(row.image, split) != split:
            said = f"{path.name}:{row.where.rpartition(':')[2]} says {value!r:.40} of {row.image}"
            return {}, [f"its column of splits is ignored, since it is not one of {said}"]
    return splits, []


def _class_descriptions(path: Path, boxes: Mapping[str, Sequence[Box]]) -> dict[str, str]:
    """OpenImages' names of the classes /m/…, from the file that it, or FiftyOne's copy, has for
    them near `path`."""
    labels = {box.label for own in boxes.values() for box in own}
    if not labels or not all(map(_OPEN_IMAGES_CLASS.fullmatch, labels)):
        return {}
    places = (path.parent, path.parent.parent)
    names = ("*class-descriptions*.csv", "metadata/classes.csv")
    files = [file for place in places for name in names for file in sorted(place.glob(name))]
    rows = csv.reader(read_text(files[0], _UTF8).split("\n")) if files else ()
    found = {row[0]: row[1].strip() for row in rows if len(row) == 2 and row[1].strip()}
    return found if len(set(found.values())) == len(found) else {}


def _parse_box(
    row: dict[str, str], form: tuple[str, ...], where: str, comma_is_point: bool
) -> Box | None:
    """The box of a row in one of FORMS; None for a row that only names an image."""
    cells = [row.get(key, "") for key in form]
    if not any(cells):
        return None
    if form == ("box",):
        cells = cells[0].strip("[]() ").replace(",", " ").split()
    if not any(cells):
        return None
    if "x4" in form:  # some of the four corners may be blank
        pairs = zip(cells[::2], cells[1::2], strict=True)
        cells = [each for pair in pairs if any(pair) for each in pair]
    values = floats(cells, comma_is_point)
    if values is None and (unclear := next(filter(may_be_thousands, cells), None)):
        raise DataError(
            f"{where}: {unclear} may be {unclear.replace(',', '.')} or {unclear.replace(',', '')}",
            "write the numbers of the file without marks of thousands, and with a decimal point",
        )
    if values is not None and "x4" in form and len(values) >= 4:  # of a box that may be turned
        values = list(enclose(zip(values[::2], values[1::2], strict=True)))
    if values is None or len(values) != 4:
        raise DataError(f"{where}: expected four numbers of a box, got {cells}", "mend the row")
    if not row.get("label", _ONE_CLASS):
        if not any(values):  # so some tables name an image without objects
            return None
        raise DataError(f"{where}: the box has no class", "mend the row")
    x1, y1, x2, y2 = values
    if "cx" in form:
        x1, y1 = x1 - x2 / 2, y1 - y2 / 2
    if "x2" not in form:
        x2, y2 = x1 + x2, y1 + y2
    if x2 < x1 or y2 < y1:
        expected = "xmin < xmax and ymin < ymax" if "x2" in form else "no negative sides"
        raise DataError(f"{where}: expected {expected}, got {short_list(cells)}", "mend the row")
    difficult = row.get("difficult", "").lower() in ("1", "1.0", "true", "yes")
    return Box(label=row.get("label", _ONE_CLASS), corners=(x1, y1, x2, y2), difficult=difficult)


def _are_sides(size: Sequence[float], box: Box) -> bool:
    """Whether a height and a width are those of a box, up to a pixel that tools count or not."""
    x1, y1, x2, y2 = box.corners
    return abs(y2 - y1 - size[0]) <= 1 and abs(x2 - x1 - size[1]) <= 1


def _via_class_key(path: Path, rows: Iterable[_Row]) -> str:
    try:
        return via_class_key(_via_cell(row, "attributes") for row in rows)
    except ValueError as error:
        raise DataError(
            f"{path}: {reason(error)}", "leave only that column of attributes"
        ) from None


def _via_cell(row: _Row, key: str) -> dict[str, Any]:
    """The JSON in a cell of the VGG Image Annotator."""
    try:
        value = json.loads(row.cells.get(key) or "{}")
        if not isinstance(value, dict):
            raise ValueError(f"{value!r:.40}")
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{row.where}: no {key} of the tool: {reason(error)}", "mend the row"
        ) from None
    return value


def _via_box(row: _Row, class_key: str) -> Box | None:
    """The box around a shape of the VGG Image Annotator; None for none, a point or a line."""
    shape = _via_cell(row, "shape")
    try:
        corners = via_corners(shape) if shape else None
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{row.where}: no shape of the tool: {reason(error)}", "mend the row"
        ) from None
    if corners is None:
        return None
    label = via_label(_via_cell(row, "attributes"), class_key)
    if label is None:
        raise DataError(f"{row.where}: the box has no class", "mend the row")
    return Box(label=label, corners=corners)
