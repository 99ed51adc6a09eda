"""Exporting proposals to the files of other programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...errors import unknown_name
from ...runtime.files import write_bytes
from .box_file import Boxes, check_names
from .formats import IN_ORDER, WITH_IDS, WRITERS


def export_format(path: Path, name: str | None = None) -> str:
    """The format to write a file in: the one named, else the usual one for the suffix.

    Raises:
        ConfigError: there is no such format.
    """
    suffix = path.suffix.lower()
    chosen = name or {".pkl": "detectron2"}.get(suffix, suffix.lstrip("."))
    if chosen not in WRITERS:
        raise unknown_name("format", chosen, WRITERS)
    return chosen


def export_boxes(
    path: Path,
    images: Sequence[Path],
    boxes: Mapping[int, Boxes],
    file_format: str,
    ids: Sequence[str] | None = None,
) -> None:
    """Write the boxes of images to a file.

    Args:
        boxes: by the index of their image; images that failed have none.
        file_format: key of WRITERS. ids: what their data set calls the images, if they have one.
    Raises:
        DataError: two images have the same name there. FrcnnError: the file cannot be written.
    """
    # where readers go by the order of the images, those that failed have empty boxes
    order = range(len(images)) if file_format in IN_ORDER else sorted(boxes)
    names = ids if ids is not None and file_format in WITH_IDS else [each.stem for each in images]
    if names is not ids and file_format != "mmdetection":
        check_names(images[index] for index in order)
    empty = np.zeros((0, 4), np.float32)
    content = WRITERS[file_format](
        [names[index] for index in order], [boxes.get(index, empty) for index in order]
    )
    write_bytes(path, content)
