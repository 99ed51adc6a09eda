"""Reads the XML and the texts of annotation tools and of well-known data sets.

See `json_tools` for what the functions give and raise.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from ..runtime.safe_read import MAX_TEXT_BYTES, read_bytes, read_text
from .file_types import SUFFIXES
from .number_text import parse_number
from .shapes import Annotated, Corners, FormError, enclose, enclose_ellipse, enclose_rotated
from .table import Box
from .voc_xml import parse_xml

_HINT = "export the annotations again"
_MAX_XML_BYTES = 2**26
_MAX_NUMBER = 1e6  # of a coordinate
_KITTI_FIELDS = (15, 16)  # the last may be a score
_DOTA_HEADER = ("imagesource", "gsd")
_WIDER_FIELDS = (5, 11)  # of a row whose last one may be a class
_VISDRONE_FIELDS = 8
_VISDRONE_CLASSES = (
    "ignored regions", "pedestrian", "people", "bicycle", "car", "van", "truck", "tricycle",
    "awning-tricycle", "bus", "motor", "others",
)  # fmt: skip
# Lines of VOC2005 and VOC2006. The labels of their classes name the view, the posture and what
# VOC2007 has flags for: PAScarRearTruncDifficult, PASpersonWalking.
_PASCAL_NAME = re.compile(r'^Image filename\s*:\s*"([^"]*)"', re.M)
_PASCAL_SIZE = re.compile(r"^Image size[^:\n]*:\s*(\d+) x (\d+)", re.M)
_PASCAL_FIRST = re.compile(r"Top left pixel co-ordinates\s*:\s*\((\d+), *(\d+)\)")
_PASCAL_OBJECTS = re.compile(r"^Objects with ground truth[^{\n]*\{([^}\n]*)\}", re.M)
_PASCAL_BOX = re.compile(
    r'^Bounding box for object \d+ "([^"\n]*)"[^:\n]*:\s*'
    r"\(([^,\n]+),([^)\n]+)\)\s*-\s*\(([^,\n]+),([^)\n]+)\)",
    re.M,
)
_PASCAL_LABEL = re.compile(
    "PAS(bicycle|bus|car|cat|cow|dog|horse|motorbike|person|sheep)"
    "(?:Frontal|Rear|Left|Right|Side|Walking|Sitting|Standing)?(?:Trunc)?(Difficult)?"
)


def _numbers(texts: list[str]) -> list[float]:
    """The numbers in some texts.

    Raises:
        FormError: one is no number.
    """
    values = list(map(parse_number, texts))
    if not all(abs(value) < _MAX_NUMBER for value in values):  # nor NaN
        raise FormError(f"expected numbers, got {texts!r:.120}")
    return values


def read_cvat(path: Path) -> Iterator[Annotated]:
    """CVAT's XML for images, or for a video, all in one file."""
    root = parse_xml(path, _MAX_XML_BYTES)
    if root.find("track") is not None:
        yield from _frames_of_video(root)
        return
    for image in root.iter("image"):
        boxes, left_out = [], 0
        for shape in image:
            corners = _cvat_corners(shape)
            if corners is not None:
                boxes.append(Box(label=shape.attrib["label"], corners=corners))
            left_out += corners is None and shape.tag != "tag"
        height, width = _numbers([image.attrib["height"], image.attrib["width"]])
        name, split = image.attrib["name"], image.attrib.get("subset", "")
        yield Annotated(name, (int(height), int(width)), boxes, left_out, split)


def _frames_of_video(root: Element) -> Iterator[Annotated]:
    """The frames of a video, which CVAT exports as frame_000000.PNG and so on.

    The first frame is there even if it is empty: frames that another program numbers from 1 then
    lack it, rather than being taken for the frames before them.
    """
    if len({track.attrib.get("task_id") for track in root.iter("track")}) > 1:
        raise FormError("it has several tasks, whose frames have the same numbers: export each")
    sizes = [root.findtext(f"meta/task/original_size/{side}") for side in ("height", "width")]
    height, width = map(int, _numbers([each or "0" for each in sizes]))
    first = root.findtext("meta/task/start_frame") or "0"
    boxes: dict[int, list[Box]] = {int(*_numbers([first])): []}
    left_out: Counter[int] = Counter()
    for track in root.iter("track"):
        for shape in track:
            frame = int(*_numbers([shape.attrib["frame"]]))
            own = boxes.setdefault(frame, [])
            if shape.attrib.get("outside") == "1":  # the object is not in the frame
                continue
            corners = _cvat_corners(shape)
            left_out[frame] += corners is None
            own += [Box(label=track.attrib["label"], corners=corners)] if corners else []
    size = (height, width) if min(height, width) > 0 else None
    for frame, own in sorted(boxes.items()):
        yield Annotated(f"frame_{frame:06}", size, own, left_out[frame])


def _cvat_corners(shape: Element) -> Corners | None:
    """The box around a shape; None for points, lines and tags of the image."""

    def of(*keys: str) -> list[float]:
        return _numbers([shape.attrib[key] for key in keys])

    degrees = parse_number(shape.attrib.get("rotation", "0"))
    if shape.tag == "box":
        x1, y1, x2, y2 = of("xtl", "ytl", "xbr", "ybr")
        centre, sides = ((x1 + x2) / 2, (y1 + y2) / 2), (x2 - x1, y2 - y1)
        if degrees:
            return enclose_rotated(*centre, *sides, math.radians(degrees))
        return enclose([(x1, y1), (x2, y2)])
    if shape.tag == "polygon":
        points = (pair.split(",") for pair in shape.attrib["points"].split(";"))
        return enclose(_numbers(pair) for pair in points)
    if shape.tag == "ellipse":
        x, y, x_radius, y_radius = of("cx", "cy", "rx", "ry")
        return enclose_ellipse(x, y, x_radius, y_radius, degrees)
    if shape.tag == "cuboid":
        corners = [f"{side}{end}" for side in ("tl", "bl", "tr", "br") for end in (1, 2)]
        return enclose(of(f"x{corner}", f"y{corner}") for corner in corners)
    if shape.tag == "mask":
        left, top, width, height = of("left", "top", "width", "height")
        return left, top, left + width, top + height
    return None


def read_kitti(path: Path) -> Iterator[Annotated]:
    """KITTI: a text for each image; DontCare marks regions that nobody looked at."""
    boxes = []
    for line in read_text(path, _HINT).split("\n"):
        fields = line.split()
        if fields:
            if len(fields) not in _KITTI_FIELDS:
                raise FormError(f"a row has not 15 values, but {len(fields)}")
            x1, y1, x2, y2 = _numbers(fields[1:])[3:7]
            boxes.append(Box(label=fields[0], corners=enclose([(x1, y1), (x2, y2)])))
    kept = [box for box in boxes if box.label != "DontCare"]
    yield Annotated(path.stem, None, kept, len(boxes) - len(kept))


def read_dota(path: Path) -> Iterator[Annotated]:
    """DOTA: a text for each image, with the four corners of each object, its class and whether it
    is difficult."""
    boxes = []
    for line in read_text(path, _HINT).split("\n"):
        fields = line.split()
        if not fields or fields[0].partition(":")[0].lower() in _DOTA_HEADER:
            continue
        values = _numbers(fields[:8])
        corners = enclose(zip(values[::2], values[1::2], strict=True))
        boxes.append(Box(label=fields[8], corners=corners, difficult=fields[9:] in (["1"], ["2"])))
    yield Annotated(path.stem, None, boxes)


def read_wider(path: Path) -> Iterator[Annotated]:
    """WIDER FACE: for each image its name, the number of faces, and a row for each; an image
    without faces has a row of zeros.

    CVAT writes the class of what is no face at the end of a row, - for a flag that is not set, and
    of an image without faces the name alone.
    """
    lines = [line.strip() for line in read_text(path, _HINT).split("\n") if line.strip()]
    at = 0
    while at < len(lines):
        name, following = lines[at], lines[at + 1 : at + 2] or ["a cut file"]
        if Path(following[0]).suffix.lower() in SUFFIXES:
            at += 1
            yield Annotated(name, None, [])
            continue
        (count,) = _numbers(following)
        rows = [line.split() for line in lines[at + 2 : at + 2 + max(int(count), 1)]]
        if not count and not (rows and all(map(_is_number, rows[0]))):
            rows = []  # programs that copy the format leave out the row of zeros
        if len(rows) < count:
            raise FormError("it is cut off")
        at += 2 + len(rows)
        boxes = []
        for row in rows:
            x, y, width, height = _numbers(row[:4])
            is_named = len(row) in _WIDER_FIELDS and not _is_number(row[-1])
            if width > 0 and height > 0:
                box = (x, y, x + width, y + height)
                label, is_invalid = row[-1] if is_named else "face", row[7:8] == ["1"]
                boxes.append(Box(label=label, corners=box, difficult=is_invalid))
        yield Annotated(name, None, boxes)


def _is_number(text: str) -> bool:
    return not math.isnan(parse_number(text))


def read_visdrone(path: Path) -> Iterator[Annotated]:
    """VisDrone: a text for each image, whose rows are x, y, width, height, whether the object
    counts, class, truncation and occlusion."""
    boxes, left_out = [], 0
    for line in read_text(path, _HINT).split("\n"):
        fields = line.strip().rstrip(",").split(",")
        if fields == [""]:
            continue
        if len(fields) != _VISDRONE_FIELDS:
            raise FormError(f"a row has not {_VISDRONE_FIELDS} values, but {len(fields)}")
        x, y, width, height, counts, label = _numbers(fields)[:6]
        if label not in range(len(_VISDRONE_CLASSES)):
            raise FormError(f"a row has the class {fields[5]!r:.20}")
        if not counts or not label:
            left_out += 1
            continue
        box = (x, y, x + width, y + height)
        boxes.append(Box(label=_VISDRONE_CLASSES[int(label)], corners=box))
    yield Annotated(path.stem, None, boxes, left_out)


def read_pascal(path: Path) -> Iterator[Annotated]:
    """VOC2005 and VOC2006, and INRIA Person and Penn-Fudan, which copy them: a text for each image.

    Of labels such as PAScarRearTruncDifficult, the class is car.
    """
    # INRIA's texts name the data set in Latin-1
    text = read_bytes(path, _HINT, MAX_TEXT_BYTES).decode("utf-8", "replace").replace("\r", "\n")
    name, size, first = (
        pattern.search(text) for pattern in (_PASCAL_NAME, _PASCAL_SIZE, _PASCAL_FIRST)
    )
    left, top = map(int, first.groups()) if first else (1, 1)
    boxes = []
    for label, *numbers in _PASCAL_BOX.findall(text):
        x1, y1, x2, y2 = _numbers(numbers)
        corners = (x1 - left, y1 - top, x2 - left + 1, y2 - top + 1)
        parts = _PASCAL_LABEL.fullmatch(label)
        own = parts[1] if parts else label.removeprefix("PAS")
        if not own:
            raise FormError("an object has no label")
        boxes.append(Box(label=own, corners=corners, difficult=bool(parts and parts[2])))
    objects = _PASCAL_OBJECTS.search(text)
    named = objects[1].count('"') // 2 if objects else 0
    if named != len(boxes):
        raise FormError(f"it names {named} objects and has {len(boxes)} bounding boxes")
    width, height = map(int, size.groups()) if size else (0, 0)
    shown = (height, width) if min(width, height) > 0 else None
    yield Annotated(Path(name[1]).name if name else path.stem, shown, boxes)
