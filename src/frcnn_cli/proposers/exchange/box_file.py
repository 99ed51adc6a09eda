"""What a file of proposals holds, whatever its format, and checks that all readers share."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.file_types import SUFFIXES
from ...errors import DataError
from .layouts import HALF_OPEN, Layout

Boxes = NDArray[np.float32]
_IMAGE_SUFFIXES = SUFFIXES | {".avif", ".heic", ".heif"}  # of images that may not be read here


@dataclass(frozen=True, kw_only=True)
class BoxFile:
    """The boxes of some images, best first, with the columns as the file has them."""

    format: str  # for messages
    names: tuple[str, ...] | None  # of the images, without suffix; None if the file has no names
    boxes: tuple[Boxes, ...]  # one N×4 array for each image
    expected: Layout  # the usual layout of the format
    has_ids: bool = False  # the names may be those that a data set gives its images


def as_boxes(boxes: Any, where: str) -> Boxes:
    """The boxes of one image as [N, 4] finite numbers; a fifth column is dropped.

    Args:
        where: the place in the file, for messages.
    """
    try:
        array = np.asarray(boxes)
    except ValueError:  # rows of different lengths
        raise DataError(
            f"{where}: expected four numbers in each box, got other rows too", "check the file"
        ) from None
    if array.size == 0:
        return np.zeros((0, 4), np.float32)
    if array.dtype.kind not in "iuf" or array.ndim != 2 or array.shape[1] not in (4, 5):
        raise DataError(
            f"{where}: expected N×4 numbers, got {array.dtype} {array.shape}", "check the file"
        )
    with np.errstate(over="ignore"):  # it gives infinity
        numbers = array[:, :4].astype(np.float32)
    if not np.isfinite(numbers).all():
        raise DataError(f"{where}: expected finite numbers, got NaN or infinity", "check the file")
    return numbers


def ranked(boxes: Boxes, scores: Any, where: str) -> Boxes:
    """Boxes in falling order of their scores."""
    with np.errstate(over="ignore"):
        values = np.asarray(scores, dtype=np.float32).ravel()
    if len(values) != len(boxes):
        raise DataError(f"{where}: {len(boxes)} boxes, {len(values)} scores", "check the file")
    if np.isnan(values).any():  # they have no place in the order
        raise DataError(f"{where}: a score is not a number", "check the file")
    return boxes[np.argsort(-values, kind="stable")]


def box_file(
    format_: str,
    names: Iterable[object] | None,
    boxes: Iterable[Boxes],
    expected: Layout = HALF_OPEN,
    has_ids: bool = False,
) -> BoxFile:
    """A BoxFile.

    Args:
        names: of the images, with or without folder and suffix. expected, has_ids: see `BoxFile`.
    """
    stems = None if names is None else tuple(_stem(name) for name in names)
    return BoxFile(
        format=format_, names=stems, boxes=tuple(boxes), expected=expected, has_ids=has_ids
    )


def check_names(images: Iterable[Path]) -> None:
    """Check that images can be told apart by `image_name`, as the files of boxes name them.

    Raises:
        DataError: two of them cannot.
    """
    known: dict[str, Path] = {}
    for image in images:
        other = known.setdefault(image_name(image.stem), image)
        if other != image:
            raise DataError(
                f"{other} and {image} have the same name in a file of boxes",
                "name the images of one folder at a time",
            )


def image_name(stem: str) -> str:
    """The name of an image with accents in one form; a number without its leading zeros, since some
    programs drop them."""
    is_number = stem.isascii() and stem.isdigit() and len(stem) < 20
    return str(int(stem)) if is_number else unicodedata.normalize("NFC", stem)


def image_number(stem: str) -> int | str:
    """The number that programs of Detectron's kind give an image, where its name is one: that of
    VOC2012's 2008_000002 is 2008000002, as Python reads it."""
    try:
        return int(stem)
    except ValueError:
        return stem


def _stem(name: object) -> str:
    """The name of an image without folder and suffix; other points are a part of the name."""
    text = name.decode("latin1") if isinstance(name, bytes) else str(name)
    last = text.replace("\\", "/").rpartition("/")[2]
    stem, suffix = os.path.splitext(last)
    return stem if suffix.lower() in _IMAGE_SUFFIXES else last
