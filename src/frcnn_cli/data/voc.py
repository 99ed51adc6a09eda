"""PASCAL VOC: a folder with Annotations/*.xml and JPEGImages/, and split lists in ImageSets/Main/.

Other programs call the folders annotations/ and images/, put each XML file beside its image, and
give each split a folder of its own (train/, valid/); these layouts are read too.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import DataError, SplitError
from ..runtime.safe_read import is_inside, read_text
from . import images
from .dataset import Annotation, Dataset
from .folders import FileIndex, hidden_note
from .voc_layout import (
    Layout,
    choose_folder,
    find_layout,
    find_root,
    split_layouts,
    split_lists,
    split_subfolders,
)
from .voc_xml import parse_annotation

__all__ = ["find_root", "load_voc", "parse_annotation", "read_image_ids"]

_FLAGS = frozenset({"-1", "0", "1"})  # behind the names in the lists of a class
_XML = frozenset({".xml"})


class _Files(NamedTuple):
    """The files in the two folders of a layout, by their names in them."""

    annotations: FileIndex
    images: FileIndex


def load_voc(root: Path, name: str, split: str | None, default_splits: Sequence[str]) -> Dataset:
    """Read all annotations of one split; classes are those that occur in any split, sorted.

    Args:
        root: from `find_root`. name: of the data set.
        split: a list in ImageSets/Main, or the folder of a split; None takes the first of
            `default_splits` that exists, or every annotated image where there are no lists.
    Raises:
        DataError: no such split; no images or objects in it; or `split` is None and none of the
            lists is one of `default_splits`.
    """
    layout = find_layout(root)
    if layout is None:
        return _load_split_folders(root, name, split, default_splits)
    files = _index(layout)
    split, ids, notes = _choose_split(root, files, name, split, default_splits)
    return _load(files, ids, name, split, notes)


def _load_split_folders(
    root: Path, name: str, split: str | None, default_splits: Sequence[str]
) -> Dataset:
    """`load_voc` where each split has a folder with its own annotations and images."""
    layouts = split_layouts(root)
    chosen = choose_folder(layouts, name, split, default_splits)
    files = _index(layouts[chosen])
    others = [_index(each).annotations for key, each in layouts.items() if key != chosen]
    return _load(files, files.annotations.names, name, chosen, [], others)


def _index(layout: Layout) -> _Files:
    return _Files(FileIndex(layout.annotations, _XML), FileIndex(layout.images, images.SUFFIXES))


def _load(
    files: _Files,
    ids: Sequence[str],
    name: str,
    split: str,
    notes: Sequence[str],
    others: Sequence[FileIndex] = (),
) -> Dataset:
    """Read the annotations of `ids`; a class may be missing from them, so read all others too."""
    folder = files.annotations.folder
    if not ids:
        raise DataError(f"{name} {split}: no images in {folder}", "check the folder and the split")
    annotations = tuple(_annotation(files, id_) for id_ in ids)
    used = {files.annotations.find(id_) for id_ in ids}
    rest = chain.from_iterable(map(index.find, index.names) for index in (files[0], *others))
    unused = (parse_annotation(path) for path in rest if path is not None and path not in used)
    classes = {class_name for each in chain(annotations, unused) for class_name in each.names}
    if not classes:
        raise DataError(f"{name} {split}: no image has an object", "check the annotations")
    return Dataset(
        name=name,
        split=split,
        classes=tuple(sorted(classes)),
        ids=tuple(ids),
        paths=tuple(_image_path(files.images, id_) for id_ in ids),
        annotations=annotations,
        notes=(*notes, *_file_notes(files, ids)),
    )


def _annotation(files: _Files, image_id: str) -> Annotation:
    """The annotation of an image; one without objects where only the image exists."""
    path = files.annotations.find(image_id)
    if path is None and files.images.find(image_id) is not None:
        return Annotation(
            size=None,
            names=(),
            boxes=np.zeros((0, 4), np.float32),
            difficult=np.zeros(0, np.bool_),
        )
    return parse_annotation(path or files.annotations.folder / f"{image_id}.xml")


def _file_notes(files: _Files, ids: Sequence[str]) -> list[str]:
    """Notes on hidden files, which are ignored, and on images without an XML file."""
    notes = []
    is_shared = files.annotations.folder == files.images.folder
    hidden = files.images.hidden + (0 if is_shared else files.annotations.hidden)
    if hidden:
        notes.append(hidden_note(hidden))
    alone = [each for each in files.images.names if files.annotations.find(each) is None]
    taken = [each for each in ids if files.annotations.find(each) is None]
    if taken:
        notes.append(
            f"{len(taken)} of {len(ids)} listed images have no XML file, such as "
            f"{taken[0]}: they count as images without objects"
        )
    if len(alone) > len(taken):
        listed = set(taken)
        first = next(each for each in alone if each not in listed)
        notes.append(
            f"{len(alone) - len(taken)} images in {files.images.folder} have no XML file and are "
            f"in no list that is read, such as {first}: left out"
        )
    return notes


def _choose_split(
    root: Path, files: _Files, name: str, split: str | None, default_splits: Sequence[str]
) -> tuple[str, list[str], list[str]]:
    """The name of the split to load, the ids of its images and notes; see `load_voc`."""
    lists = split_lists(root)
    folders = {} if lists else split_subfolders(files.annotations.names)
    if folders:
        chosen = choose_folder(folders, name, split, default_splits)
        return chosen, folders[chosen], []
    if split is None:
        split = next((each for each in default_splits if each in lists), None)
    if split is None and lists:
        raise SplitError(
            f"{name} has no list {' or '.join(default_splits)}",
            f"choose one with --split: {', '.join(lists)}",
        )
    if split is None:
        return "all", files.annotations.names, []
    if split not in lists:
        raise SplitError(
            f"{name} has no split {split!r}", f"there are: {', '.join(lists) or 'none at all'}"
        )
    lines = read_text(lists[split], "expected a list of image ids").splitlines()
    ids = [_resolve(line.strip(), files, lists[split]) for line in lines if line.strip()]
    unique = list(dict.fromkeys(ids))
    repeated = len(ids) - len(unique)
    notes = [f"{repeated} repeated lines in {lists[split]} count once"] if repeated else []
    return split, unique, notes


def _resolve(line: str, files: _Files, path: Path) -> str:
    """The id that a line of a split list stands for.

    A line is a name, which may have blanks, an ending or a folder, and may be followed by a flag or
    by the name of the XML file. Of the parts that may be the name, the first one counts that is the
    name of an annotation, else of an image.

    Raises:
        DataError: the line leads out of the folder.
    """
    words = line.split()
    unflagged = line[: -len(words[-1])].rstrip() if words[-1] in _FLAGS and words[1:] else line
    written = [line, unflagged, words[0]]
    forms = [form for each in written for form in (each, _without_ending(each))]
    forms += [form.replace("\\", "/").rpartition("/")[2] for form in forms]
    for index in files:
        for form in forms:
            found = index.find_name(form.removeprefix("./"))
            if found is not None:
                return found
    if not is_inside(unflagged):
        raise DataError(f"{path}: {line!r:.80} is not inside the data set", "mend the list")
    return _without_ending(unflagged)


def _without_ending(name: str) -> str:
    path = Path(name)
    known = path.suffix.lower() in images.SUFFIXES | _XML
    return name[: -len(path.suffix)] if known else name


def read_image_ids(path: Path) -> list[str]:
    """The image ids of a split list of VOC itself: the first word of each line.

    Raises:
        DataError: the list cannot be read or is not text.
    """
    lines = read_text(path, "expected a list of image ids").splitlines()
    return [line.split()[0] for line in lines if line.strip()]


def _image_path(index: FileIndex, image_id: str) -> Path:
    """The image of that id; where there is none, the path at which VOC itself would have it."""
    return index.find(image_id) or index.folder / f"{image_id}.jpg"
