"""The project's own file of detections, which grows image by image and can be resumed.

The first line has the classes and the source of the detections (data set, weights, settings). Each
further line is the JSON of one image. Labels number the classes from 1; boxes are (x1, y1, x2, y2)
in pixels, as everywhere in this project.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, reason
from ..runtime.safe_read import number, numbers, open_regular
from ..structures import MAX_CLASSES, Detections, unfit_class_name

FORMAT = "frcnn-detections-1"
FORMATS_HINT = "expected detections of frcnn eval, COCO results or a folder of comp4_det_*.txt"
_OTHER_FILE_HINT = "name another file with --save"
_MAX_LINE_BYTES = 2**26

Row = tuple[list[float], float, int]  # box, score, label


@dataclass(frozen=True)
class Header:
    """The first line of a log."""

    classes: tuple[str, ...]
    source: dict[str, Any]  # what the detections depend on

    def line(self) -> str:
        """The line as it stands in the file."""
        content = {"format": FORMAT, "classes": self.classes, "source": self.source}
        return json.dumps(content) + "\n"


@dataclass(frozen=True)
class LoggedImage:
    """The detections of one image in a log."""

    file_size: int  # bytes of the image file
    detections: Detections


class DetectionLog:
    """A file of detections that grows image by image; an incomplete file is resumed.

    The file is created with the first image. `logged` holds the images that it had when it was
    opened, by their id. Use it in a `with` block, which closes the file.

    Raises:
        DataError: the file holds something else, or detections of another source.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self.path, self.header = path, header
        self.logged: dict[str, LoggedImage] = {}
        self._file: TextIOWrapper | None = None
        if not path.exists():
            return
        read_header(path)  # a pipe or a device is no log
        if _ends_in_header(path, header.line().encode()):
            os.truncate(path, 0)
            return
        existing, self.logged, end = read_log(path)
        if existing.line() != header.line():
            raise DataError(
                f"{path} holds detections of other weights, settings or images", _OTHER_FILE_HINT
            )
        if end < path.stat().st_size:
            os.truncate(path, end)

    def add(self, image_id: str, file_size: int, detections: Detections) -> None:
        """Append the detections of one image.

        Args:
            file_size: bytes of the image file.
        Raises:
            DataError: the file cannot be written.
        """
        line = {
            "image": image_id,
            "bytes": file_size,
            "size": detections.image_size,
            # the shortest text from which the same float32 is read again
            "boxes": [[float(str(v)) for v in box] for box in detections.boxes],
            "scores": [float(str(score)) for score in detections.scores],
            "labels": detections.labels.tolist(),
        }
        try:
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("a", encoding="utf-8")
                if not self._file.tell():
                    self._file.write(self.header.line())
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        except OSError as error:
            raise DataError(
                f"cannot write {self.path}: {reason(error)}", _OTHER_FILE_HINT
            ) from None

    def __enter__(self) -> DetectionLog:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # of a line that could not be written before
                self._file.close()


def _ends_in_header(path: Path, line: bytes) -> bool:
    """Whether a file ends within this first line."""
    with path.open("rb") as file:
        start = file.read(len(line))
    return len(start) < len(line) and line.startswith(start)


def read_header(path: Path) -> Header | None:
    """The header of a log; None for any other file.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with open_regular(path) as file:
            line = file.readline(_MAX_LINE_BYTES)
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}", FORMATS_HINT) from None
    return _parse_header(line)


def _parse_header(line: bytes) -> Header | None:
    if FORMAT.encode() not in line[:100]:
        return None
    try:
        content = json.loads(line)
        classes, source = content["classes"], content["source"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(source, dict) or not isinstance(classes, list):
        return None
    if (
        unfit_class_name(classes) is not None
        or not len(set(classes)) == len(classes) <= MAX_CLASSES
    ):
        return None
    return Header(tuple(map(str, classes)), source)


def read_log(path: Path) -> tuple[Header, dict[str, LoggedImage], int]:
    """Read a log.

    Returns:
        Its header, its images by their id, and the position in bytes where the last complete line
        ends.
    Raises:
        DataError: it is not a log, or one of its lines is wrong.
    """
    logged: dict[str, LoggedImage] = {}
    with path.open("rb") as file:
        first = file.readline(_MAX_LINE_BYTES)
        header = _parse_header(first)
        if header is None:
            raise DataError(f"{path} holds no detections of frcnn eval", "name another file")
        end, count = len(first), 1
        while line := file.readline(_MAX_LINE_BYTES):
            count += 1
            if not line.endswith(b"\n"):
                break
            image_id, image = _parse_image(line, f"{path}:{count}", len(header.classes))
            logged[image_id] = image
            end += len(line)
    return header, logged, end


def _parse_image(line: bytes, where: str, class_count: int) -> tuple[str, LoggedImage]:
    """The id of an image and its detections; `where` starts the message of an error."""
    try:
        content = json.loads(line)
        image_id, size, file_size = content["image"], content["size"], content["bytes"]
        columns = content["boxes"], content["scores"], content["labels"]
        labels = range(1, class_count + 1)
        rows = [
            checked_row(box, score, label if label in labels else 0, f"{where}: {n}")
            for n, (box, score, label) in enumerate(zip(*columns, strict=True))
        ]
        height, width = size
        detections = rows_to_detections(rows, (int(height), int(width)), np.float32)
        return str(image_id), LoggedImage(int(file_size), detections)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise DataError(f"{where} holds no detections of an image", FORMATS_HINT) from None


def checked_row(box: object, score: object, label: int, where: str) -> Row:
    """One detection from a file, checked.

    Args:
        label: 0 for an unknown class. where: place in the file, for the message of an error.
    Raises:
        DataError: the box is empty or not finite, the score is no number, or the class unknown.
    """
    corners, value = numbers(box, 4), number(score)
    if corners is None or corners[2] <= corners[0] or corners[3] <= corners[1]:
        raise DataError(f"{where} has no box with a width and a height: {box!r:.80}", FORMATS_HINT)
    if value != value:
        raise DataError(f"{where} has no score: {score!r:.40}", FORMATS_HINT)
    if not label:
        raise DataError(f"{where} has no known class", FORMATS_HINT)
    return corners, value, label


def rows_to_detections(
    rows: Sequence[Row], size: tuple[int, int], score_type: type[np.floating] = np.float64
) -> Detections:
    """The detections of one image.

    Args:
        size: (height, width) of the image.
    """
    return Detections(
        boxes=np.array([box for box, _, _ in rows], np.float32).reshape(-1, 4),
        scores=np.array([score for _, score, _ in rows], score_type),
        labels=np.array([label for _, _, label in rows], np.int64),
        image_size=size,
    )
