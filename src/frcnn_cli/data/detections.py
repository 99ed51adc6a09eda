"""Detections in files: our own, written as they come, and those of other programs.

Ours is a line of JSON for each image under a line that says what they are: the classes, and the
source (data set, weights, settings). Labels are numbers of these classes, from 1; boxes are ours.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, reason
from ..structures import Detections
from .dataset import Dataset, match_classes
from .files import number, numbers, read_json, read_text

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
        if path.exists():
            there, self.found, end = _read_own(path)
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


def _read_own(path: Path) -> tuple[Header, dict[str, tuple[int, Detections]], int]:
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
        rows = [
            _row(box, score, label if label in range(1, class_count + 1) else 0, f"{where}: {n}")
            for n, (box, score, label) in enumerate(zip(*columns, strict=True))
        ]
        height, width = size
        detections = _detections(rows, (int(height), int(width)), np.float32)
        return str(image), int(file_size), detections
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise DataError(f"{where} holds no detections of an image", HINT) from None


def _row(box: object, score: object, label: int, where: str) -> Row:
    """One detection, checked; `where` goes before what is wrong with it."""
    corners, value = numbers(box, 4), number(score)
    if corners is None or corners[2] <= corners[0] or corners[3] <= corners[1]:
        raise DataError(f"{where} has no box with a width and a height: {box!r:.80}", HINT)
    if value != value:
        raise DataError(f"{where} has no score: {score!r:.40}", HINT)
    if not label:
        raise DataError(f"{where} has no known class", HINT)
    return corners, value, label


def _detections(
    rows: Sequence[Row], size: tuple[int, int], score_type: type[np.floating] = np.float64
) -> Detections:
    return Detections(
        np.array([box for box, _, _ in rows], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in rows], score_type),
        np.array([label for _, _, label in rows], np.int64),
        size,
    )


def load_detections(path: Path, dataset: Dataset, limit: int | None = None) -> list[Detections]:
    """Detections of the first `limit` images, from a file or folder of any of three forms.

    COCO results name images and classes by the data set's numbers, where it has none by the
    number in the file name and 1..K. A class of ours that the data set lacks is left out.

    Args:
        dataset: whole; the labels are those of its classes.
    Raises:
        DataError: neither form, cut off, or a detection of an unknown image or class, without a
            score or with an empty box.
    """
    if path.is_dir():
        rows = _read_voc(path, dataset)
    elif (header := read_header(path)) is not None:
        return _from_own(path, header, dataset, dataset.ids[:limit])
    else:
        rows = _read_coco(path, dataset)
    count = len(dataset.ids[:limit])
    return [_detections(rows[index], dataset.size(index)) for index in range(count)]


def _from_own(
    path: Path, header: Header, dataset: Dataset, ids: tuple[str, ...]
) -> list[Detections]:
    _, found, end = _read_own(path)
    missing = [image for image in ids if image not in found]
    unknown = found.keys() - set(dataset.ids)
    if unknown:
        raise DataError(f"{path} has an unknown image {min(unknown)!r}", "name its own data set")
    if missing:
        kind = "is cut off" if end < path.stat().st_size else "is not complete"
        raise DataError(
            f"{path} {kind}: {len(missing)} of {len(ids)} images are missing",
            f"go on with its frcnn eval, or take --limit {ids.index(missing[0])}",
        )
    renamed = match_classes(header.classes, dataset.classes).renamed
    number_of = {name: label for label, name in enumerate(dataset.classes, start=1)}
    table = np.array([0, *(number_of.get(renamed.get(c, ""), 0) for c in header.classes)])
    result = []
    for image in ids:
        each = found[image][1]
        labels = table[each.labels]
        keep = labels > 0
        result.append(
            Detections(each.boxes[keep], each.scores[keep], labels[keep], each.image_size)
        )
    return result


def _read_coco(path: Path, dataset: Dataset) -> dict[int, list[Row]]:
    """Rows by image, from a list of {image_id, category_id, bbox, score}."""
    entries = read_json(path, HINT)
    if not isinstance(entries, list):
        raise DataError(f"{path} is no list of detections", HINT)
    image_of = _by_id(dataset)
    labels = {name: label for label, name in enumerate(dataset.classes, start=1)}
    label_of = {key: labels[name] for name, key in dataset.category_ids.items()}
    label_of = label_of or {label: label for label in labels.values()}
    rows: dict[int, list[Row]] = defaultdict(list)
    for count, entry in enumerate(entries):
        where = f"{path}: entry {count}"
        if not isinstance(entry, dict):
            raise DataError(f"{where} is no detection", HINT)
        index = image_of(entry.get("image_id"))
        if index is None:
            raise DataError(f"{where} is of an unknown image {entry.get('image_id')!r:.80}", HINT)
        category = entry.get("category_id")
        label = label_of.get(category) if isinstance(category, int) else None
        if label is None:
            raise DataError(f"{where} is of an unknown class {category!r:.80}", HINT)
        box = numbers(entry.get("bbox"), 4)
        if box is not None:
            box = [box[0], box[1], box[0] + box[2], box[1] + box[3]]
        rows[index].append(_row(box or entry.get("bbox"), entry.get("score"), label, where))
    return rows


def _by_id(dataset: Dataset) -> Callable[[object], int | None]:
    """From an image's id in a file to its index; 5 and "5" are 000005 where that is one image."""
    exact = {name: index for index, name in enumerate(dataset.ids)}
    whole = {int(name): index for name, index in exact.items() if name.isdecimal()}
    if len(whole) < sum(name.isdecimal() for name in exact):
        whole = {}

    def find(image: object) -> int | None:
        if isinstance(image, str) and image in exact:
            return exact[image]
        text = str(image)
        return whole.get(int(text)) if text.isdecimal() and len(text) < 19 else None

    return find


def _read_voc(folder: Path, dataset: Dataset) -> dict[int, list[Row]]:
    """Rows by image, from comp4_det_<split>_<class>.txt: id, score, 1-based inclusive box."""
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise DataError(f"no .txt files in {folder}", HINT)
    image_of = _by_id(dataset)
    rows: dict[int, list[Row]] = defaultdict(list)
    for path in files:
        named = [name for name in dataset.classes if path.stem.endswith(f"_{name}")]
        if not named:
            raise DataError(
                f"{path} is of an unknown class", f"known: {', '.join(dataset.classes)}"
            )
        label = dataset.classes.index(max(named, key=len)) + 1
        for count, line in enumerate(read_text(path, HINT).splitlines(), start=1):
            words, where = line.split(), f"{path}:{count}"
            if not words:
                continue
            index = image_of(words[0])
            if index is None:
                raise DataError(f"{where} is of an unknown image {words[0]!r:.80}", HINT)
            try:
                score, x1, y1, x2, y2 = map(float, words[1:])
            except ValueError:
                raise DataError(
                    f"{where}: expected id, score and box, got {line!r:.80}", HINT
                ) from None
            rows[index].append(_row([x1 - 1, y1 - 1, x2, y2], score, label, where))
    return rows
