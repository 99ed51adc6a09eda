"""Reads the JSON of annotation tools: a function for each, from a file to the objects by image.

These functions raise the errors of Python where a file is not as it should be; `read_tool` makes a
DataError of them.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import short_list
from ..runtime.safe_read import number, read_json
from .file_types import SUFFIXES
from .locate import local_name
from .number_text import number_or_text
from .shapes import (
    Annotated,
    Corners,
    enclose,
    enclose_ellipse,
    enclose_rotated,
    enclose_turned,
)
from .table import Box

_HINT = "export the annotations again"
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER = struct.Struct(">8s8xII")  # signature, length and name of the first part, sides
_PACKED_HEADER = 4096  # letters of base64, which hold more than that
_OPEN_SHAPES = ("point", "points", "line", "linestrip")  # of LabelMe: they enclose nothing
_CLASS_KEYS = ("class", "label", "name", "category", "type", "object")


def _xy(point: Any) -> tuple[float, float]:
    if not isinstance(point, list | tuple) or len(point) != 2:
        raise ValueError(f"a point is not two numbers, but {point!r:.40}")
    x, y = point
    return number_or_text(x), number_or_text(y)


def _numbers(row: Mapping[str, Any], *keys: str) -> list[float]:
    return [number_or_text(row[key]) for key in keys]


def _size(height: Any, width: Any) -> tuple[int, int] | None:
    sides = number_or_text(height), number_or_text(width)
    return (int(sides[0]), int(sides[1])) if min(sides) >= 1 else None


def read_labelme(path: Path) -> Iterator[Annotated]:
    """LabelMe, and programs that write its files: one for each image, which it names relative to
    itself. Polygons of a class that are grouped are the parts of one object."""
    content = read_json(path, _HINT)
    shapes: dict[object, tuple[str, list[tuple[float, float]]]] = {}  # by object: class, points
    left_out = 0
    for index, shape in enumerate(content["shapes"]):
        points, kind = list(map(_xy, shape["points"])), shape.get("shape_type") or "polygon"
        if kind in _OPEN_SHAPES:
            left_out += 1
            continue
        if kind == "circle":  # its centre and a point on it
            (x, y), (u, v) = points
            radius = ((x - u) ** 2 + (y - v) ** 2) ** 0.5
            points = [(x - radius, y - radius), (x + radius, y + radius)]
        label, group = _name(shape["label"]), shape.get("group_id")
        is_part = group is not None and kind in ("polygon", "mask")
        key = (label, str(group)) if is_part else index
        shapes.setdefault(key, (label, []))[1].extend(points)
    boxes = [Box(label=label, corners=enclose(points)) for label, points in shapes.values()]
    size = _size(content.get("imageHeight"), content.get("imageWidth"))
    yield Annotated(content["imagePath"], size, boxes, left_out)


def _name(label: Any) -> str:
    """The name of a class, which may be a whole number.

    Raises:
        ValueError: it is something else, or empty.
    """
    if isinstance(label, int) and not isinstance(label, bool):
        label = str(label)
    if not isinstance(label, str) or not label.strip():
        raise ValueError(f"an object has no class: {label!r:.40}")
    return label.strip()


def read_via(path: Path) -> Iterator[Annotated]:
    """The VGG Image Annotator: annotations alone, or a project with them."""
    content = read_json(path, _HINT)
    rows = content.get("_via_img_metadata", content).values()
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
                raise ValueError(f"a region of {row['filename']} has no class")
            boxes.append(Box(label=_name(label), corners=corners))
        yield Annotated(row["filename"], None, boxes, left_out)


def via_corners(shape: Mapping[str, Any]) -> Corners | None:
    """The box around a shape of the VGG Image Annotator; None for a point or a line.

    Raises:
        ValueError, KeyError: it is none of its shapes.
    """
    kind = shape["name"]
    if kind == "rect":
        x, y, width, height = _numbers(shape, "x", "y", "width", "height")
        return enclose([(x, y), (x + width, y + height)])
    if kind in ("circle", "ellipse"):
        x, y = _numbers(shape, "cx", "cy")
        radii = _numbers(shape, *(("r", "r") if kind == "circle" else ("rx", "ry")))
        return enclose_ellipse(x, y, max(radii), max(radii))  # an ellipse may be turned
    if kind == "polygon":
        return enclose(map(_xy, zip(shape["all_points_x"], shape["all_points_y"], strict=True)))
    if kind in ("point", "polyline"):
        return None
    raise ValueError(f"{kind!r:.40} is no shape")


def via_class_key(regions: Iterable[Mapping[str, Any]]) -> str:
    """The attribute that has the classes of a file's regions: the only one that is filled in, or
    the one that is called like a class; "" where none is filled in.

    Args:
        regions: the attributes of each.
    Raises:
        ValueError: several could be meant.
    """
    keys = {key.lower(): key for each in regions for key in each if _marked(each[key])}
    named = [key for key in _CLASS_KEYS if key in keys] or list(keys)
    if len(keys) > 1 and named[0] not in _CLASS_KEYS:
        raise ValueError(
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
    return value if isinstance(value, str) and value.strip() else None


def read_label_studio(path: Path) -> Iterator[Annotated]:
    """Label Studio: JSON with the annotations of a task, the first that is not cancelled, or
    JSON-MIN with a list of regions in each row."""
    for row in read_json(path, _HINT):
        others = 0
        if "data" in row:
            done = [each for each in row["annotations"] if not each.get("was_cancelled")]
            if not done:  # nobody has looked at the image, or all who did have skipped it
                yield Annotated(_image_of(row["data"]), None, [], is_unseen=True)
                continue
            regions = [
                {**each["value"], **{key: each.get(key) for key in _SIZE_KEYS}}
                for each in done[0]["result"]
                if "value" in each
            ]
            name, others = _image_of(row["data"]), max(len(done) - 1, 0)
        else:
            lists = [each for each in row.values() if isinstance(each, list)]
            regions = [each for own in lists for each in own if isinstance(each, dict)]
            name = _image_of(row)
        yield _label_studio_image(name, regions)._replace(others=others)


_SIZE_KEYS = ("original_width", "original_height")


def _image_of(row: Mapping[str, Any]) -> str:
    """The image of a task: its text that is most likely one, by the key and the ending.

    Raises:
        ValueError: it has no text.
    """

    def likelihood(item: tuple[str, str]) -> tuple[bool, ...]:
        key, ending = item[0].lower(), Path(local_name(item[1])).suffix.lower()
        is_called, is_image = "image" in key or "img" in key, ending in SUFFIXES
        return key in ("image", "img"), is_called and is_image, is_image, is_called

    texts = [(key, value) for key, value in row.items() if isinstance(value, str)]
    if not texts:
        raise ValueError("a task has no image")
    return max(texts, key=likelihood)[1]


def _label_studio_image(name: str, regions: list[dict[str, Any]]) -> Annotated:
    boxes, left_out, size = [], 0, None
    kinds = [next((key for key in each if key.endswith("labels")), "") for each in regions]
    labelled = {_place(each) for each, kind in zip(regions, kinds, strict=True) if kind}
    for region, kind in zip(regions, kinds, strict=True):
        if not kind:  # where the shape is not the label's, it is there again without its class
            left_out += _place(region) not in labelled
            continue
        width, height = _numbers(region, *_SIZE_KEYS)
        size = _size(height, width) or size
        corners = _label_studio_corners(region, kind, width / 100, height / 100)
        if corners is None:
            left_out += 1
            continue
        if len(region[kind]) != 1:
            raise ValueError(f"a region of {name} has {len(region[kind])} classes")
        boxes.append(Box(label=_name(region[kind][0]), corners=corners))
    return Annotated(name, size, boxes, left_out)


def _place(region: Mapping[str, Any]) -> str:
    return repr([region.get(key) for key in ("x", "y", "points")])


def _label_studio_corners(
    region: Mapping[str, Any], kind: str, across: float, down: float
) -> Corners | None:
    """The box around a region; None for a point or a line.

    Args:
        kind: the key of its class; "labels" is that of any shape.
        across, down: pixels in one per cent of the image's width and height.
    Raises:
        ValueError, KeyError: it is none of the tool's regions, or the mask of a brush.
    """
    turn = number(region.get("rotation") or 0)
    if kind == "rectanglelabels" or (kind == "labels" and "height" in region):
        x, y, width, height = _numbers(region, "x", "y", "width", "height")
        return enclose_turned((x * across, y * down), (width * across, height * down), turn)
    if kind == "ellipselabels" or (kind == "labels" and "radiusX" in region):
        x, y, x_radius, y_radius = _numbers(region, "x", "y", "radiusX", "radiusY")
        return enclose_ellipse(x * across, y * down, x_radius * across, y_radius * down, turn)
    if kind == "polygonlabels" or (kind == "labels" and "points" in region):
        return enclose((x * across, y * down) for x, y in map(_xy, region["points"]))
    if "rle" in region:
        raise ValueError("it has the mask of a brush, which is not read")
    return None


def read_supervisely(path: Path) -> Iterator[Annotated]:
    """Supervisely: a file for each image, with the image's name and .json after it."""
    content = read_json(path, _HINT)
    boxes, left_out = [], 0
    for row in content["objects"]:
        kind = row["geometryType"]
        if kind in ("rectangle", "polygon"):
            corners = enclose(map(_xy, row["points"]["exterior"]))
        elif kind == "oriented_bbox":
            corners = _around_oriented(row)
        elif kind in ("bitmap", "alpha_mask"):
            corners = _around_bitmap(row[kind])
        else:
            left_out += 1
            continue
        boxes.append(Box(label=_name(row["classTitle"]), corners=corners))
    size = _size(content["size"]["height"], content["size"]["width"])
    yield Annotated(path.name.removesuffix(".json"), size, boxes, left_out)


def _around_oriented(row: Mapping[str, Any]) -> Corners:
    """The box around one of Supervisely that is turned around its centre, by radians."""
    points = row["points"]
    x1, y1, x2, y2 = enclose(map(_xy, points["exterior"] if isinstance(points, dict) else points))
    angle = number_or_text(row["angle"] or 0)
    return enclose_rotated((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, angle)


def _around_bitmap(bitmap: Mapping[str, Any]) -> Corners:
    """The box around a mask of Supervisely: a PNG that is cropped to it, and its upper left corner.

    Raises:
        ValueError: it is no such mask.
    """
    packed = base64.b64decode(bitmap["data"][:_PACKED_HEADER])
    try:
        header = zlib.decompressobj().decompress(packed, _PNG_HEADER.size)
        signature, width, height = _PNG_HEADER.unpack(header)
    except (zlib.error, struct.error):
        signature, width, height = b"", 0, 0
    if signature != _PNG or min(width, height) < 1:
        raise ValueError("a bitmap is no PNG")
    x, y = _xy(bitmap["origin"])
    return enclose([(x, y), (x + width, y + height)])


def read_createml(path: Path) -> Iterator[Annotated]:
    """CreateML: coordinates are the centre and the sides."""
    for row in read_json(path, _HINT):
        boxes = []
        for each in row["annotations"] if "annotations" in row else row["annotation"]:
            x, y, width, height = _numbers(each["coordinates"], "x", "y", "width", "height")
            corners = enclose_ellipse(x, y, width / 2, height / 2)
            boxes.append(Box(label=_name(each["label"]), corners=corners))
        yield Annotated(row.get("image") or row["imagefilename"], None, boxes)


def read_bdd(path: Path) -> Iterator[Annotated]:
    """BDD100K, and Scalabel's other lists of images with labels."""
    for row in read_json(path, _HINT):
        boxes, left_out = [], 0
        for each in row.get("labels") or ():
            if not each.get("box2d"):
                left_out += 1
                continue
            x1, y1, x2, y2 = _numbers(each["box2d"], "x1", "y1", "x2", "y2")
            corners = enclose([(x1, y1), (x2, y2)])
            boxes.append(Box(label=_name(each["category"]), corners=corners))
        yield Annotated(row["name"], None, boxes, left_out)
