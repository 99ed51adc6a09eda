"""PASCAL VOC: any folder with Annotations/*.xml and JPEGImages/, split lists in ImageSets/Main/.

VOC boxes are 1-based and inclusive, (xmin, ymin, xmax, ymax). Here, and only here, they become
continuous and half-open: (xmin - 1, ymin - 1, xmax, ymax).
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from ..errors import DataError, reason
from . import images
from .dataset import Annotation, Dataset

MAX_COORDINATE = 1e6  # pixels
MAX_XML_BYTES = 16 * 2**20  # far more than any annotation; a larger file is not one


def parse_annotation(path: Path) -> Annotation:
    """Read one annotation file.

    Coordinates may be fractions; corners may be swapped; `difficult` and `size` may be missing.

    Raises:
        DataError: not XML, with declarations of its own (entities), or an object without a name
            or four numbers.
    """
    hint = "mend or remove the file"
    try:
        text = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise DataError(f"cannot read {path}: {reason(error)}", hint) from None
    ascii_text = text.replace(b"\0", b"")  # what UTF-16 and UTF-32 add
    if len(text) > MAX_XML_BYTES or b"<!DOCTYPE" in ascii_text or b"<!ENTITY" in ascii_text:
        raise DataError(f"{path}: too large, or declares entities: not a VOC annotation", hint)
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path} is not XML: {error}", hint) from None
    names, boxes, difficult = [], [], []
    for thing in root.iter("object"):
        name = (thing.findtext("name") or "").strip()
        if not name:
            raise DataError(f"{path}: an object has no name", hint)
        corners = [_number(thing.findtext(f"bndbox/{key}")) for key in _CORNERS]
        if any(math.isnan(corner) for corner in corners):
            raise DataError(f"{path}: {name!r} has no box of four numbers", hint)
        x1, y1, x2, y2 = corners
        names.append(name)
        boxes.append((min(x1, x2) - 1, min(y1, y2) - 1, max(x1, x2), max(y1, y2)))
        difficult.append(_number(thing.findtext("difficult")) > 0)
    width, height = _number(root.findtext("size/width")), _number(root.findtext("size/height"))
    size = (int(height), int(width)) if height > 0 and width > 0 else None
    return Annotation(
        size,
        tuple(names),
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        np.array(difficult, dtype=np.bool_),
    )


_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def _number(text: str | None) -> float:
    """The number in a tag; NaN where there is none that could be a coordinate."""
    try:
        number = float(text or "nan")
    except ValueError:
        return math.nan
    return number if abs(number) <= MAX_COORDINATE else math.nan


def find_root(folder: Path, year: str | None = None) -> Path:
    """The folder with Annotations and JPEGImages: `folder`, or VOC<year> below it.

    Raises:
        DataError: neither is there.
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
        root: from `find_root`. name: for messages.
        split: a list in ImageSets/Main; None takes the first of `default_splits` that exists, or
            every annotated image where there is no list at all.
    Raises:
        DataError: no such split, nothing in it, or none of the defaults among several.
    """
    lists = {path.stem: path for path in sorted((root / "ImageSets" / "Main").glob("*.txt"))}
    if split is None:
        split = next((each for each in default_splits if each in lists), None)
    if split is None and lists:
        raise DataError(
            f"{name} has no list {' or '.join(default_splits)}",
            f"choose one with --split: {', '.join(lists)}",
        )
    if split is None:
        split = "all"
        ids = [path.stem for path in sorted((root / "Annotations").glob("*.xml"))]
    elif split in lists:
        ids = _read_list(lists[split])
    else:
        raise DataError(
            f"{name} has no split {split!r}", f"there are: {', '.join(lists) or 'none at all'}"
        )
    if not ids:
        raise DataError(f"{name} {split}: no images in {root}", "check the folder and the split")
    annotations = tuple(parse_annotation(root / "Annotations" / f"{id_}.xml") for id_ in ids)
    # A split may lack a class that others have, and numbers must not depend on the split.
    known = set(ids)
    others = (path for path in (root / "Annotations").glob("*.xml") if path.stem not in known)
    everything = chain(annotations, map(parse_annotation, others))
    names = {name for annotation in everything for name in annotation.names}
    if not names:
        raise DataError(f"{name} {split}: no image has an object", "check the annotations")
    paths = tuple(_image_path(root, id_) for id_ in ids)
    return Dataset(name, split, tuple(sorted(names)), tuple(ids), paths, annotations)


def _read_list(path: Path) -> list[str]:
    """The image ids of a split; only the first word of a line counts."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the list {path}: {reason(error)}", "expected text") from None
    return [line.split()[0] for line in lines if line.strip()]


def _image_path(root: Path, image_id: str) -> Path:
    folder = root / "JPEGImages"
    jpeg = folder / f"{image_id}.jpg"
    if jpeg.exists():
        return jpeg
    others = (folder / f"{image_id}{suffix}" for suffix in sorted(images.SUFFIXES))
    return next((path for path in others if path.exists()), jpeg)
