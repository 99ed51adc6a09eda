"""Boxes in COCO's forms, and the box that encloses an outline: polygons, or runs (RLE) of a mask's
pixels."""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

import numpy as np

from ..runtime.safe_read import number, numbers
from .number_text import parse_number
from .shapes import enclose_rotated


def box_numbers(box: object, attributes: object) -> list[float] | None:
    """The box [x, y, width, height] in a row; None where it is none.

    Args:
        box: four numbers, which may be texts, or values of x, y, width and height.
        attributes: of the object; CVAT has the angle there by which the box is turned, in degrees.
    """
    if isinstance(box, dict):
        box = [box.get(key) for key in ("x", "y", "width", "height")]
    if isinstance(box, list) and all(isinstance(each, str) for each in box):
        box = [parse_number(each) for each in box]
    found = numbers(box, 4)
    if found is None or not isinstance(attributes, dict) or not is_turned(attributes):
        return found
    x, y, width, height = found
    if min(width, height) < 0:
        return found
    angle = math.radians(number(attributes["rotation"]))
    x1, y1, x2, y2 = enclose_rotated(x + width / 2, y + height / 2, width, height, angle)
    return [x1, y1, x2 - x1, y2 - y1]


def is_turned(attributes: object) -> bool:
    """Whether an object is in a box that is turned, as its attributes say in CVAT's files."""
    angle = number(attributes.get("rotation")) if isinstance(attributes, dict) else 0.0
    return angle != 0 and not math.isnan(angle)


def enclosing_box(segmentation: object) -> list[float] | None:
    """The box [x, y, width, height] of an outline; None where it is none, or is empty.

    Args:
        segmentation: a list of polygons [x1, y1, x2, y2, …] or [[x1, y1], [x2, y2], …], or
            {"counts", "size"} as pycocotools writes it: runs of pixels outside and inside in turn,
            column by column, as a list or packed in a text.
    """
    if isinstance(segmentation, dict):
        return _mask_box(segmentation)
    if not isinstance(segmentation, list) or not segmentation:
        return None
    polygons = segmentation if isinstance(segmentation[0], list) else [segmentation]
    polygons = [_flat(each) for each in polygons]
    checked = [numbers(each, len(each)) for each in polygons if isinstance(each, list)]
    if not all(each and len(each) % 2 == 0 for each in checked):
        return None
    flat = list(chain.from_iterable(each for each in checked if each))
    xs, ys = flat[::2], flat[1::2]
    if not xs:
        return None
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def _flat(polygon: Any) -> Any:
    """A polygon whose points may be lists [x, y], as numbers in a row."""
    is_points = isinstance(polygon, list) and all(isinstance(each, list) for each in polygon)
    return list(chain.from_iterable(polygon)) if is_points else polygon


def _mask_box(mask: dict[str, Any]) -> list[float] | None:
    counts, size = mask.get("counts"), numbers(mask.get("size"), 2)
    if isinstance(counts, str):
        counts = _unpack(counts)
    runs = numbers(counts, len(counts)) if isinstance(counts, list) else None
    if not runs or size is None or min(runs) < 0 or not size[0] >= 1:
        return None
    height = int(size[0])
    ends = np.cumsum(np.array(runs, np.int64))
    inside = np.stack([ends[:-1], ends[1:]], axis=1)[::2]  # first pixel, and the one after the last
    inside = inside[inside[:, 0] < inside[:, 1]]
    if not len(inside) or ends[-1] > height * size[1]:
        return None
    first, last = inside[:, 0], inside[:, 1] - 1
    tall = first // height != last // height  # a run in several columns touches top and bottom
    x1, x2 = int((first // height).min()), int((last // height).max()) + 1
    y1 = 0 if tall.any() else int((first % height).min())
    y2 = height if tall.any() else int((last % height).max()) + 1
    return [float(x1), float(y1), float(x2 - x1), float(y2 - y1)]


def _unpack(text: str) -> list[float]:
    """The runs in pycocotools' text: groups of 5 bits, from the third on as differences."""
    runs: list[float] = []
    value = shift = 0
    for letter in text:
        code = ord(letter) - 48
        if not 0 <= code < 64 or shift > 60:
            return [math.nan]
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs
