"""Boxes in JSON: this program's, COCO's results, and the masks of Segment Anything (SAM).

SAM's automatic mask generator (amg.py) writes a file for each image with --convert-to-rle, else a
folder with masks and metadata.csv. The files of SA-1B name their image. Boxes are those of the
masks; the masks themselves are not read.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError
from ...runtime.safe_read import MAX_JSON_BYTES, parse_json, read_bytes
from .box_file import Boxes, BoxFile, as_boxes, box_file, ranked

_METADATA = "metadata.csv"
_CORNER = ("bbox_x0", "bbox_y0", "bbox_w", "bbox_h")  # columns of metadata.csv
_QUALITY = "predicted_iou"
_EXPECTED = (
    'expected {"images": [{"image": "000004", "boxes": [[x1, y1, x2, y2], …]}, …]}, COCO results, '
    "or masks of Segment Anything"
)
_FORMATS = "docs/proposals.md describes the formats"


def read_json_boxes(path: Path, content: bytes) -> BoxFile:
    """Read a JSON file of boxes, of any of the formats above.

    Args:
        path: for messages. content: of the file.
    Raises:
        DataError: it is of none of these. ValueError: it is damaged.
    """
    parsed: Any = parse_json(path, content, "check the file")
    try:
        return _boxes_in(parsed, path)
    except (LookupError, TypeError, AttributeError):  # something else than a format has there
        raise DataError(f"{path} holds no boxes in a known form: {_EXPECTED}", _FORMATS) from None


def _boxes_in(parsed: Any, path: Path) -> BoxFile:
    """The boxes in the value of a JSON file; raises errors of Python where it is of no format."""
    if isinstance(parsed, list) and parsed and "image_id" in parsed[0]:
        return _coco_results(parsed, path)
    if isinstance(parsed, list):
        return box_file("Segment Anything", [path.stem], [_masks(parsed, str(path))])
    if "annotations" in parsed and "image" in parsed:
        name = parsed["image"]["file_name"]
        return box_file("SA-1B", [name], [_masks(parsed["annotations"], str(path))])
    images = parsed["images"]
    names = [image["image"] for image in images]
    if not all(isinstance(name, str | int) for name in names):
        raise DataError(f"{path}: the name of an image is no text", "check the file")
    boxes = [as_boxes(image["boxes"], f"{path}, {image['image']}") for image in images]
    return box_file("JSON", names, boxes)


def read_amg_folder(folder: Path) -> BoxFile:
    """Read what SAM's amg.py wrote for several images: JSON files, or folders with metadata.csv.

    Raises:
        DataError: there are none. KeyError, TypeError, ValueError: one is damaged.
    """
    files = [
        read_json_boxes(path, _content(path))
        for path in amg_files(folder)
        if path.suffix == ".json"
    ]
    names = [name for file in files for name in file.names or ()]
    boxes = [each for file in files for each in file.boxes]
    for path in amg_files(folder):
        if path.name == _METADATA:
            rows = list(csv.DictReader(io.StringIO(_content(path).decode(), newline="")))
            masks = [{"bbox": [float(row[key]) for key in _CORNER], **row} for row in rows]
            names.append(path.parent.name)
            boxes.append(_masks(masks, str(path)))
    if not names:
        raise DataError(
            f"{folder} holds no files of boxes",
            f"expected .mat files, or .json files or folders with {_METADATA} of Segment Anything",
        )
    return box_file("Segment Anything", names, boxes)


def _content(path: Path) -> bytes:
    return read_bytes(path, "check the folder", MAX_JSON_BYTES)


def amg_files(folder: Path) -> list[Path]:
    """The files of a folder that `read_amg_folder` reads, sorted."""
    return sorted([*folder.glob("[!.]*.json"), *folder.glob(f"[!.]*/{_METADATA}")])


def _masks(masks: Sequence[Mapping[str, Any]], where: str) -> Boxes:
    """The boxes around the masks of an image, by falling predicted IoU.

    A bbox of SAM is x, y, width, height of the first and the last pixel: one less than the sides.
    """
    corners = _corners([mask["bbox"] for mask in masks], where, last_pixel=True)
    return ranked(corners, [float(mask.get(_QUALITY, 0)) for mask in masks], where)


def _corners(boxes: Sequence[object], where: str, *, last_pixel: bool) -> Boxes:
    """Boxes x, y, width, height as half-open corners."""
    xywh = as_boxes(boxes, where)
    end = xywh[:, :2] + xywh[:, 2:] + np.float32(last_pixel)
    return np.concatenate([xywh[:, :2], end], axis=1)


def _coco_results(entries: Sequence[Mapping[str, Any]], path: Path) -> BoxFile:
    """The boxes of a list of {image_id, bbox, score}, by falling score; classes do not matter.

    The images are known by `file_name` where all entries have it, as those of `frcnn detect` do.
    """
    has_files = all(isinstance(entry.get("file_name"), str) for entry in entries)
    by_image: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for entry in entries:
        by_image[str(entry["file_name" if has_files else "image_id"])].append(entry)
    boxes = []
    for name, own in by_image.items():
        where = f"{path}, image {name}"
        corners = _corners([entry["bbox"] for entry in own], where, last_pixel=False)
        boxes.append(ranked(corners, [float(entry.get("score", 0)) for entry in own], where))
    return box_file("COCO results", list(by_image), boxes, has_ids=not has_files)
