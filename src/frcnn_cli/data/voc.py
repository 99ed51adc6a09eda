"""PASCAL VOC: a folder with Annotations/*.xml and JPEGImages/, and split lists in ImageSets/Main/.

VOC boxes are 1-based and inclusive, (xmin, ymin, xmax, ymax). This module makes them continuous
and half-open, as everywhere else: (xmin - 1, ymin - 1, xmax, ymax).
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..runtime.safe_read import read_bytes, read_text
from . import images
from .dataset import Annotation, Dataset

MAX_COORDINATE = 1e6  # pixels
MAX_XML_BYTES = 16 * 2**20  # far more than any annotation has
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_HINT = "mend or remove the file"


def parse_annotation(path: Path) -> Annotation:
    """Read one annotation file.

    Coordinates may be fractions; corners may be swapped; `difficult` and `size` may be missing.

    Raises:
        DataError: the file cannot be read, is not XML or declares entities; or an object has no
            name or no box of four numbers.
    """
    root = _parse_xml(path)
    names, boxes, difficult = [], [], []
    for element in root.iter("object"):
        name = (element.findtext("name") or "").strip()
        if not name:
            raise DataError(f"{path}: an object has no name", _HINT)
        corners = [_number(element.findtext(f"bndbox/{key}")) for key in _CORNERS]
        if any(math.isnan(corner) for corner in corners):
            raise DataError(f"{path}: {name!r} has no box of four numbers", _HINT)
        x1, y1, x2, y2 = corners
        names.append(name)
        boxes.append((min(x1, x2) - 1, min(y1, y2) - 1, max(x1, x2), max(y1, y2)))
        difficult.append(_number(element.findtext("difficult")) > 0)
    width, height = _number(root.findtext("size/width")), _number(root.findtext("size/height"))
    return Annotation(
        size=(int(height), int(width)) if height > 0 and width > 0 else None,
        names=tuple(names),
        boxes=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        difficult=np.array(difficult, dtype=np.bool_),
    )


def _parse_xml(path: Path) -> ElementTree.Element:
    content = read_bytes(path, _HINT, MAX_XML_BYTES)
    ascii_content = content.replace(b"\0", b"")  # UTF-16 and UTF-32 put zeros between the letters
    if b"<!DOCTYPE" in ascii_content or b"<!ENTITY" in ascii_content:
        raise DataError(f"{path} declares entities: not a VOC annotation", _HINT)
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path} is not XML: {error}", _HINT) from None


def _number(text: str | None) -> float:
    """The number in a tag; NaN for other text, and for numbers above MAX_COORDINATE."""
    try:
        number = float(text or "nan")
    except ValueError:
        return math.nan
    return number if abs(number) <= MAX_COORDINATE else math.nan


def find_root(folder: Path, year: str | None = None) -> Path:
    """The folder with Annotations/ and JPEGImages/: `folder`, or VOC<year> below it.

    Raises:
        DataError: there is no such folder.
    """
    candidates = [folder]
    if year is not None:
        candidates += [folder / f"VOC{year}", folder / "VOCdevkit" / f"VOC{year}"]
    for candidate in candidates:
        if (candidate / "Annotations").is_dir() and (candidate / "JPEGImages").is_dir():
            return candidate
    raise DataError(
        f"{folder} is not a data set in VOC layout: expected Annotations/ and JPEGImages/ in it",
        "give the folder with --data",
    )


def load_voc(root: Path, name: str, split: str | None, default_splits: Sequence[str]) -> Dataset:
    """Read all annotations of one split; classes are those that occur in Annotations/, sorted.

    Args:
        root: from `find_root`. name: of the data set.
        split: a list in ImageSets/Main; None takes the first of `default_splits` that exists, or
            every annotated image where there are no lists.
    Raises:
        DataError: no such split; no images or objects in it; or `split` is None and none of the
            lists is one of `default_splits`.
    """
    split, ids = _choose_split(root, name, split, default_splits)
    if not ids:
        raise DataError(f"{name} {split}: no images in {root}", "check the folder and the split")
    annotations = tuple(parse_annotation(root / "Annotations" / f"{id_}.xml") for id_ in ids)
    # A class may be missing from this split; labels must be the same in every split.
    listed = set(ids)
    others = (path for path in (root / "Annotations").glob("*.xml") if path.stem not in listed)
    every_annotation = chain(annotations, map(parse_annotation, others))
    classes = {class_name for annotation in every_annotation for class_name in annotation.names}
    if not classes:
        raise DataError(f"{name} {split}: no image has an object", "check the annotations")
    return Dataset(
        name=name,
        split=split,
        classes=tuple(sorted(classes)),
        ids=tuple(ids),
        paths=tuple(_image_path(root, id_) for id_ in ids),
        annotations=annotations,
    )


def _choose_split(
    root: Path, name: str, split: str | None, default_splits: Sequence[str]
) -> tuple[str, list[str]]:
    """The name of the split to load and the ids of its images; see `load_voc`."""
    lists = {path.stem: path for path in sorted((root / "ImageSets" / "Main").glob("*.txt"))}
    if split is None:
        split = next((each for each in default_splits if each in lists), None)
    if split is None and lists:
        raise DataError(
            f"{name} has no list {' or '.join(default_splits)}",
            f"choose one with --split: {', '.join(lists)}",
        )
    if split is None:
        return "all", [path.stem for path in sorted((root / "Annotations").glob("*.xml"))]
    if split not in lists:
        raise DataError(
            f"{name} has no split {split!r}", f"there are: {', '.join(lists) or 'none at all'}"
        )
    return split, read_image_ids(lists[split])


def read_image_ids(path: Path) -> list[str]:
    """The image ids of a split list: the first word of each line.

    Raises:
        DataError: the list cannot be read or is not text.
    """
    lines = read_text(path, "expected a list of image ids").splitlines()
    return [line.split()[0] for line in lines if line.strip()]


def _image_path(root: Path, image_id: str) -> Path:
    folder = root / "JPEGImages"
    jpeg = folder / f"{image_id}.jpg"
    if jpeg.exists():
        return jpeg
    others = (folder / f"{image_id}{suffix}" for suffix in sorted(images.SUFFIXES))
    return next((path for path in others if path.exists()), jpeg)
