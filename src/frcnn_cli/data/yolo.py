"""YOLO folders: images, a text file of objects for each, and a file that names the classes.

The images are in images/ and the texts in labels/, with data.yaml (Ultralytics, Roboflow), or both
side by side, with classes.txt (labelImg) or obj.names (Darknet, CVAT). A row of a text file is a
class number from 0, then the centre and sides of a box, perhaps with keypoints after them, or the
corners of an outline, all as fractions of the sides of the displayed image.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import chain
from os.path import commonpath
from pathlib import Path

import numpy as np

from ..errors import DataError, ImageError, SplitError, UnlabelledError, counted
from ..runtime.safe_read import read_text
from . import images
from .annotation import Annotation
from .dataset import Dataset
from .file_types import SUFFIXES
from .folders import (
    FileIndex,
    bare_name,
    count_endings,
    hidden_note,
    is_hidden,
    is_mask,
    walk_files,
    without_masks,
)
from .locate import ImageLocator
from .splits import ALL, SPLITS, canonical_split, split_in_name
from .yolo_labels import TEXT, label_file, label_files, unpaired_notes, unsplit_notes
from .yolo_rows import (
    Row,
    are_corners,
    begin_at_corners,
    check_keypoints,
    from_corner,
    from_corners,
    parse_rows,
)
from .yolo_settings import HINT, Settings, plain_parts, read_lines, read_settings

_ENOUGH = 1000  # rows of a split that tell their form
# the folders of split KEY that are looked in where the settings name none
_USUAL_FOLDERS = ("images/{}", "{}/images", "obj_{}_data", "{}")


def load_yolo(root: Path, name: str, split: str | None, default_splits: Sequence[str]) -> Dataset:
    """Read one split of a YOLO folder; classes are numbered as in its settings.

    Args:
        root: the folder, or the file of settings in it. name: of the data set.
        split: train, val or test; None takes the first of `default_splits` that has images, or
            all images where no split has any.
    Raises:
        DataError: the settings, class names, split or label files are missing or not valid. Images
            that are damaged are found when they are read.
    """
    settings = read_settings(root)
    reader = _ImageLists(settings)
    available = {key: paths for key in SPLITS if (paths := reader.split_images(key))}
    if not any(map(settings.entries, SPLITS)):
        available = _more_images(available, reader.by_split())
    preferred = (*default_splits, ALL)
    chosen = next((each for each in preferred if each in available), None)
    if split is not None:
        chosen = canonical_split(split)
    if chosen is None or chosen not in available:
        hint = f"there are: {', '.join(available)}" if available else _without_images(settings)
        raise SplitError(
            f"{name} has no split {chosen or ' or '.join(default_splits) or ALL}", hint, available
        )
    paths = list(dict.fromkeys(available[chosen]))
    labels = label_files(paths, chain.from_iterable(available.values()), settings.root)
    missing = sum(not os.path.isfile(path) for path in labels)
    if missing == len(labels):
        raise UnlabelledError(f"{name} {chosen}: no label files such as {labels[0]}", HINT)
    notes = [*settings.notes, *reader.notes]
    if repeated := len(available[chosen]) - len(paths):
        again = counted(repeated, "image that is", "images that are")
        notes.append(f"left out {again} listed again")
    if missing:
        of = counted(missing, "image", "images")
        notes.append(f"took {of} of {len(paths)} for background, for want of a label file")
    if outside := _outside(paths, (settings.root, *settings.bases)):
        of = counted(len(outside), "image", "images")
        notes.append(f"the settings name {of} in other folders, such as {outside[0]}")
    notes += unpaired_notes(paths, labels)
    if chosen != ALL:
        notes += unsplit_notes(settings.root, chain.from_iterable(available.values()))
    rows = [_read_rows(path, settings) for path in labels]
    every = list(chain.from_iterable(rows))
    if len(every) < _ENOUGH:
        taken = set(paths)
        rest = [path for path in chain.from_iterable(available.values()) if path not in taken]
        every += _rows_of_others(rest, settings)
    annotations, row_notes = _annotations(paths, rows, settings, every)
    return Dataset(
        name=name,
        split=chosen,
        classes=settings.classes,
        ids=_ids(paths, settings.root),
        paths=tuple(paths),
        annotations=annotations,
        notes=(*notes, *row_notes),
    )


def _without_images(settings: Settings) -> str:
    """What to do about a folder in which no images are found."""
    files = walk_files(settings.root)[0]
    return f"{HINT}; it holds {count_endings(files) or 'no files'}, and images end in .jpg, .png …"


def _more_images(
    usual: dict[str, list[Path]], found: dict[str, list[Path]]
) -> dict[str, list[Path]]:
    """The splits in the usual places; those that were found in folders of other names where they
    hold more images, as Train/ and val2017/ beside valid/ do."""
    counts = [sum(map(len, each.values())) for each in (usual, found)]
    return usual if usual and (ALL in found or counts[0] >= counts[1]) else found


class _ImageLists:
    """Lists the images of a folder by its settings; counts the hidden files that are left out."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._hidden: dict[Path, int] = {}
        self._moved: dict[str, Path] = {}
        self._absent: dict[str, str] = {}  # split -> a place that the settings name for it
        self._unlabelled: list[Path] = []  # images that are left out

    @property
    def notes(self) -> list[str]:
        places = self._hidden.items()  # some of them lie in others
        count = sum(
            count for place, count in places if self._hidden.keys().isdisjoint(place.parents)
        )
        notes = [hidden_note(count)] if count else []
        for name, path in list(self._moved.items())[:3]:
            notes.append(f"{name} is not here, so {path} was read, and the others likewise")
        if self._unlabelled:
            of = counted(len(self._unlabelled), "image", "images")
            first = self._unlabelled[0]
            notes.append(f"left out {of} in folders without any label file, first {first}")
        for split, entry in self._absent.items():
            notes.append(f"{entry}, which the settings name for {split}, is not here")
        return notes

    def split_images(self, split: str) -> list[Path]:
        """The images of a split: in the places that the settings name, else in the usual ones,
        such as images/<split>, <split>/images or the list <split>.txt."""
        entries = self._settings.entries(split)
        paths, absent = list[Path](), list[str]()
        for entry in entries:
            found = next((own for base in self._bases(entry) if (own := self._list(base))), [])
            paths += found
            absent += [] if found else [entry]
        if paths:
            if absent:
                self._absent[split] = absent[0]
            return paths
        root = self._settings.root
        usual = [root / each.format(key) for key in SPLITS[split] for each in _USUAL_FOLDERS]
        usual += [root / f"{key}.txt" for key in SPLITS[split]]
        found = next((found for place in usual if (found := self._list(place))), [])
        if entries and (found or split != "test"):  # exports name a test set that is not in them
            self._absent[split] = entries[0]
        return found

    def all_images(self) -> list[Path]:
        """The images of a folder whose splits are not known: in images/, else in the folder itself,
        else those in folders of images that have a text of their name anywhere in it."""
        root = self._settings.root
        if found := self._list(root / "images"):
            return found
        for place in (root / "obj_train_data", root):
            found = self._list(place)
            if labelled := [path for path in found if os.path.isfile(label_file(path))]:
                return self._without_masks(found, labelled)
            self._hidden.pop(place, None)
        texts = FileIndex(root, TEXT)
        every = self._list(root)
        names = [path.relative_to(root).as_posix() for path in every]
        names = names if any(map(is_mask, texts.names)) else without_masks(names)
        alike = [root / name for name in names if texts.find_alike(name, is_unique=True)]
        labels = label_files(alike, alike, root)
        pairs = zip(alike, labels, strict=True)
        folders = {path.parent for path, label in pairs if os.path.isfile(label)}
        if not folders:
            return alike
        self._unlabelled = [path for path in every if path.parent not in folders]
        return [path for path in every if path.parent in folders]

    def _without_masks(self, paths: list[Path], labelled: Sequence[Path]) -> list[Path]:
        """The images without those of folders that have no label file and the names of others."""
        folders, names = {path.parent for path in labelled}, {bare_name(p.name) for p in labelled}
        masks = {p for p in paths if p.parent not in folders and bare_name(p.name) in names}
        self._unlabelled = [path for path in paths if path in masks]
        return [path for path in paths if path not in masks]

    def by_split(self) -> dict[str, list[Path]]:
        """All images by the split in the names of their folders; under ALL where an image that has
        a label file has no split, or several. Empty where there are no images."""
        root, paths = self._settings.root, self.all_images()
        splits: dict[str, list[Path]] = {}
        others: list[Path] = []
        for path in paths:
            found = set(filter(None, map(split_in_name, path.relative_to(root).parts[:-1])))
            (splits.setdefault(found.pop(), []) if len(found) == 1 else others).append(path)
        if not splits or (others and any(map(os.path.isfile, label_files(others, paths, root)))):
            return {ALL: paths} if paths else {}
        self._unlabelled += others
        return splits

    def _bases(self, entry: str) -> list[Path]:
        """The places that an entry of the settings may mean, the likeliest first."""
        root = self._settings.root
        # Roboflow's exports write ../train/images for train/images
        entry = entry.replace("\\", "/")
        parts = plain_parts(entry)
        places = [base / entry for base in self._settings.bases] + [root / entry]
        places += [root.joinpath(*parts[first:]) for first in range(len(parts))]
        return [*places, *(root.parent.joinpath(*parts[first:]) for first in range(len(parts)))]

    def _list(self, place: Path) -> list[Path]:
        """The images in a folder, at any depth, or those that a .txt file lists."""
        if os.path.isdir(place) and place.resolve() != Path(
            place.resolve().anchor
        ):  # never all files
            files, self._hidden[place] = walk_files(place)
            return [path for path in files if path.suffix.lower() in SUFFIXES]
        if place.suffix == ".txt" and os.path.isfile(place) and not is_hidden(place.name):
            bases = [
                place.parent,
                place.parent / "images",
                *self._settings.bases,
                self._settings.root,
            ]
            locator = ImageLocator([*bases, *(base.parent for base in bases)])
            listed = [(line, self._listed(line, place, locator)) for line in read_lines(place)]
            return [
                path for line, path in listed if not line.startswith("#") or os.path.isfile(path)
            ]
        return []

    def _listed(self, line: str, place: Path, locator: ImageLocator) -> Path:
        plain = place.parent / line.replace("\\", "/")
        if not plain.name:
            raise DataError(f"{place} lists {line}, which is no image", HINT)
        if locator.is_file(str(plain)):
            return plain
        found = locator.find(line)
        if found is None:
            return plain
        if str(place) not in {key.partition(":")[0] for key in self._moved}:
            self._moved[f"{place}: {line}"] = found
        return found


def _outside(paths: Iterable[Path], folders: Iterable[Path]) -> list[Path]:
    """The paths that lie in none of some folders; no folder has the whole file system."""
    absolute = (os.path.abspath(folder) for folder in folders)
    below = tuple(os.path.join(each, "") for each in absolute if each != os.path.dirname(each))
    plain = (Path(os.path.abspath(path)) for path in paths)
    return [path for path in plain if not str(path).startswith(below)]


def _ids(paths: Sequence[Path], root: Path) -> tuple[str, ...]:
    """The file names without endings; where they are not unique, the paths below the data set."""
    stems = [path.stem for path in paths]
    if len(set(stems)) == len(stems):
        return tuple(stems)
    if not all(path.is_relative_to(root) for path in paths):
        paths = [path.absolute() for path in paths]
        root = Path(commonpath([str(path.parent) for path in paths]))
    return tuple(str(path.relative_to(root)) for path in paths)


def _annotations(
    paths: Sequence[Path], rows: list[list[Row]], settings: Settings, every: Sequence[Row]
) -> tuple[tuple[Annotation, ...], list[str]]:
    """The objects of each image, and notes.

    Args:
        rows: of each image. every: those that tell the form of all boxes.
    """
    notes = []
    if settings.keypoints is None:
        check_keypoints(every, str(settings.root))
    if are_corners(every):
        rows = [list(map(from_corners, each)) for each in rows]
        notes.append("the rows hold two corners, not centre and sides: taken as x1 y1 x2 y2")
    elif begin_at_corners(every):
        rows = [list(map(from_corner, each)) for each in rows]
        notes.append("the rows hold corner and sides, not centre and sides: taken as x1 y1 w h")
    return tuple(
        _annotation(own, path, settings.classes) for own, path in zip(rows, paths, strict=True)
    ), notes


def _rows_of_others(paths: Sequence[Path], settings: Settings) -> list[Row]:
    """The rows of other splits, as far as they can be read; the form of boxes is that of all."""
    rows: list[Row] = []
    for label in label_files(paths, paths, settings.root):
        with suppress(DataError):  # it is raised when that split is read
            rows += _read_rows(label, settings)
    return rows


def _read_rows(label_file: Path, settings: Settings) -> list[Row]:
    if not os.path.isfile(label_file):
        return []
    text = read_text(label_file, HINT)
    return list(parse_rows(text, str(label_file), len(settings.classes), settings.keypoints))


def _annotation(rows: list[Row], image: Path, classes: tuple[str, ...]) -> Annotation:
    try:
        height, width = images.read_layout(image).displayed_size
    except ImageError:  # it is raised again when the image or its objects are read
        height, width = 1, 1
    boxes = np.array([row.box for row in rows], np.float64).reshape(-1, 4)
    return Annotation(
        size=None,  # the boxes are of the displayed image already, and must not be turned
        names=tuple(classes[row.label] for row in rows),
        boxes=(boxes * (width, height, width, height)).astype(np.float32),
        difficult=np.zeros(len(rows), np.bool_),
    )
