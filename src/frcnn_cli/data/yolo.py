"""YOLO folders: images, a text file of objects for each, and a file that names the classes.

The images are in images/ and the texts in labels/, with data.yaml (Ultralytics, Roboflow), or both
side by side, with classes.txt (labelImg) or obj.names (Darknet, CVAT). A row of a text file is a
class number from 0, then the centre and sides of a box, perhaps with keypoints after them, or the
corners of an outline, all as fractions of the sides of the displayed image.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain
from os.path import commonpath
from pathlib import Path

import numpy as np

from ..errors import DataError, ImageError, SplitError, UnlabelledError, counted
from ..runtime.safe_read import read_beginning, read_text
from . import images
from .annotation import Annotation
from .dataset import Dataset
from .file_types import SUFFIXES
from .folders import (
    FileIndex,
    bare_name,
    count_endings,
    files_around,
    hidden_note,
    is_hidden,
    list_folder,
    normalized,
    walk_files,
)
from .locate import ImageLocator
from .splits import ALL, SPLITS, canonical_split, split_in_name
from .yolo_rows import (
    Row,
    are_corners,
    begins_with_row,
    check_keypoints,
    from_corners,
    parse_rows,
)
from .yolo_settings import HINT, Settings, plain_parts, read_lines, read_settings

# the folders of split KEY that are looked in where the settings name none
_TEXT = frozenset({".txt"})
_BEGINNING = 2**10  # bytes of a label file
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
    available = available or _by_split(reader.all_images(), settings.root)
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
    labels = _label_files(paths, chain.from_iterable(available.values()), settings.root)
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
    notes += _unpaired(paths, labels)
    if chosen != ALL:
        notes += _unsplit(settings.root, chain.from_iterable(available.values()))
    annotations, row_notes = _annotations(paths, labels, settings)
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


def _unpaired(paths: Sequence[Path], labels: Sequence[Path]) -> list[str]:
    """A note on label files without an image, in the folders of those that have one."""
    folders: dict[Path, set[Path]] = defaultdict(set)  # of label files -> of their images
    for path, label in zip(paths, labels, strict=True):
        if label == _label_file(path):
            folders[label.parent].add(path.parent)
    alone: list[Path] = []
    others: dict[str, Path] = {}
    for folder, places in folders.items():
        files = [each for place in places for each in list_folder(place)]
        names = {bare_name(each.name) for each in files if each.suffix.lower() in SUFFIXES}
        unread = (each for each in files if each.suffix.lower() not in SUFFIXES | _TEXT)
        others |= {normalized(each.stem): each for each in unread}
        texts = [each for each in list_folder(folder) if each.suffix.lower() in _TEXT]
        alone += [
            each
            for each in texts
            if bare_name(each.stem) not in names
            and not is_hidden(each.name)
            and begins_with_row(read_beginning(each, _BEGINNING))
        ]
    if not alone:
        return []
    other = next(filter(None, (others.get(normalized(each.stem)) for each in alone)), None)
    of = counted(len(alone), "label file has", "label files have")
    reason = f" ({other.name} is no picture that is read)" if other is not None else ""
    return [
        f"{of} no image and {'is' if len(alone) == 1 else 'are'} left out, first {alone[0]}{reason}"
    ]


def _unsplit(root: Path, every: Iterable[Path]) -> list[str]:
    """A note on images below a folder that have a label file, but are in no split.

    Args:
        every: the images of all splits.
    """
    listed = set(map(os.path.abspath, every))
    found = files_around(root, SUFFIXES)
    others = (path for path in found if os.path.abspath(path) not in listed)
    labelled = [path for path in others if os.path.isfile(_label_file(path))]
    real = set(map(os.path.realpath, listed)) if labelled else set()
    alone = [path for path in labelled if os.path.realpath(path) not in real]
    if not alone:
        return []
    of = counted(len(alone), "image that is", "images that are")
    return [f"left out {of} in no split, though annotated, first {alone[0]}"]


def _by_split(paths: Sequence[Path], root: Path) -> dict[str, list[Path]]:
    """Images by the split in the names of their folders; under ALL where one has no or two splits.

    Empty where there are no images.
    """
    splits: dict[str, list[Path]] = {}
    for path in paths:
        found = set(filter(None, map(split_in_name, path.relative_to(root).parts[:-1])))
        if len(found) != 1:
            return {ALL: list(paths)}
        splits.setdefault(found.pop(), []).append(path)
    return splits


class _ImageLists:
    """Lists the images of a folder by its settings; counts the hidden files that are left out."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._hidden: dict[Path, int] = {}
        self._moved: dict[str, Path] = {}
        self._absent: dict[str, str] = {}  # split -> a place that the settings name for it

    @property
    def notes(self) -> list[str]:
        notes = [hidden_note(count)] if (count := sum(self._hidden.values())) else []
        for name, path in list(self._moved.items())[:3]:
            notes.append(f"{name} is not here, so {path} was read, and the others likewise")
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
        else those with a text of their name anywhere in it."""
        root = self._settings.root
        if found := self._list(root / "images"):
            return found
        for place in (root / "obj_train_data", root):
            found = self._list(place)
            if any(os.path.isfile(_label_file(path)) for path in found):
                return found
            self._hidden.pop(place, None)
        texts = FileIndex(root, _TEXT)
        return [path for path in self._list(root) if texts.find_alike(path.name, is_unique=True)]

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


def _label_file(image: Path) -> Path:
    """The label file of an image: its path with the last images/ replaced by labels/, in .txt; or
    the .txt file beside it, if only that exists."""
    parts = list(image.parts)
    for index in reversed(range(len(parts) - 1)):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    usual, beside = Path(*parts).with_suffix(".txt"), image.with_suffix(".txt")
    return beside if not os.path.isfile(usual) and os.path.isfile(beside) else usual


def _label_files(paths: Sequence[Path], every: Iterable[Path], root: Path) -> list[Path]:
    """The label file of each image; where none of the usual ones exists, the texts of their names
    anywhere in the folder.

    Args:
        every: the images of all splits.
    """
    usual = list(map(_label_file, paths))
    if any(map(os.path.isfile, usual)):
        return _with_capitals(usual, paths)
    texts = FileIndex(root, _TEXT)
    counts = Counter(bare_name(path.name) for path in every)
    labels = []
    for path, label in zip(paths, usual, strict=True):
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
        alike = texts.find_alike(name, counts[bare_name(name)] == 1)
        labels.append(texts.find(alike) or label if alike else label)
    return labels


def _with_capitals(labels: Sequence[Path], images: Sequence[Path]) -> list[Path]:
    """The label files; for one that is missing, the one in its folder or beside the image whose
    name differs only in capitals, such as a.TXT, if it is of no other image."""
    index = cache(lambda folder: FileIndex(folder, _TEXT, recursive=False))
    present = {label for label in labels if os.path.isfile(label)}
    found = []
    for label, image in zip(labels, images, strict=True):
        folders = () if label in present else (label.parent, image.parent)
        alike = (index(folder).find(label.stem) for folder in folders)
        found.append(next((each for each in alike if each and each not in present), label))
    return found


def _annotations(
    paths: Sequence[Path], labels: Sequence[Path], settings: Settings
) -> tuple[tuple[Annotation, ...], list[str]]:
    """The objects of each image, and notes."""
    rows, notes = [_read_rows(path, settings) for path in labels], []
    every = list(chain.from_iterable(rows))
    if settings.keypoints is None:
        check_keypoints(every, str(settings.root))
    if are_corners(every):
        rows = [list(map(from_corners, each)) for each in rows]
        notes.append("the rows hold two corners, not centre and sides: taken as x1 y1 x2 y2")
    return tuple(
        _annotation(own, path, settings.classes) for own, path in zip(rows, paths, strict=True)
    ), notes


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
