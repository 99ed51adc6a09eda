"""Reads the VGG Image Annotator: JSON of its versions 1 to 3, and the cells of its CSV.

See `json_tools` for what `read_via` gives and raises.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import short_list
from ..runtime.safe_read import read_json
from .json_values import HINT, class_name, numbers_of, xy
from .number_text import number_or_text
from .shapes import Annotated, Corners, FormError, enclose, enclose_ellipse
from .table import Box

_CLASS_KEYS = ("class", "label", "category", "type", "object", "name")
# Version 3: the numbers of shapes that have an area, and of those that have none; of files
_RECTANGLE, _CIRCLE, _ELLIPSE, _POLYGON, _EXTREMES, _THREE_POINTS = 2, 3, 4, 7, 8, 9
_OPEN_SHAPES = {1: "point", 5: "polyline", 6: "polyline"}
_IMAGE, _REMOTE = 2, (2, 3)


def read_via(path: Path) -> Iterator[Annotated]:
    """The VGG Image Annotator: annotations alone, or a project with them."""
    content = read_json(path, HINT)
    if "metadata" in content and "view" in content:
        rows = _rows_of_version_3(content)
    else:
        rows = list(content.get("_via_img_metadata", content).values())
    every = [list(each.values() if isinstance(each, dict) else each)
             for each in (row["regions"] for row in rows)]  # fmt: skip
    key = via_class_key(region["region_attributes"] for own in every for region in own)
    for row, own in zip(rows, every, strict=True):
        boxes, left_out = [], 0
        for region in own:
            corners = via_corners(region["shape_attributes"])
            if corners is None:
                left_out += 1
                continue
            label = via_label(region["region_attributes"], key)
            if label is None:
                raise FormError(f"a region of {row['filename']} has no class")
            boxes.append(Box(label=class_name(label), corners=corners))
        yield Annotated(row["filename"], None, boxes, left_out)


def via_corners(shape: Mapping[str, Any]) -> Corners | None:
    """The box around a shape of the VGG Image Annotator; None for a point or a line.

    Raises:
        FormError, KeyError: it is none of its shapes.
    """
    kind = shape["name"]
    if kind == "rect":
        x, y, width, height = numbers_of(shape, "x", "y", "width", "height")
        return enclose([(x, y), (x + width, y + height)])
    if kind in ("circle", "ellipse"):
        x, y = numbers_of(shape, "cx", "cy")
        across, down = numbers_of(shape, *(("r", "r") if kind == "circle" else ("rx", "ry")))
        turn = number_or_text(shape.get("theta") or 0)  # radians
        return enclose_ellipse(x, y, across, down, math.degrees(turn))
    if kind == "polygon":
        return enclose(map(xy, zip(shape["all_points_x"], shape["all_points_y"], strict=True)))
    if kind in ("point", "polyline"):
        return None
    raise FormError(f"{kind!r:.40} is no shape")


def via_class_key(regions: Iterable[Mapping[str, Any]]) -> str:
    """The attribute that has the classes of a file's regions: the only one that is filled in, or
    the one that is called like a class; "" where none is filled in.

    Args:
        regions: the attributes of each.
    Raises:
        FormError: several could be meant.
    """
    keys = {key.lower(): key for each in regions for key in each if _marked(each[key])}
    named = [key for key in _CLASS_KEYS if key in keys] or list(keys)
    if len(keys) > 1 and named[0] not in _CLASS_KEYS:
        raise FormError(
            f"it does not say which attribute is the class: {short_list(keys.values())}"
        )
    return next(iter(named), "")


def via_label(attributes: Mapping[str, Any], key: str) -> str | None:
    """The class of a region; None where it is not filled in, "object" where regions have none.

    Args:
        key: from `via_class_key`.
    """
    if not attributes and not key:
        return "object"
    return next((_marked(each) for name, each in attributes.items() if name.lower() == key), None)


def _marked(value: Any) -> str | None:
    """The text of an attribute, which may also be a set of names of which one is marked."""
    if isinstance(value, dict):
        marked = [name for name, is_marked in value.items() if is_marked is True]
        value = marked[0] if len(marked) == 1 else ""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and value.strip() else None


def _rows_of_version_3(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The images of a project of version 3, with their regions as earlier versions write them.

    Raises:
        FormError, KeyError, TypeError: it annotates something else than images, one in a view; or
            a region is none of the tool's.
    """
    attributes = content.get("attribute") or {}
    rows: dict[str, dict[str, Any]] = {}
    for key, view in content["view"].items():
        files = [content["file"][str(each)] for each in view["fid_list"]]
        if len(files) != 1 or files[0].get("type", _IMAGE) != _IMAGE:
            raise FormError("it annotates videos, sounds or several images together")
        rows[key] = {"filename": _image_of(files[0]), "regions": []}
    for row in content["metadata"].values():
        if row["xy"]:  # else it describes the whole image
            region = {
                "shape_attributes": _shape(*row["xy"]),
                "region_attributes": dict(
                    _attribute(attributes.get(key) or {}, key, value)
                    for key, value in row["av"].items()
                ),
            }
            rows[str(row["vid"])]["regions"].append(region)
    return list(rows.values())


def _image_of(file: Mapping[str, Any]) -> str:
    """The path of an image of version 3; only its name where the image came from the browser."""
    name: str = (file.get("loc") in _REMOTE and file.get("src")) or file["fname"]
    return name


def _attribute(definition: Mapping[str, Any], key: str, value: Any) -> tuple[str, Any]:
    """The name of an attribute of version 3, and its value.

    Args:
        definition: with the texts of options, whose keys are the values; empty for a text.
        value: of a list of boxes to tick, several keys with commas between them.
    """
    name, options = definition.get("aname") or key, definition.get("options") or {}
    chosen = [each for each in str(value).split(",") if each in options]
    if not chosen:
        return name, value
    return name, options[chosen[0]] if len(chosen) == 1 else dict.fromkeys(chosen, True)


def _shape(kind: Any, *values: Any) -> dict[str, Any]:
    """A shape of version 3 as earlier versions write it."""
    if kind in _OPEN_SHAPES:
        return {"name": _OPEN_SHAPES[kind]}
    if kind in (_POLYGON, _EXTREMES) and len(values) % 2 == 0:
        return {"name": "polygon", "all_points_x": values[::2], "all_points_y": values[1::2]}
    if kind == _THREE_POINTS and len(values) == 6:
        return {"name": "circle", **_circle_through(*map(number_or_text, values))}
    name, keys = {
        _RECTANGLE: ("rect", ("x", "y", "width", "height")),
        _CIRCLE: ("circle", ("cx", "cy", "r")),
        _ELLIPSE: ("ellipse", ("cx", "cy", "rx", "ry")),
    }.get(kind, ("", ()))
    if not keys or len(values) != len(keys):
        raise FormError(f"{[kind, *values]!r:.60} is no shape")
    return {"name": name, **dict(zip(keys, values, strict=True))}


def _circle_through(
    x1: float, y1: float, x2: float, y2: float, x3: float, y3: float
) -> dict[str, float]:
    """The circle through three points."""
    a, b, c, d = x2 - x1, y2 - y1, x3 - x1, y3 - y1
    twice_area = 2 * (a * d - b * c)
    if not twice_area:
        raise FormError("the three points of a circle lie on a line")
    u = (d * (a * a + b * b) - b * (c * c + d * d)) / twice_area
    v = (a * (c * c + d * d) - c * (a * a + b * b)) / twice_area
    return {"cx": x1 + u, "cy": y1 + v, "r": math.hypot(u, v)}
