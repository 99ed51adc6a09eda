"""One annotation file of PASCAL VOC, as the many programs write it that have this format.

VOC boxes are 1-based and inclusive, (xmin, ymin, xmax, ymax). This module makes them continuous
and half-open, as everywhere else: (xmin - 1, ymin - 1, xmax, ymax).
"""

from __future__ import annotations

import codecs
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from html import escape
from html.entities import html5
from pathlib import Path

import numpy as np

from ..errors import DataError, reason, short_list
from ..runtime.safe_read import BYTE_ORDER_MARKS, read_bytes
from .annotation import Annotation
from .number_text import parse_number
from .shapes import enclose_rotated

MAX_COORDINATE = 1e6  # pixels
MAX_XML_BYTES = 16 * 2**20  # far more than any annotation has
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_ROTATED = ("cx", "cy", "w", "h", "angle")
_HINT = "mend or remove the file"
_BARE_AMPERSAND = re.compile(r"&(?!#?\w+;)")
_NAMED = re.compile(r"&(?!(?:amp|lt|gt|quot|apos);)(\w+;)")  # as in HTML; XML knows these alone
# a document type that declares nothing itself
_PLAIN_DOCTYPE = re.compile(r"\A(<\?xml[^<>]*>\s*)?<!DOCTYPE[^<>\[\]]*>")
_LONGEST_DECLARATION = 1000  # letters
_DECLARATION = re.compile(r"""\s*<\?xml[^>]*?encoding\s*=\s*["']([\w.:-]+)["'][^>]*>""")
# How the first letter, <, looks without a mark.
_STARTS = (
    (b"<\0\0\0", "utf-32-le"),
    (b"\0\0\0<", "utf-32-be"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
# Encoding -> the larger one that is often meant by its name.
_LARGER = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
    "iso8859-1": "cp1252",
}
_NOT_FOR_FILES = ("idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined")


def parse_annotation(path: Path) -> Annotation:
    """Read one annotation file.

    Coordinates may have a fraction, after a point or a comma; corners may be swapped; `difficult`
    and `size` may be missing. A polygon or a rotated box counts as the box that encloses it; an
    object with several boxes counts as several, one that is marked `deleted` (LabelMe) is none.
    Namespaces and capitals of tags are ignored.

    Raises:
        DataError: the file cannot be read, is not XML, declares entities or is not an annotation;
            or an object has no name or no box of four numbers.
    """
    root = parse_xml(path)
    names, boxes, difficult = [], [], []
    for element in root.iter("object"):
        name = (element.findtext("name") or "").strip()
        if not name:
            raise DataError(f"{path}: an object has no name", _HINT)
        if _is_marked(element.findtext("deleted")):
            continue
        for box in _boxes(element):
            if box is None:
                got = short_list(_leaves(element), 8)
                raise DataError(
                    f"{path}: {name!r:.60} has no box of four numbers, but {got or 'nothing'}",
                    _HINT,
                )
            names.append(name)
            boxes.append(box)
            difficult.append(_is_marked(element.findtext("difficult")))
    if not names and root.tag != "annotation":
        raise DataError(f"{path} is not a VOC annotation: it begins with <{root.tag:.40}>", _HINT)
    width, height = _number(root.findtext("size/width")), _number(root.findtext("size/height"))
    return Annotation(
        size=(int(height), int(width)) if height > 0 and width > 0 else None,
        names=tuple(names),
        boxes=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        difficult=np.array(difficult, dtype=np.bool_),
    )


def annotated_file(path: Path) -> str:
    """The name of the image file that an annotation file gives; empty where it gives none.

    Raises:
        DataError: the file cannot be read or is not XML.
    """
    return (parse_xml(path).findtext("filename") or "").strip()


def parse_xml(path: Path, limit: int | None = None) -> ElementTree.Element:
    """The root of an XML file, with the names of all its elements in small letters and freed of
    namespaces.

    Args:
        limit: largest size, in bytes; None: that of an annotation of one image.
    Raises:
        DataError: the file cannot be read, is larger, is not XML or declares entities.
    """
    content = read_bytes(path, _HINT, limit or MAX_XML_BYTES)
    try:
        text = _decode(content)
        text = _PLAIN_DOCTYPE.sub("", text, count=1)
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise DataError(f"{path} declares entities, as no annotation does", _HINT)
        text = _NAMED.sub(
            lambda found: escape(html5[found[1]]) if found[1] in html5 else found[0], text
        )
        root = ElementTree.fromstring(_BARE_AMPERSAND.sub("&amp;", text))
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path} is not XML: {reason(error)}", _HINT) from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2].lower()
    return root


def _decode(content: bytes) -> str:
    """The text of an XML file without its declaration.

    Raises:
        LookupError: it declares an encoding that does not exist.
        UnicodeDecodeError: it is not in the encoding that it declares, nor in UTF-8.
    """
    start = next(
        (each for each in (*BYTE_ORDER_MARKS, *_STARTS) if content.startswith(each[0])), None
    )
    if start is not None:
        text = content.decode(start[1])
        return _without_declaration(text)
    declared = _DECLARATION.match(content[:_LONGEST_DECLARATION].decode("latin-1"))
    text = _decode_declared(content, codecs.lookup(declared[1]).name if declared else "utf-8")
    return _without_declaration(text)


def _without_declaration(text: str) -> str:
    text = text.lstrip("\ufeff").strip().rstrip("\0")  # a system that fails may append zeros
    declared = _DECLARATION.match(text[:_LONGEST_DECLARATION])
    return text[declared.end() :].lstrip() if declared else text


def _decode_declared(content: bytes, encoding: str) -> str:
    if encoding.replace("-", "_") in _NOT_FOR_FILES:
        raise LookupError(f"the encoding {encoding} is not one of files")
    if encoding.startswith(("utf-16", "utf-32")):  # the declaration could be read byte by byte
        encoding = "utf-8"
    candidates = [encoding, "utf-8", _LARGER.get(encoding, encoding)]
    if encoding.startswith(("iso8859", "cp125", "latin")):  # any bytes are text in these
        candidates = ["utf-8", *candidates]
    problem: UnicodeDecodeError | None = None
    for candidate in candidates:
        try:
            return content.decode(candidate)
        except UnicodeDecodeError as error:
            problem = problem or error
    assert problem is not None
    raise problem


def _leaves(element: ElementTree.Element) -> Iterator[str]:
    """The tags in the shape of an object with their texts, for messages."""
    shapes = (each for each in element if each.tag in ("bndbox", "polygon", "robndbox"))
    leaves = (leaf for each in shapes for leaf in each)
    return (f"{leaf.tag} {leaf.text.strip()}" for leaf in leaves if leaf.text and leaf.text.strip())


_Box = tuple[float, float, float, float]


def _boxes(element: ElementTree.Element) -> list[_Box | None]:
    """The boxes of an object, from each bndbox, else polygon, else robndbox; None: it is not valid,
    or there is none."""
    boxes: list[_Box | None] = []
    for each in element.findall("bndbox"):
        x1, y1, x2, y2 = (_number(each.findtext(key)) for key in _CORNERS)
        boxes.append(_turned(_enclose([x1, x2], [y1, y2]), _cvat_angle(element)))
    boxes = boxes or [_around_polygon(each) for each in element.findall("polygon")]
    rotated = element.findall("robndbox") if not boxes else []
    boxes += [_rotated(*(_number(each.findtext(key)) for key in _ROTATED)) for each in rotated]
    return boxes or [None]


def _cvat_angle(element: ElementTree.Element) -> float:
    """The angle in degrees by which the box of an object of CVAT is turned; 0 where it is not."""
    every = element.findall("attributes/attribute")
    attributes = {each.findtext("name"): each.findtext("value") for each in every}
    angle = _number(attributes.get("rotation"))
    return 0.0 if math.isnan(angle) else angle


def _turned(box: _Box | None, degrees: float) -> _Box | None:
    """The box around one that is turned around its centre."""
    if box is None or not degrees:
        return box
    x1, y1, x2, y2 = box
    centre, sides = ((x1 + x2) / 2, (y1 + y2) / 2), (x2 - x1, y2 - y1)
    return enclose_rotated(*centre, *sides, math.radians(degrees))


def _enclose(xs: list[float], ys: list[float]) -> _Box | None:
    """The box around 1-based pixels; None where a coordinate is no number, or all are missing."""
    if not xs or len(xs) != len(ys) or any(map(math.isnan, (*xs, *ys))):
        return None
    return min(xs) - 1, min(ys) - 1, max(xs), max(ys)


def _around_polygon(polygon: ElementTree.Element) -> _Box | None:
    """The box around a polygon; the points <pt> of LabelMe are continuous, from 0."""
    box = _enclose(*_polygon_points(polygon))
    if box is None or polygon.find("pt") is None:
        return box
    return box[0] + 1, box[1] + 1, box[2], box[3]


def _polygon_points(polygon: ElementTree.Element) -> tuple[list[float], list[float]]:
    """The coordinates of <x1><y1><x2>… or of <pt><x><y>, as far as there are."""
    xs, ys = [], []
    # not deeper: objects in polygons of objects would be gone through again and again
    for element in (*polygon, *(leaf for point in polygon for leaf in point)):
        if re.fullmatch(r"x\d*", element.tag):
            xs.append(_number(element.text))
        elif re.fullmatch(r"y\d*", element.tag):
            ys.append(_number(element.text))
    return xs, ys


def _rotated(x: float, y: float, width: float, height: float, angle: float) -> _Box | None:
    """The box around a rotated one, of which the centre, the sides and the angle are given.

    Args:
        angle: radians; degrees where it is more than a full turn.
    """
    if abs(angle) > 2 * math.pi:
        angle = math.radians(angle)
    try:
        return enclose_rotated(x, y, width, height, angle)
    except ValueError:
        return None


def _is_marked(text: str | None) -> bool:
    """Whether a tag says that something is so, with a number or a word."""
    return _number(text) > 0 or (text or "").strip().lower() in ("true", "yes")


def _number(text: str | None) -> float:
    """The number in a tag; NaN for other text, and for numbers above MAX_COORDINATE."""
    number = parse_number(text or "")
    return number if abs(number) <= MAX_COORDINATE else math.nan
