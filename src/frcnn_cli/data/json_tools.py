"""Reads the JSON of annotation tools: a function for each, from a file to the objects by image.

These functions raise the errors of Python where a file is not as it should be; `read_tool` makes a
DataError of them.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..runtime.safe_read import read_json
from .json_values import HINT, class_name, numbers_of, size_of, xy
from .number_text import number_or_text
from .shapes import Annotated, Corners, FormError, enclose, enclose_ellipse, enclose_rotated
from .table import Box

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER = struct.Struct(">8s8xII")  # signature, length and name of the first part, sides
_PACKED_HEADER = 4096  # letters of base64, which hold more than that
_OPEN_SHAPES = ("point", "points", "line", "linestrip")  # of LabelMe: they enclose nothing


def read_labelme(path: Path) -> Iterator[Annotated]:
    """LabelMe, and programs that write its files: one for each image, which it names relative to
    itself. Polygons of a class that are grouped are the parts of one object."""
    content = read_json(path, HINT)
    shapes: dict[object, tuple[str, list[tuple[float, float]]]] = {}  # by object: class, points
    left_out = 0
    for index, shape in enumerate(content["shapes"]):
        points, kind = list(map(xy, shape["points"])), shape.get("shape_type") or "polygon"
        if kind in _OPEN_SHAPES:
            left_out += 1
            continue
        if kind == "mask":  # its first pixel and its last one
            points.append((points[1][0] + 1, points[1][1] + 1))
        if kind == "circle":  # its centre and a point on it
            (x, y), (u, v) = points
            radius = ((x - u) ** 2 + (y - v) ** 2) ** 0.5
            points = [(x - radius, y - radius), (x + radius, y + radius)]
        label, group = class_name(shape["label"]), shape.get("group_id")
        is_part = group is not None and kind in ("polygon", "mask")
        key = (label, str(group)) if is_part else index
        shapes.setdefault(key, (label, []))[1].extend(points)
    boxes = [Box(label=label, corners=enclose(points)) for label, points in shapes.values()]
    size = size_of(content.get("imageHeight"), content.get("imageWidth"))
    yield Annotated(content["imagePath"], size, boxes, left_out)


def read_supervisely(path: Path) -> Iterator[Annotated]:
    """Supervisely: a file for each image, with the image's name and .json after it."""
    content = read_json(path, HINT)
    boxes, left_out = [], 0
    for row in content["objects"]:
        kind = row["geometryType"]
        if kind in ("rectangle", "polygon"):
            corners = enclose(map(xy, row["points"]["exterior"]))
        elif kind == "oriented_bbox":
            corners = _around_oriented(row)
        elif kind in ("bitmap", "alpha_mask"):
            corners = _around_bitmap(row[kind])
        else:
            left_out += 1
            continue
        boxes.append(Box(label=class_name(row["classTitle"]), corners=corners))
    size = size_of(content["size"]["height"], content["size"]["width"])
    yield Annotated(path.name.removesuffix(".json"), size, boxes, left_out)


def _around_oriented(row: Mapping[str, Any]) -> Corners:
    """The box around one of Supervisely that is turned around its centre, by radians."""
    points = row["points"]
    x1, y1, x2, y2 = enclose(map(xy, points["exterior"] if isinstance(points, dict) else points))
    angle = number_or_text(row["angle"] or 0)
    return enclose_rotated((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, angle)


def _around_bitmap(bitmap: Mapping[str, Any]) -> Corners:
    """The box around a mask of Supervisely: a PNG that is cropped to it, and its upper left corner.

    Raises:
        FormError: it is no such mask.
    """
    packed = base64.b64decode(bitmap["data"][:_PACKED_HEADER])
    try:
        header = zlib.decompressobj().decompress(packed, _PNG_HEADER.size)
        signature, width, height = _PNG_HEADER.unpack(header)
    except (zlib.error, struct.error):
        signature, width, height = b"", 0, 0
    if signature != _PNG or min(width, height) < 1:
        raise FormError("a bitmap is no PNG")
    x, y = xy(bitmap["origin"])
    return enclose([(x, y), (x + width, y + height)])


def read_createml(path: Path) -> Iterator[Annotated]:
    """CreateML: coordinates are the centre and the sides."""
    for row in read_json(path, HINT):
        boxes = []
        for each in row["annotations"] if "annotations" in row else row["annotation"]:
            x, y, width, height = numbers_of(each["coordinates"], "x", "y", "width", "height")
            corners = enclose_ellipse(x, y, width / 2, height / 2)
            boxes.append(Box(label=class_name(each["label"]), corners=corners))
        yield Annotated(row.get("image") or row["imagefilename"], None, boxes)


def read_bdd(path: Path) -> Iterator[Annotated]:
    """BDD100K, and Scalabel's other lists of images with labels; or a file for each image, which
    names the image without its ending."""
    content = read_json(path, HINT)
    if isinstance(content, dict):
        (frame,) = content["frames"]
        content = [{"name": content["name"], "labels": frame["objects"]}]
    for row in content:
        boxes, left_out = [], 0
        for each in row.get("labels") or ():
            if not each.get("box2d"):
                left_out += 1
                continue
            x1, y1, x2, y2 = numbers_of(each["box2d"], "x1", "y1", "x2", "y2")
            corners = enclose([(x1, y1), (x2, y2)])
            is_crowd = (each.get("attributes") or {}).get("crowd") is True
            boxes.append(
                Box(label=class_name(each["category"]), corners=corners, difficult=is_crowd)
            )
        yield Annotated(row["name"], None, boxes, left_out)
