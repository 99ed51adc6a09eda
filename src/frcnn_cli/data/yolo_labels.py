"""The label files of a YOLO folder: of which image each is, and notes on those left out."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from ..errors import counted
from ..runtime.safe_read import read_beginning
from .file_types import SUFFIXES
from .folders import (
    FileIndex,
    bare_name,
    files_around,
    folder_words,
    is_hidden,
    list_folder,
    normalized,
)
from .yolo_rows import begins_with_row

TEXT = frozenset({".txt"})
_BEGINNING = 2**10  # bytes of a label file


def label_file(image: Path) -> Path:
    """The label file of an image: its path with the last images/ replaced by labels/, in .txt; or
    the .txt file beside it, if only that exists."""
    parts = list(image.parts)
    for index in reversed(range(len(parts) - 1)):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    usual, beside = Path(*parts).with_suffix(".txt"), image.with_suffix(".txt")
    return beside if not os.path.isfile(usual) and os.path.isfile(beside) else usual


def label_files(paths: Sequence[Path], every: Iterable[Path], root: Path) -> list[Path]:
    """The label file of each image; where none of the usual ones exists, the texts of their names
    anywhere in the folder.

    Args:
        every: the images of all splits.
    """
    usual = list(map(label_file, paths))
    if any(map(os.path.isfile, usual)):
        return _with_capitals(usual, paths)
    texts = FileIndex(root, TEXT)
    counts = Counter(bare_name(path.name) for path in every)
    labels, shared = [], []
    most: dict[Path, int] = defaultdict(int)  # words that a text's folders share with an image's
    for path, label in zip(paths, usual, strict=True):
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
        alike = texts.find_alike(name, counts[bare_name(name)] == 1)
        labels.append(texts.find(alike) or label if alike else label)
        shared.append(len(folder_words(alike or "") & folder_words(name)))
        most[labels[-1]] = max(most[labels[-1]], shared[-1])
    return [  # of an image and its mask, the one whose folders are more like the text's
        label if count == most[label] else own
        for label, count, own in zip(labels, shared, usual, strict=True)
    ]


def _with_capitals(labels: Sequence[Path], images: Sequence[Path]) -> list[Path]:
    """The label files; for one that is missing, the one in its folder or beside the image whose
    name differs only in capitals, such as a.TXT, if it is of no other image."""
    index = cache(lambda folder: FileIndex(folder, TEXT, recursive=False))
    present = {label for label in labels if os.path.isfile(label)}
    found = []
    for label, image in zip(labels, images, strict=True):
        folders = () if label in present else (label.parent, image.parent)
        alike = (index(folder).find(label.stem) for folder in folders)
        found.append(next((each for each in alike if each and each not in present), label))
    return found


def unpaired_notes(paths: Sequence[Path], labels: Sequence[Path]) -> list[str]:
    """A note on label files without an image, in the folders of those that have one."""
    folders: dict[Path, set[Path]] = defaultdict(set)  # of label files -> of their images
    for path, label in zip(paths, labels, strict=True):
        if label == label_file(path):
            folders[label.parent].add(path.parent)
    alone: list[Path] = []
    others: dict[str, Path] = {}
    for folder, places in folders.items():
        files = [each for place in places for each in list_folder(place)]
        names = {bare_name(each.name) for each in files if each.suffix.lower() in SUFFIXES}
        unread = (each for each in files if each.suffix.lower() not in SUFFIXES | TEXT)
        others |= {normalized(each.stem): each for each in unread}
        texts = [each for each in list_folder(folder) if each.suffix.lower() in TEXT]
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


def unsplit_notes(root: Path, every: Iterable[Path]) -> list[str]:
    """A note on images below a folder that have a label file, but are in no split.

    Args:
        every: the images of all splits.
    """
    listed = set(map(os.path.abspath, every))
    found = files_around(root, SUFFIXES)
    others = (path for path in found if os.path.abspath(path) not in listed)
    labelled = [path for path in others if os.path.isfile(label_file(path))]
    real = set(map(os.path.realpath, listed)) if labelled else set()
    alone = [path for path in labelled if os.path.realpath(path) not in real]
    if not alone:
        return []
    of = counted(len(alone), "image that is", "images that are")
    return [f"left out {of} in no split, though annotated, first {alone[0]}"]
