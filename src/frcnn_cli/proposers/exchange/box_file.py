"""What a file of proposals holds, whatever its format, and checks that all readers share."""

from __future__ import annotations

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


def as_boxes(boxes: Any, where: str) -> Boxes:
    """The boxes of one image as [N, 4] finite numbers; a fifth column is dropped.

    Args:
        where: the place in the file, for messages.
    """
    array = np.asarray(boxes)
    if array.size == 0:
        return np.zeros((0, 4), np.float32)
    if array.dtype.kind not in "iuf" or array.ndim != 2 or array.shape[1] not in (4, 5):
        raise DataError(
            f"{where}: expected N×4 numbers, got {array.dtype} {array.shape}", "check the file"
        )
    numbers = array[:, :4].astype(np.float32)
    if not np.isfinite(numbers).all():
        raise DataError(f"{where}: expected finite numbers, got NaN or infinity", "check the file")
    return numbers


def ranked(boxes: Boxes, scores: Any, where: str) -> Boxes:
    """Boxes in falling order of their scores."""
    values = np.asarray(scores, dtype=np.float32).ravel()
    if len(values) != len(boxes):
        raise DataError(f"{where}: {len(boxes)} boxes, {len(values)} scores", "check the file")
    return boxes[np.argsort(-values, kind="stable")]


def box_file(
    format_: str,
    names: Iterable[object] | None,
    boxes: Iterable[Boxes],
    expected: Layout = HALF_OPEN,
) -> BoxFile:
    """A BoxFile.

    Args:
        names: of the images, with or without folder and suffix. expected: see `BoxFile`.
    """
    stems = None if names is None else tuple(_stem(name) for name in names)
    return BoxFile(format=format_, names=stems, boxes=tuple(boxes), expected=expected)


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
    """The name of an image; a number without its leading zeros, since some programs drop them."""
    return str(int(stem)) if stem.isascii() and stem.isdigit() and len(stem) < 20 else stem


def _stem(name: object) -> str:
    """The name of an image without folder and suffix; other endings are parts of the name."""
    path = Path(name.decode("latin1") if isinstance(name, bytes) else str(name))
    return path.stem if path.suffix.lower() in _IMAGE_SUFFIXES else path.name
