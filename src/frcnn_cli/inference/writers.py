"""Results as files: pictures, crops, and the formats of COCO, VOC, YOLO and CSV.

Files that are made for one picture are written with it; those that grow with every picture grow
beside their place and are put there at the end. Nothing is kept in memory, and nothing is made
before the first result.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
from PIL import Image

from ..data.sources import is_video
from ..errors import ConfigError, FrcnnError, ImageError, reason, unknown_name
from ..runtime.files import part_file, put_in_place, write_atomically, write_text
from .result import Result, coco_id

_LONGEST_STEM = 244  # bytes; a file's name may have 255, with -NUMBER and an ending
_LONGEST_CLASS = 60  # bytes of a class in a file's name
_JPEG_SIDE = 65_500  # pixels, the most that Pillow writes


class ProtectedPaths:
    """Pictures that are never written over, nor are their neighbours."""

    def __init__(self, sources: Sequence[str]) -> None:
        self._files = {os.path.realpath(os.path.expanduser(source)) for source in sources}
        self._folders = {os.path.dirname(file) for file in self._files}

    def check(self, path: Path) -> None:
        """Refuse to write there.

        Raises:
            ImageError: it is a source, or lies beside one.
        """
        place, hint = os.path.realpath(path), "choose another --out"
        if place in self._files:
            raise ImageError(f"{path} is one of the pictures to detect in", hint)
        if os.path.dirname(place) in self._folders and os.path.exists(place):
            raise ImageError(f"{path} is there already, beside the pictures to detect in", hint)


class Writer(Protocol):
    """One format."""

    def add(self, result: Result, stem: str) -> None:
        """Take in a result; `stem` is the name of files that are its own, no other has it."""

    def finish(self) -> None:
        """Put files that have grown in their place."""

    def abandon(self) -> None:
        """Remove what is not in its place."""


class _Growing:
    """A text file that grows beside its place."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._part: Path | None = None

    def write(self, text: str) -> None:
        """Append; opened and closed each time, since there may be thousands of classes."""
        try:
            if self._part is None:
                self._part = part_file(self.path)
            with self._part.open(
                "a", encoding="utf-8", errors="surrogateescape", newline=""
            ) as file:
                file.write(text)
        except OSError as error:
            raise self._failure(error) from None

    def finish(self) -> None:
        """Put it in its place, if there is anything."""
        if self._part is None:
            return
        try:
            put_in_place(self._part, self.path)
        except OSError as error:
            raise self._failure(error) from None
        self._part = None

    def abandon(self) -> None:
        """Remove it."""
        if self._part is not None:
            self._part.unlink(missing_ok=True)
            self._part = None

    def _failure(self, error: OSError) -> FrcnnError:
        return FrcnnError(f"cannot write {self.path}: {reason(error)}", "choose another --out")


class _EachPicture:
    """Writers whose files are whole with each picture."""

    def __init__(self, folder: Path, classes: Sequence[str], spared: ProtectedPaths) -> None:
        self.folder, self._protected, self._classes = folder, spared, classes

    def check(self, result: Result, stem: str) -> None:
        """Refuse a result of which no files can be made, before any format takes it in."""
        if len(os.fsencode(stem)) > _LONGEST_STEM:
            raise ImageError(f"the name of {result.name} is too long", "shorten it")

    def _save(self, picture: Image.Image, path: Path) -> None:
        """Without subsampling of colours, which would blur the lines of the boxes."""
        write_atomically(
            path, lambda part: picture.save(part, format="JPEG", quality=92, subsampling=0)
        )

    def finish(self) -> None:
        """Nothing is left to do."""

    def abandon(self) -> None:
        """Nothing is half done."""


class _Pictures(_EachPicture):
    """<stem>.jpg: the picture with boxes, names and scores."""

    def check(self, result: Result, stem: str) -> None:
        super().check(result, stem)
        self._protected.check(self.folder / f"{stem}.jpg")
        if max(result.image.shape) > _JPEG_SIDE:
            raise ImageError(
                f"{result.name} is too large to be drawn: JPEG has {_JPEG_SIDE} pixels at most",
                "scale it down first, or leave the format picture out",
            )

    def add(self, result: Result, stem: str) -> None:
        self._save(result.plot(), self.folder / f"{stem}.jpg")


class _Crops(_EachPicture):
    """crops/<class>/<stem>-<number>.jpg: each object cut out, best one first."""

    def add(self, result: Result, stem: str) -> None:
        height, width = result.image.shape[:2]
        names = _file_names(self._classes)
        for number, (label, _, box) in enumerate(result, start=1):
            x1, y1 = np.floor(box[:2]).astype(int).tolist()
            x2, y2 = np.ceil(box[2:]).astype(int).tolist()
            cut = result.image[max(y1, 0) : min(y2, height), max(x1, 0) : min(x2, width)]
            path = self.folder / "crops" / names[label] / f"{stem}-{number}.jpg"
            self._protected.check(path)
            self._save(Image.fromarray(cut), path)


class _Yolo(_EachPicture):
    """labels/<stem>.txt: class from 0, centre and size over the picture's, score."""

    def add(self, result: Result, stem: str) -> None:
        height, width = result.detections.image_size
        boxes = result.detections.boxes.astype(np.float64) / [width, height, width, height]
        centres, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
        labels, scores = result.detections.labels - 1, result.detections.scores
        lines = [
            f"{label} {x:.6f} {y:.6f} {w:.6f} {h:.6f} {score:.5f}\n"
            for label, (x, y), (w, h), score in zip(labels, centres, sizes, scores, strict=True)
        ]
        path = self.folder / "labels" / f"{stem}.txt"
        write_text(path, "".join(lines))


class _Coco:
    """coco.json: a results file, boxes (x, y, width, height), categories 1..K."""

    def __init__(self, folder: Path, classes: Sequence[str], spared: ProtectedPaths) -> None:
        self._file, self._before = _Growing(folder / "coco.json"), "[\n"

    def add(self, result: Result, stem: str) -> None:
        for entry in result.to_coco(coco_id(stem)):
            self._file.write(self._before + json.dumps(entry))
            self._before = ",\n"

    def finish(self) -> None:
        self._file.write("[]\n" if self._before == "[\n" else "\n]\n")
        self._file.finish()

    def abandon(self) -> None:
        self._file.abandon()


class _Voc:
    """voc/comp4_det_test_<class>.txt: image, score, 1-based inclusive box; one for each class."""

    def __init__(self, folder: Path, classes: Sequence[str], spared: ProtectedPaths) -> None:
        self._files = {
            name: _Growing(folder / "voc" / f"comp4_det_test_{short}.txt")
            for name, short in _file_names(classes).items()
        }
        self._begun = False

    def add(self, result: Result, stem: str) -> None:
        if not self._begun:  # the devkit wants a file of every class
            self._begun = True
            for file in self._files.values():
                file.write("")
        image = _column(stem)
        for label, score, (x1, y1, x2, y2) in result:
            line = f"{image} {score:.6f} {x1 + 1:.3f} {y1 + 1:.3f} {x2:.3f} {y2:.3f}\n"
            self._files[label].write(line)

    def finish(self) -> None:
        for file in self._files.values():
            file.finish()

    def abandon(self) -> None:
        for file in self._files.values():
            file.abandon()


class _Csv:
    """detections.csv: one line a detection."""

    def __init__(self, folder: Path, classes: Sequence[str], spared: ProtectedPaths) -> None:
        self._file, self._begun = _Growing(folder / "detections.csv"), False

    def add(self, result: Result, stem: str) -> None:
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        if not self._begun:
            self._begun = True
            rows.writerow(("image", "label", "score", "x1", "y1", "x2", "y2"))
        for label, score, box in result:
            rows.writerow((result.name, label, f"{score:.5f}", *(f"{v:.2f}" for v in box)))
        self._file.write(text.getvalue())

    def finish(self) -> None:
        self._file.finish()

    def abandon(self) -> None:
        self._file.abandon()


FORMATS: dict[str, Callable[[Path, Sequence[str], ProtectedPaths], Writer]] = {
    "picture": _Pictures,
    "coco": _Coco,
    "voc": _Voc,
    "yolo": _Yolo,
    "csv": _Csv,
    "crops": _Crops,
}


class Output:
    """A folder of results; used in a `with` block, at whose end the files are in place.

    A picture's files take the name of its source, numbered where two sources share it. An
    exception within the block removes the files that were growing.

    Args:
        formats: keys of FORMATS. classes: K names. sources: files that are never written over, nor
            are their neighbours.
    Raises:
        ConfigError: no such format, or none. ImageError: a picture would replace another.
    """

    def __init__(
        self, folder: Path, formats: Sequence[str], classes: Sequence[str], sources: Sequence[str]
    ) -> None:
        for name in formats:
            if name not in FORMATS:
                raise unknown_name("format", name, FORMATS)
        if not formats:
            raise ConfigError("--format names nothing", f"expected some of {', '.join(FORMATS)}")
        self._taken: set[str] = set()
        spared = ProtectedPaths(sources)
        if "picture" in formats:
            for source in (each for each in sources if not is_video(each)):
                spared.check(folder / f"{Path(source).stem}.jpg")
        self._writers = [FORMATS[name](folder, classes, spared) for name in dict.fromkeys(formats)]

    def add(self, result: Result) -> None:
        """Write what the formats make of a result.

        Raises:
            ImageError: of this result no file can be made, or it would replace another picture.
            FrcnnError: the disk is full.
        """
        stem, number = result.stem, 1
        while _key(stem) in self._taken:
            number += 1
            stem = f"{result.stem}-{number}"
        for writer in self._writers:
            if isinstance(writer, _EachPicture):
                writer.check(result, stem)
        self._taken.add(_key(stem))
        for writer in self._writers:
            writer.add(result, stem)

    def __enter__(self) -> Output:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None and self._taken:
                for writer in self._writers:
                    writer.finish()
        finally:
            for writer in self._writers:
                writer.abandon()


def _column(stem: str) -> str:
    """A picture in the files of VOC, where spaces part columns."""
    return "_".join(stem.split())


def _key(stem: str) -> str:
    """What is the same for two stems that one of the formats would not tell apart."""
    return _column(str(coco_id(stem))).casefold()  # some file systems do not tell A from a


def _file_names(classes: Sequence[str]) -> dict[str, str]:
    """Each class as a part of a file's name, no two alike."""
    names: dict[str, str] = {}
    for name in classes:
        short = name.replace("/", "_").replace("\\", "_").replace("\0", "_").lstrip(".") or "_"
        short = wanted = os.fsencode(short)[:_LONGEST_CLASS].decode(errors="ignore")
        number = 1
        while short.casefold() in map(str.casefold, names.values()):
            number += 1
            short = f"{wanted}-{number}"
        names[name] = short
    return names
