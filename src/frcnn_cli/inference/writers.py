"""Writes results as files: drawings, crops, and the formats of COCO, VOC, YOLO and CSV.

A writer either makes whole files for each image, or appends each image to files for all images;
these are written under temporary names and get their final ones at the end. No results are kept in
memory, and no file is made before the first result.
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
from ..runtime.csv_cells import cell
from ..runtime.files import part_file, put_in_place, write_atomically, write_text
from .drawing import draw_strips
from .file_names import class_file_names, voc_column
from .jpeg import JPEG_OPTIONS, save_strips, strip_rows
from .result import Result, coco_id

_STOPPED = (KeyboardInterrupt, BrokenPipeError)  # the user wants no more results
_MAX_STEM_BYTES = 244  # a file name may have 255, including "-NUMBER" and the ending
_MAX_JPEG_SIDE = 65_500  # pixels; the largest side that Pillow writes
_LARGE_PIXELS = 2**24  # an image with more is drawn in strips


class ProtectedPaths:
    """The files that must not be replaced.

    Args:
        sources: images to detect in, which are never replaced, nor are files beside them.
        overwrite: other files that exist already may be replaced.
    """

    def __init__(self, sources: Sequence[str], overwrite: bool = False) -> None:
        self._files = {os.path.realpath(os.path.expanduser(source)) for source in sources}
        self._folders = {os.path.dirname(file) for file in self._files}
        self._overwrite = overwrite

    def check(self, path: Path) -> None:
        """Raise an error if writing `path` would replace a protected file.

        Raises:
            ImageError: the path is an image to detect in, or exists already.
        """
        real, hint = os.path.realpath(path), "choose another --out"
        if real in self._files:
            raise ImageError(f"{path} is one of the images to detect in", hint)
        if not os.path.lexists(path):
            return
        if os.path.dirname(real) in self._folders:
            raise ImageError(f"{path} exists already, beside the images to detect in", hint)
        if not self._overwrite:
            raise ImageError(f"{path} exists already", f"{hint}, or add --overwrite")


class Writer(Protocol):
    """Writes results in one format."""

    def check(self, result: Result, stem: str) -> None:
        """Raise an error if a result cannot be written; called before `add` of any writer.

        Raises:
            ImageError: the name is too long, the image too large, or a file would be replaced.
        """

    def add(self, result: Result, stem: str) -> None:
        """Write a result.

        Args:
            stem: unique file name, without ending, for the files of this result.
        """

    def finish(self) -> None:
        """Give the files for all images their final names."""

    def abandon(self) -> None:
        """Remove the files for all images, unless they have their final names."""


class _AppendedFile:
    """A text file that is written under a temporary name, until `finish` gives it its final one.

    Raises:
        ImageError: the file may not be replaced.
    """

    def __init__(self, path: Path, protected: ProtectedPaths) -> None:
        protected.check(path)
        self.path = path
        self._part: Path | None = None

    def write(self, text: str) -> None:
        """Append text.

        The file is opened and closed each time, since there may be a file for each of thousands of
        classes, too many to be open at once.
        """
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
        """Give the file its final name, if anything was written."""
        if self._part is None:
            return
        try:
            put_in_place(self._part, self.path)
        except OSError as error:
            raise self._failure(error) from None
        self._part = None

    def abandon(self) -> None:
        """Remove the file, unless it has its final name."""
        if self._part is not None:
            self._part.unlink(missing_ok=True)
            self._part = None

    def _failure(self, error: OSError) -> FrcnnError:
        return FrcnnError(f"cannot write {self.path}: {reason(error)}", "choose another --out")


class _PerImageWriter:
    """The base of writers that make whole files for each image."""

    def __init__(self, folder: Path, classes: Sequence[str], protected: ProtectedPaths) -> None:
        self.folder, self._protected, self._classes = folder, protected, classes

    def check(self, result: Result, stem: str) -> None:
        """See `Writer`."""
        if len(os.fsencode(stem)) > _MAX_STEM_BYTES:
            raise ImageError(f"the name of {result.name} is too long", "shorten it")

    def _save(self, image: Image.Image, path: Path) -> None:
        write_atomically(path, lambda part: image.save(part, format="JPEG", **JPEG_OPTIONS))

    def finish(self) -> None:
        """Every file has its final name already."""

    def abandon(self) -> None:
        """There is nothing to remove."""


class _Pictures(_PerImageWriter):
    """<stem>.jpg: the image with boxes, class names and scores."""

    def check(self, result: Result, stem: str) -> None:
        super().check(result, stem)
        self._protected.check(self.folder / f"{stem}.jpg")
        if max(result.image.shape) > _MAX_JPEG_SIDE:
            raise ImageError(
                f"{result.name} is too large to draw: a JPEG has {_MAX_JPEG_SIDE} pixels at most",
                "scale it down first, or leave out the format picture",
            )

    def add(self, result: Result, stem: str) -> None:
        path = self.folder / f"{stem}.jpg"
        if result.image.size <= 3 * _LARGE_PIXELS:
            self._save(result.plot(), path)
            return
        rows = strip_rows(result.image.shape[1])
        parts = draw_strips(result.image, result.detections, result.classes, rows)
        write_atomically(path, lambda part: save_strips(part, parts, result.image.shape[:2]))


class _Crops(_PerImageWriter):
    """crops/<class>/<stem>-<number>.jpg: every object cut out of the image, best one first."""

    def check(self, result: Result, stem: str) -> None:
        super().check(result, stem)
        for path in self._paths(result, stem):
            self._protected.check(path)

    def add(self, result: Result, stem: str) -> None:
        height, width = result.image.shape[:2]
        for path, (_, _, box) in zip(self._paths(result, stem), result, strict=True):
            x1, y1 = np.floor(box[:2]).astype(int).tolist()
            x2, y2 = np.ceil(box[2:]).astype(int).tolist()
            cut = result.image[max(y1, 0) : min(y2, height), max(x1, 0) : min(x2, width)]
            self._save(Image.fromarray(cut), path)

    def _paths(self, result: Result, stem: str) -> list[Path]:
        """The file of each object."""
        names = class_file_names(self._classes)
        return [
            self.folder / "crops" / names[label] / f"{stem}-{number}.jpg"
            for number, (label, _, _) in enumerate(result, start=1)
        ]


class _Yolo(_PerImageWriter):
    """labels/<stem>.txt: class from 0, centre and size as fractions of the image size, score."""

    def check(self, result: Result, stem: str) -> None:
        super().check(result, stem)
        self._protected.check(self._path(stem))

    def add(self, result: Result, stem: str) -> None:
        height, width = result.detections.image_size
        boxes = result.detections.boxes.astype(np.float64) / [width, height, width, height]
        centres, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
        labels, scores = result.detections.labels - 1, result.detections.scores
        lines = [
            f"{label} {x:.6f} {y:.6f} {w:.6f} {h:.6f} {score:.5f}\n"
            for label, (x, y), (w, h), score in zip(labels, centres, sizes, scores, strict=True)
        ]
        write_text(self._path(stem), "".join(lines))

    def _path(self, stem: str) -> Path:
        return self.folder / "labels" / f"{stem}.txt"


class _AppendingWriter:
    """The base of writers that append every result to files for all images."""

    def check(self, result: Result, stem: str) -> None:
        """A result can always be appended."""


class _Coco(_AppendingWriter):
    """coco.json: a COCO results file; see `Result.to_coco`."""

    def __init__(self, folder: Path, classes: Sequence[str], protected: ProtectedPaths) -> None:
        self._file, self._before = _AppendedFile(folder / "coco.json", protected), "[\n"

    def add(self, result: Result, stem: str) -> None:
        entries = [json.dumps(entry) for entry in result.to_coco(coco_id(stem))]
        if entries:  # in one piece, so that an interruption cuts none
            self._file.write(self._before + ",\n".join(entries))
            self._before = ",\n"

    def finish(self) -> None:
        self._file.write("[]\n" if self._before == "[\n" else "\n]\n")
        self._file.finish()

    def abandon(self) -> None:
        self._file.abandon()


class _Voc(_AppendingWriter):
    """voc/comp4_det_test_<class>.txt, one for each class: image, score, 1-based inclusive box."""

    def __init__(self, folder: Path, classes: Sequence[str], protected: ProtectedPaths) -> None:
        self._files = {
            name: _AppendedFile(folder / "voc" / f"comp4_det_test_{short}.txt", protected)
            for name, short in class_file_names(classes).items()
        }
        self._begun = False

    def add(self, result: Result, stem: str) -> None:
        if not self._begun:  # the devkit expects a file for every class
            self._begun = True
            for file in self._files.values():
                file.write("")
        image = voc_column(stem)
        for label, score, (x1, y1, x2, y2) in result:
            x2, y2 = max(x2, x1 + 0.001), max(y2, y1 + 0.001)  # no side of 0.000
            line = f"{image} {score:.6f} {x1 + 1:.3f} {y1 + 1:.3f} {x2:.3f} {y2:.3f}\n"
            self._files[label].write(line)

    def finish(self) -> None:
        for file in self._files.values():
            file.finish()

    def abandon(self) -> None:
        for file in self._files.values():
            file.abandon()


class _Csv(_AppendingWriter):
    """detections.csv: a line for each detection."""

    def __init__(self, folder: Path, classes: Sequence[str], protected: ProtectedPaths) -> None:
        self._file, self._begun = _AppendedFile(folder / "detections.csv", protected), False

    def add(self, result: Result, stem: str) -> None:
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        if not self._begun:
            self._begun = True
            rows.writerow(("image", "label", "score", "x1", "y1", "x2", "y2"))
        name = cell(result.name)
        for label, score, box in result:
            rows.writerow((name, cell(label), f"{score:.5f}", *(f"{v:.2f}" for v in box)))
        self._file.write(text.getvalue())

    def finish(self) -> None:
        self._file.finish()

    def abandon(self) -> None:
        self._file.abandon()


# Format -> its writer, which takes the output folder, the class names and the protected paths.
WRITERS: dict[str, Callable[[Path, Sequence[str], ProtectedPaths], Writer]] = {
    "picture": _Pictures,
    "coco": _Coco,
    "voc": _Voc,
    "yolo": _Yolo,
    "csv": _Csv,
    "crops": _Crops,
}


class Output:
    """Writes results to a folder, in one or more formats; a context manager.

    The files of an image are named like its source, with a number where two sources share a name.
    Files for all images get their final names when the `with` block ends. If somebody stopped it,
    they hold the images that were done until then; if an error ends it, they are removed.

    Args:
        formats: keys of WRITERS. classes: names of the labels 1..K. sources: images to detect in.
        overwrite: files that exist already may be replaced, except for sources and those beside
            them.
    Raises:
        ConfigError: unknown format, or none is given.
        ImageError: a file would be replaced.
    """

    def __init__(
        self,
        folder: Path,
        formats: Sequence[str],
        classes: Sequence[str],
        sources: Sequence[str],
        overwrite: bool = False,
    ) -> None:
        for name in formats:
            if name not in WRITERS:
                raise unknown_name("format", name, WRITERS)
        if not formats:
            raise ConfigError("--format is empty", f"expected some of {', '.join(WRITERS)}")
        self._taken: set[str] = set()
        self._done = 0  # results that are written in every format
        protected = ProtectedPaths(sources, overwrite)
        names = {"picture": "{}.jpg", "yolo": "labels/{}.txt"}  # that are known before detection
        for name in names.keys() & set(formats):
            for source in (each for each in sources if not is_video(each)):
                protected.check(folder / names[name].format(Path(source).stem))
        self._writers = [
            WRITERS[name](folder, classes, protected) for name in dict.fromkeys(formats)
        ]

    def add(self, result: Result) -> None:
        """Write a result in every format.

        Raises:
            ImageError: the result cannot be written, or a file would replace a protected one.
            FrcnnError: the disk is full or the folder cannot be written to.
        """
        stem, number = result.stem, 1
        while _key(stem) in self._taken:
            number += 1
            stem = f"{result.stem}-{number}"
        for writer in self._writers:
            writer.check(result, stem)
        self._taken.add(_key(stem))
        for writer in self._writers:
            writer.add(result, stem)
        self._done += 1

    def __enter__(self) -> Output:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            stopped = error_type is None or issubclass(error_type, _STOPPED)
            if stopped and self._done:
                for writer in self._writers:
                    writer.finish()
        finally:
            for writer in self._writers:
                writer.abandon()


def _key(stem: str) -> str:
    """A key that is equal for stems that some format or file system does not distinguish."""
    return voc_column(str(coco_id(stem))).casefold()
