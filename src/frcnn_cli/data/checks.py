"""Looks at the image files of a data set before work begins, and says what is wrong with them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import DataError, ImageError
from ..ops import boxes as box_ops
from . import images
from .annotation_size import find_stored, is_unclear
from .box_forms import count_out
from .dataset import Dataset, spelled_alike

_NAMED = 5  # files that a message names
_TAIL_BYTES = 4096
_MANY_BEYOND = 0.2  # of all objects
# Per cent, and thousandths, of the sides of images that are larger; how far some boxes must reach
# towards them, and how many there must be, so that it is no chance.
_SCALES, _LARGER, _REACH, _SOME = (100, 1000), 1.5, 0.6, 5
_SAMPLED = 16  # files of 16 bits that are read for the note on them


class FileCheck(NamedTuple):
    """What is known of an image file without decoding it, where that is possible."""

    header: images.Header | None  # None: there is no such image
    problem: ImageError | None = None  # why it cannot be read
    is_cut: bool = False  # it lacks its last bytes, but can be read


def check_file(path: Path) -> FileCheck:
    """Look at the beginning and the end of an image file; decode it only if these look odd."""
    try:
        header = images.read_header(path)
        if _ends_well(path, header) and header.mode not in ("I", "F"):  # these may be negative
            return FileCheck(header)
        _, is_cut = images.decode_cut(images.read_bytes(path), str(path))
        return FileCheck(header, is_cut=is_cut)
    except ImageError as error:
        return FileCheck(None, error)


def _ends_well(path: Path, header: images.Header) -> bool:
    """Whether a file is as long as its header says or ends with the mark of its format."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            tail = file.read().rstrip(b"\0")
    except OSError:
        return False
    if header.end:
        return size >= header.end
    if header.format in ("JPEG", "MPO"):
        return tail.endswith(b"\xff\xd9")
    if header.format == "PNG":
        return b"IEND" in tail
    return header.format == "GIF" and tail.endswith(b";")


def check_dataset(
    dataset: Dataset, need_pixels: bool = True, skip_damaged: bool = False
) -> Dataset:
    """Look at every image file; return the data set with notes on what is unusual in it.

    Args:
        need_pixels: refuse images that are missing or damaged.
        skip_damaged: leave these out instead, and name all of them in a note.
    Raises:
        DataError: images are missing or damaged, or have another aspect than their annotations
            say; the first of them are named, and all are counted.
    """
    checks = [check_file(path) for path in dataset.paths]
    problems = [check.problem for check in checks if check.problem is not None]
    if problems and skip_damaged and len(problems) < len(dataset):
        messages = "; ".join(problem.message for problem in problems)
        note = f"left out {len(problems)} of {len(dataset)} images that cannot be read: {messages}"
        readable = [index for index, check in enumerate(checks) if check.problem is None]
        dataset = dataset.select(readable).with_notes(note)
        checks = [checks[index] for index in readable]
    elif problems and need_pixels:
        messages = _name_some([problem.message for problem in problems])
        hints = dict.fromkeys(problem.hint for problem in problems)
        raise DataError(
            f"{len(problems)} of {len(dataset)} images cannot be read: {messages}",
            "; ".join([*[*hints][:3], "or go on without them: --skip-damaged"]),
        )
    layouts = [check.header and check.header.layout for check in checks]
    stored, sentence = find_stored(dataset.annotations, layouts)
    dataset = replace(dataset, are_stored=stored)
    return dataset.with_notes(
        *_turn_notes(dataset, layouts, sentence),
        *_size_notes(dataset, checks),
        *_content_notes(dataset, checks),
        *_scale_notes(dataset, layouts),
        *_depth_notes(dataset.paths, checks),
        *_page_notes(dataset.paths, checks),
        *spelled_alike(dataset.classes),
    )


def _name_some(messages: Sequence[str]) -> str:
    rest = len(messages) - _NAMED
    return "; ".join(messages[:_NAMED]) + (f"; and {rest} more" if rest > 0 else "")


def _turn_notes(
    dataset: Dataset, layouts: Sequence[images.Layout | None], sentence: str
) -> list[str]:
    """A note on images that EXIF turns and whose sizes do not tell when their boxes were drawn."""
    pairs = zip(dataset.annotations, layouts, strict=True)
    count = sum(layout is not None and is_unclear(each, layout) for each, layout in pairs)
    return [f"{count} of {len(dataset)} images {sentence}"] if count and sentence else []


def _size_notes(dataset: Dataset, checks: Sequence[FileCheck]) -> list[str]:
    """Notes on images whose annotations give another size than the files have.

    Raises:
        DataError: some have another aspect.
    """
    scaled, ignored, conflicts = [], 0, []
    for index, check in enumerate(checks):
        if check.header is None:
            continue
        layout = check.header.layout
        placement = dataset.placement(index, layout)
        if placement is None:
            conflicts.append(dataset.size_conflict(index, layout.displayed_size))
        elif placement.is_scaled:
            scaled.append(placement.factors[0])
        else:
            ignored += placement.size_ignored
    if conflicts:
        raise DataError(
            f"{len(conflicts)} of {len(dataset)} images differ from their annotations: "
            f"{_name_some(conflicts)}",
            "take the images that were annotated, or mend the sizes in the annotations",
        )
    notes = []
    if scaled:
        low, high = min(scaled), max(scaled)
        factors = f"{low:.4g}" if f"{low:.4g}" == f"{high:.4g}" else f"{low:.4g} to {high:.4g}"
        notes.append(
            f"{len(scaled)} of {len(dataset)} images have another size than their annotations say, "
            f"of the same aspect: their boxes are scaled by {factors}"
        )
    if ignored:
        notes.append(
            f"{ignored} of {len(dataset)} annotations give a size that their own boxes exceed: "
            "it is ignored"
        )
    return notes


def _content_notes(dataset: Dataset, checks: Sequence[FileCheck]) -> list[str]:
    """Notes on images without objects, objects outside of their images, and cut files."""
    notes = []
    empty = sum(not each.names for each in dataset.annotations)
    if empty:
        notes.append(f"{empty} of {len(dataset)} images have no object")
    outside = beyond = total = 0
    for index, check in enumerate(checks):
        names = dataset.annotations[index].names
        if check.header is not None and names:
            counted = sum(name in dataset.classes for name in names)
            outside += counted - len(dataset.objects_in(index, check.header.layout).labels)
            beyond += _count_beyond(dataset, index, check.header.layout)
            total += len(names)
    if beyond > _MANY_BEYOND * total:
        notes.append(
            f"{beyond} of {total} objects reach beyond the edges of their images, as they do where "
            "images were resized after they were annotated, or boxes have another form: frcnn data "
            "check draws some"
        )
    if outside:
        least = f"narrower than {dataset.min_side:g} pixels"
        notes.append(f"{outside} objects lie outside of their images or are {least}: left out")
    cut = [path.name for path, check in zip(dataset.paths, checks, strict=True) if check.is_cut]
    if cut:
        notes.append(
            f"{len(cut)} of {len(dataset)} images lack their last bytes and are read without: "
            f"{_name_some(cut)}"
        )
    return notes


def _scale_notes(dataset: Dataset, layouts: Sequence[images.Layout | None]) -> list[str]:
    """A note where all boxes lie in a corner of the images that per cent or thousandths fill, or
    some in the first pixel, as fractions among pixels do."""
    pairs = zip(dataset.annotations, layouts, strict=True)
    found = [(each.boxes, layout) for each, layout in pairs if len(each.boxes) and layout]
    total = sum(len(boxes) for boxes, _ in found)
    first = sum(int((boxes[:, 2:] <= 1).all(axis=1).sum()) for boxes, _ in found)
    if first:
        return [
            f"{first} of {total} boxes lie in the first pixel of their images, as fractions of the "
            "images' sides among pixels do"
        ]
    if total < _SOME:
        return []
    farthest = np.max([boxes[:, 2:].max(axis=0) for boxes, _ in found], axis=0)  # x, y
    smallest = min(min(layout.stored_size) for _, layout in found)
    for scale in _SCALES:
        is_filled = _REACH * scale <= farthest.min() and farthest.max() <= scale + 1
        if is_filled and smallest >= _LARGER * scale:
            kind = "per cent" if scale == _SCALES[0] else "thousandths"
            return [
                f"all boxes lie in the first {scale} pixels of larger images, as {kind} of the "
                "images' sides do: frcnn data check draws some"
            ]
    return []


def _count_beyond(dataset: Dataset, index: int, layout: images.Layout) -> int:
    """The objects of an image that lie partly in it, and reach further beyond its edges than
    rounding explains."""
    placement, size = dataset.placement(index, layout), layout.displayed_size
    if placement is None:
        return 0
    clipped = box_ops.clip(placement.boxes, size)
    inside = (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
    return count_out(placement.boxes[inside], size)


def _page_notes(paths: Sequence[Path], checks: Sequence[FileCheck]) -> list[str]:
    """A note on files with several pages or frames."""
    several = [
        path
        for path, check in zip(paths, checks, strict=True)
        if check.header is not None and check.header.has_more_pages
    ]
    if not several:
        return []
    return [
        f"{len(several)} of {len(paths)} images have several pages or frames, such as "
        f"{several[0].name}: the first one is read"
    ]


def _depth_notes(paths: Sequence[Path], checks: Sequence[FileCheck]) -> list[str]:
    """A note on files of 16 bits that use fewer; some of them are read for it."""
    deep = [
        path
        for path, check in zip(paths, checks, strict=True)
        if check.header is not None and check.header.mode.startswith("I;16")
    ]
    chosen = [
        deep[index] for index in np.linspace(0, len(deep) - 1, min(len(deep), _SAMPLED), dtype=int)
    ]
    used = sorted({images.read_depth(path) for path in chosen})
    if used in ([], [16]):
        return []
    bits = " or ".join(map(str, used))
    return [
        f"{len(deep)} of {len(paths)} images store 16 bits for a value but use {bits}: "
        "each is stretched by the bits that it uses"
    ]
