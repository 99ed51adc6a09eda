"""Detections in a file that grows with each image, so that what was stopped goes on.

A line of JSON for each image under a line that says what they are: the classes, and the source
(data set, weights, settings). Labels are numbers of these classes, from 1; boxes are ours.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, reason
from ..runtime.safe_read import number, numbers
from ..structures import Detections

FORMAT = "frcnn-detections-1"
HINT = "expected detections of frcnn eval, COCO results or a folder of VOC's comp4_det_*.txt"
_MAX_LINE_BYTES = 2**26

Row = tuple[list[float], float, int]  # box, score, label


@dataclass(frozen=True)
class Header:
    """The first line of a file of ours."""

    classes: tuple[str, ...]
    source: dict[str, Any]  # what the detections depend on

    def line(self) -> str:
        """As it stands in the file."""
        content = {"format": FORMAT, "classes": self.classes, "source": self.source}
        return json.dumps(content) + "\n"


class DetectionLog:
    """A file of ours that grows with each image; one that was cut short is gone on with.

    Nothing is written before the first image. `found` holds what was there, by image id, each
    with the size of its image file in bytes.

    Raises:
        DataError: the file holds something else, or detections of another source.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self.path, self.header = path, header
        self.found: dict[str, tuple[int, Detections]] = {}
        self._file: TextIOWrapper | None = None
        if path.exists() and _cut_off(path, header.line().encode()):
            os.truncate(path, 0)
        elif path.exists():
            there, self.found, end = read_log(path)
            if there.line() != header.line():
                raise DataError(
                    f"{path} holds detections of other weights, settings or images",
                    "name another file with --save",
                )
            if end < path.stat().st_size:
                os.truncate(path, end)

    def add(self, image_id: str, file_size: int, detections: Detections) -> None:
        """Append one image."""
        if self._file is None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("a", encoding="utf-8")
            except OSError as error:
                raise DataError(
                    f"cannot write {self.path}: {reason(error)}", "name another file with --save"
                ) from None
            if not self._file.tell():
                self._file.write(self.header.line())
        line = {
            "image": image_id,
            "bytes": file_size,
            "size": detections.image_size,
            # the shortest text that gives the same float32 again
            "boxes": [[float(str(v)) for v in box] for box in detections.boxes],
            "scores": [float(str(score)) for score in detections.scores],
            "labels": detections.labels.tolist(),
        }
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def __enter__(self) -> DetectionLog:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            self._file.close()


def _cut_off(path: Path, line: bytes) -> bool:
    """Whether a file ends within this first line."""
    with path.open("rb") as file:
        there = file.read(len(line))
    return len(there) < len(line) and line.startswith(there)


def read_header(path: Path) -> Header | None:
    """The header of a file of ours; None for any other file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            line = file.readline(_MAX_LINE_BYTES)
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}", HINT) from None
    return _header(line)


def _header(line: bytes) -> Header | None:
    if FORMAT.encode() not in line[:100]:
        return None
    try:
        content = json.loads(line)
        classes, source = content["classes"], content["source"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(source, dict) or not isinstance(classes, list):
        return None
    return Header(tuple(map(str, classes)), source)


def read_log(path: Path) -> tuple[Header, dict[str, tuple[int, Detections]], int]:
    """Header, detections by image id, and where the last whole line ends."""
    found: dict[str, tuple[int, Detections]] = {}
    with path.open("rb") as file:
        first = file.readline(_MAX_LINE_BYTES)
        header = _header(first)
        if header is None:
            raise DataError(f"{path} holds no detections of frcnn eval", "name another file")
        end, count = len(first), 1
        while line := file.readline(_MAX_LINE_BYTES):
            count += 1
            if not line.endswith(b"\n"):
                break
            image, size, detections = _own_line(line, f"{path}:{count}", len(header.classes))
            found[image] = size, detections
            end += len(line)
    return header, found, end


def _own_line(line: bytes, where: str, class_count: int) -> tuple[str, int, Detections]:
    try:
        content = json.loads(line)
        image, size, file_size = content["image"], content["size"], content["bytes"]
        columns = content["boxes"], content["scores"], content["labels"]
        known = range(1, class_count + 1)
        rows = [
            checked_row(box, score, label if label in known else 0, f"{where}: {n}")
            for n, (box, score, label) in enumerate(zip(*columns, strict=True))
        ]
        height, width = size
        detections = detections_of(rows, (int(height), int(width)), np.float32)
        return str(image), int(file_size), detections
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise DataError(f"{where} holds no detections of an image", HINT) from None


def checked_row(box: object, score: object, label: int, where: str) -> Row:
    """One detection, checked; `where` goes before what is wrong with it."""
    corners, value = numbers(box, 4), number(score)
    if corners is None or corners[2] <= corners[0] or corners[3] <= corners[1]:
        raise DataError(f"{where} has no box with a width and a height: {box!r:.80}", HINT)
    if value != value:
        raise DataError(f"{where} has no score: {score!r:.40}", HINT)
    if not label:
        raise DataError(f"{where} has no known class", HINT)
    return corners, value, label


def detections_of(
    rows: Sequence[Row], size: tuple[int, int], score_type: type[np.floating] = np.float64
) -> Detections:
    """Rows as the detections of an image of this size (height, width)."""
    return Detections(
        boxes=np.array([box for box, _, _ in rows], np.float32).reshape(-1, 4),
        scores=np.array([score for _, score, _ in rows], score_type),
        labels=np.array([label for _, _, label in rows], np.int64),
        image_size=size,
    )
