"""Importing the proposals of other programs into the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...data import images as image_files
from ...data.box_forms import refuse_fractions
from ...errors import DataError, ImageError
from ...structures import Proposals
from ..cache import ProposalSource
from .box_file import Boxes, BoxFile, image_name, image_number
from .formats import read_boxes
from .layouts import Layout, detect


@dataclass(frozen=True, kw_only=True)
class ImportResult:
    """What a file held, and how many images it gave boxes to."""

    format: str  # for messages, as in BoxFile
    layout: Layout
    images: int  # that got boxes
    unused: int  # sets of boxes for other images
    most_boxes: int  # of an image


def import_boxes(
    path: Path,
    images: Sequence[Path],
    source: ProposalSource,
    layout: Layout | None = None,
    on_image: Callable[[], object] = lambda: None,
    ids: Sequence[str] | None = None,
) -> ImportResult:
    """Store the boxes of a file as the proposals of these images.

    Images are matched by file name without suffix, or by order if the file has no names. Those that
    cannot be read get no boxes, unless none can be read.

    Args:
        images: paths of image files.
        ids: what their data set calls them; pickles, and COCO results without file names, may
            have these.
        source: cache of the method `registry.from_file(path)`.
        layout: of the boxes; None to infer it from the sizes of the images.
        on_image: called after each image.
    Raises:
        DataError: the file cannot be read, no image matches, two match the same name, or boxes do
            not fit their images.
        ConfigError: unknown format. ImageError: no matched image can be read.
    """
    file = read_boxes(path)
    stems = [image.stem for image in images]
    own = _names_in(file, ids or stems, stems) if file.has_ids else stems
    matched = _match(file, dict(zip(images, own, strict=True)), path)
    unused = len(file.boxes) - len(matched)
    sizes = _sizes(matched)
    matched = {image: matched[image] for image in sizes}
    refuse_fractions(matched.values(), path)
    if layout is None:
        pairs = [(boxes, sizes[image]) for image, boxes in matched.items()]
        layout = detect(pairs, file.expected)
    decoded = {image: layout.decode(boxes) for image, boxes in matched.items()}
    for image, boxes in decoded.items():
        _check_inside(boxes, sizes[image], image, layout)
    for image, boxes in decoded.items():
        content = image_files.read_bytes(image)
        with source.lock(content, wait=True):
            source.store(content, Proposals(boxes, sizes[image]))
        on_image()
    return ImportResult(
        format=file.format,
        layout=layout,
        images=len(matched),
        unused=unused,
        most_boxes=max(map(len, decoded.values())),
    )


def _sizes(images: Iterable[Path]) -> dict[Path, tuple[int, int]]:
    """The size (height, width) of each image that can be read.

    Raises:
        ImageError: there are none.
    """
    sizes, failure = {}, None
    for image in images:
        try:
            sizes[image] = image_files.read_layout(image).displayed_size
        except ImageError as error:
            failure = error
    if failure is not None and not sizes:
        raise failure
    return sizes


def _names_in(file: BoxFile, ids: Sequence[str], stems: Sequence[str]) -> Sequence[str]:
    """What a file calls the images: the ids of their data set, unless more of the others fit."""
    known = set(map(image_name, file.names or ()))
    numbers = [str(image_number(stem)) for stem in stems]
    return max(
        ids, stems, numbers, key=lambda names: len(known.intersection(map(image_name, names)))
    )


def _match(file: BoxFile, names: Mapping[Path, str], path: Path) -> dict[Path, Boxes]:
    """The boxes of each image that the file has boxes for, as written.

    Args:
        names: of the images, by their paths.
    """
    if file.names is None:
        if len(file.boxes) != len(names):
            raise DataError(
                f"{path} has boxes for {len(file.boxes)} images and no names; "
                f"there are {len(names)} images",
                "give the images that it was made for, in its order",
            )
        return dict(zip(names, file.boxes, strict=True))
    by_name = dict(zip(map(image_name, file.names), file.boxes, strict=True))
    if len(by_name) != len(file.names):
        raise DataError(f"{path} names an image twice", "check the file")
    matched: dict[str, Path] = {}
    for image, name in names.items():
        if (key := image_name(name)) not in by_name:
            continue
        if matched.setdefault(key, image) != image:
            raise DataError(
                f"{path} has boxes for {name}, which both {matched[key]} and {image} are called",
                "rename one, or import the images of each folder by themselves",
            )
    if not matched:
        raise DataError(
            f"{path} has boxes for {len(file.names)} images ({file.names[0]}, …), "
            "but none of them is among the images to import for",
            "images are matched by file name without suffix",
        )
    return {image: by_name[key] for key, image in matched.items()}


def _check_inside(boxes: Boxes, size: tuple[int, int], image: Path, layout: Layout) -> None:
    """Raise unless all boxes lie inside an image of `size` (height, width) and have an area."""
    limit = np.array([size[1], size[0]], dtype=np.float32)
    outside = (boxes[:, :2] < 0).any(axis=1) | (boxes[:, 2:] > limit).any(axis=1)
    inverted = (boxes[:, 2:] <= boxes[:, :2]).any(axis=1)
    for wrong, problem in (
        (outside, "reach beyond the image"),
        (inverted, "end before they begin"),
    ):
        if wrong.any():
            raise DataError(
                f"{image}: {int(wrong.sum())} of {len(boxes)} boxes {problem} "
                f"({size[1]}×{size[0]} pixels; {layout})",
                "check the file, or say how it writes boxes with frcnn propose --layout",
            )
