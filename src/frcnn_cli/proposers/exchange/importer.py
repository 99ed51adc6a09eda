"""Taking proposals of other programs into the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...data import images
from ...errors import DataError
from ...structures import Proposals
from ..cache import ProposalSource
from .formats import BoxFile, read_boxes
from .layouts import Layout, detect


@dataclass(frozen=True)
class Imported:
    """What was found in a file."""

    format: str
    layout: Layout
    images: int  # that got boxes
    unused: int  # sets of boxes for other images


def import_boxes(
    path: Path,
    pictures: Sequence[Path],
    source: ProposalSource,
    layout: Layout | None,
    on_image: Callable[[], None],
) -> Imported:
    """Keep the boxes of a file as the proposals of these images.

    Images are matched by file name without ending, or by order where the file has no names.

    Args:
        source: of the method `file`. layout: None to find it from the sizes of the images.
        on_image: called after each image.
    Raises:
        DataError: no image matches, or boxes do not fit their images.
    """
    file = read_boxes(path)
    matched = _match(file, pictures, path)
    sizes = {picture: _shown_size(picture) for picture in matched}
    if layout is None:
        layout = detect(
            [(boxes, sizes[picture]) for picture, boxes in matched.items()], file.expected
        )
    plain = {picture: layout.decode(boxes) for picture, boxes in matched.items()}
    for picture, boxes in plain.items():
        _check(boxes, sizes[picture], picture, layout)
    for picture, boxes in plain.items():
        content = images.read_bytes(picture)
        with source.claim(content, wait=True):
            source.store(content, Proposals(boxes, None, sizes[picture]))
        on_image()
    return Imported(file.format, layout, len(matched), len(file.boxes) - len(matched))


def _match(file: BoxFile, pictures: Sequence[Path], path: Path) -> dict[Path, NDArray[np.float32]]:
    if file.names is None:
        if len(file.boxes) != len(pictures):
            raise DataError(
                f"{path} has boxes for {len(file.boxes)} images and no names; "
                f"there are {len(pictures)} images",
                "give the images that it was made for, in its order",
            )
        return dict(zip(pictures, file.boxes, strict=True))
    by_name = dict(zip(map(_plain, file.names), file.boxes, strict=True))
    if len(by_name) != len(file.names):
        raise DataError(f"{path} names an image twice", "check the file")
    found = {
        picture: by_name[_plain(picture.stem)]
        for picture in pictures
        if _plain(picture.stem) in by_name
    }
    if not found:
        raise DataError(
            f"{path} has boxes for {len(file.names)} images ({file.names[0]}, …), "
            "none of them among those given",
            "images are matched by file name without ending",
        )
    return found


def _plain(name: str) -> str:
    """The name of an image; numbers without their leading zeros, as some programs keep them."""
    return str(int(name)) if name.isascii() and name.isdigit() and len(name) < 20 else name


def _shown_size(path: Path) -> tuple[int, int]:
    size, orientation = images.layout(path)
    return size[::-1] if orientation >= 5 else size


def _check(
    boxes: NDArray[np.float32], size: tuple[int, int], picture: Path, layout: Layout
) -> None:
    limit = np.array([size[1], size[0]], dtype=np.float32)
    beyond = (boxes[:, :2] < 0).any(axis=1) | (boxes[:, 2:] > limit).any(axis=1)
    turned = (boxes[:, 2:] <= boxes[:, :2]).any(axis=1)
    for wrong, what in ((beyond, "reach beyond the image"), (turned, "end before they begin")):
        if wrong.any():
            raise DataError(
                f"{picture}: {int(wrong.sum())} of {len(boxes)} boxes {what} "
                f"({size[1]}×{size[0]} pixels; {layout})",
                "check the file, or say how it writes boxes with --layout",
            )
