"""Reads the files of Label Studio: JSON, JSON-MIN, and CSV with the lists of JSON-MIN in its cells.

See `json_tools` for what `read_label_studio` gives and raises.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from ..errors import reason
from ..runtime.safe_read import number, parse_json, read_json, read_text
from .file_types import SUFFIXES
from .json_values import HINT, class_name, numbers_of, size_of, xy
from .locate import local_name
from .shapes import Annotated, Corners, FormError, enclose, enclose_ellipse, enclose_turned
from .table import Box

_TABLES = (".csv", ".tsv")
_SIZE_KEYS = ("original_width", "original_height")


def read_label_studio(path: Path) -> Iterator[Annotated]:
    """Label Studio: JSON with the annotations of a task, the first that is not cancelled, or
    JSON-MIN or CSV with lists of regions in each row, of which a task may have several."""
    rows = _rows_of_table(path) if path.suffix.lower() in _TABLES else read_json(path, HINT)
    left = Counter(row["id"] for row in rows if "id" in row and "data" not in row)
    for row in rows:
        if "data" in row:
            yield _of_task(row)
        elif "id" not in row:
            yield _of_row(row)
        elif count := left.pop(row["id"], 0):
            yield _of_row(row)._replace(others=count - 1)


def _of_task(task: Mapping[str, Any]) -> Annotated:
    drawn = task["annotations"] if "annotations" in task else task["completions"]
    done = [each for each in drawn if not each.get("was_cancelled")]
    if not done:  # nobody has looked at the image, or all who did have skipped it
        return Annotated(_image_of(task["data"]), None, [], is_unseen=True)
    regions = [
        {**each["value"], **{key: each.get(key) for key in _SIZE_KEYS}}
        for each in done[0]["result"]
        if "value" in each
    ]
    return _with_regions(_image_of(task["data"]), regions)._replace(others=len(done) - 1)


def _of_row(row: Mapping[str, Any]) -> Annotated:
    """What a row of JSON-MIN or CSV says, which has no number of an annotation where nobody has
    looked at the image."""
    lists = [each for each in row.values() if isinstance(each, list)]
    regions = [each for own in lists for each in own if isinstance(each, dict)]
    is_unseen = not regions and row.get("annotation_id", 0) in (None, "")
    return _with_regions(_image_of(row), regions)._replace(is_unseen=is_unseen)


def _rows_of_table(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV file by column, with the values of cells that hold a list.

    Raises:
        FormError: it is not CSV.
    """
    text = read_text(path, HINT)
    header = text.partition("\n")[0]
    limit = csv.field_size_limit(len(text) + 1)  # an image may have hundreds of objects
    try:
        reader = csv.DictReader(StringIO(text), delimiter=max(",;\t", key=header.count))
        rows = list(reader)
    except csv.Error as error:
        raise FormError(reason(error)) from None
    finally:
        csv.field_size_limit(limit)
    if any(None in row for row in rows):
        raise FormError("a row has more cells than columns")
    return [
        {
            key: parse_json(path, cell.encode(), HINT) if (cell or "").startswith("[{") else cell
            for key, cell in row.items()
            if key != "history"  # of earlier annotations
        }
        for row in rows
    ]


def _image_of(row: Mapping[str, Any]) -> str:
    """The image of a task: its text that is most likely one, by the key and the ending.

    Raises:
        FormError: it has no text.
    """

    def likelihood(item: tuple[str, str]) -> tuple[bool, ...]:
        key, ending = item[0].lower(), Path(local_name(item[1])).suffix.lower()
        is_called, is_image = "image" in key or "img" in key, ending in SUFFIXES
        return key in ("image", "img"), is_called and is_image, is_image, is_called

    texts = [(key, value) for key, value in row.items() if isinstance(value, str)]
    if not texts:
        raise FormError("a task has no image")
    return max(texts, key=likelihood)[1]


def _with_regions(name: str, regions: list[dict[str, Any]]) -> Annotated:
    boxes, left_out, size = [], 0, None
    kinds = [next((key for key in each if key.endswith("labels")), "") for each in regions]
    labelled = {_place(each) for each, kind in zip(regions, kinds, strict=True) if kind}
    for region, kind in zip(regions, kinds, strict=True):
        if not kind:  # where the shape is not the label's, it is there again without its class
            left_out += _place(region) not in labelled
            continue
        width, height = numbers_of(region, *_SIZE_KEYS)
        size = size_of(height, width) or size
        corners = _corners(region, kind, width / 100, height / 100)
        if corners is None:
            left_out += 1
            continue
        if len(region[kind]) != 1:
            raise FormError(f"a region of {name} has {len(region[kind])} classes")
        boxes.append(Box(label=class_name(region[kind][0]), corners=corners))
    return Annotated(name, size, boxes, left_out)


def _place(region: Mapping[str, Any]) -> str:
    return repr([region.get(key) for key in ("x", "y", "points")])


def _corners(region: Mapping[str, Any], kind: str, across: float, down: float) -> Corners | None:
    """The box around a region; None for a point or a line.

    Args:
        kind: the key of its class; "labels" is that of any shape.
        across, down: pixels in one per cent of the image's width and height.
    Raises:
        FormError, KeyError: it is none of the tool's regions, or the mask of a brush.
    """
    turn = number(region.get("rotation") or 0)
    if kind == "rectanglelabels" or (kind == "labels" and "height" in region):
        x, y, width, height = numbers_of(region, "x", "y", "width", "height")
        return enclose_turned((x * across, y * down), (width * across, height * down), turn)
    if kind == "ellipselabels" or (kind == "labels" and "radiusX" in region):
        x, y, x_radius, y_radius = numbers_of(region, "x", "y", "radiusX", "radiusY")
        return enclose_ellipse(x * across, y * down, x_radius * across, y_radius * down, turn)
    if kind == "polygonlabels" or (kind == "labels" and "points" in region):
        return enclose((x * across, y * down) for x, y in map(xy, region["points"]))
    if "rle" in region:
        raise FormError("it has the mask of a brush, which is not read")
    return None
