"""PASCAL VOC: a folder with Annotations/*.xml and JPEGImages/, and split lists in ImageSets/Main/.

Other programs call the folders annotations/ and images/, put each XML file beside its image, and
give each split a folder of its own (train/, valid/); these layouts are read too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from os.path import commonpath
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import DataError, SplitError, UnlabelledError, counted, short_list
from ..runtime.safe_read import is_inside, read_text
from . import images
from .annotation import Annotation
from .box_forms import FRACTIONS, are_fractions, scale_fractions
from .dataset import Dataset
from .folders import FileIndex, bare_name, called, files_around, hidden_note, normalized
from .splits import ALL, SPLITS, canonical_split, choose_split
from .voc_layout import (
    Layout,
    find_layout,
    find_root,
    scattered_layout,
    split_layouts,
    split_lists,
    split_subfolders,
)
from .voc_xml import annotated_file, parse_annotation

__all__ = ["find_root", "load_voc", "parse_annotation", "read_image_ids"]

_FLAGS = frozenset({"-1", "0", "1"})  # behind the names in the lists of a class
_FROM_ONE = np.array([1, 1, 0, 0], np.float32)  # what `parse_annotation` takes off the first corner
_XML = frozenset({".xml"})
_FEW_LISTS = 8  # beside those of splits
_LIST_HINT = "expected a list of image ids"
_ONE_XML = "leave one XML file for each image, and move the others out of the data set"


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
        DataError: no such split; no images, annotations or objects in it; or `split` is None and
            none of the lists is one of `default_splits`.
    """
    layout = find_layout(root)
    if layout is None and split_layouts(root):
        return _load_split_folders(root, name, split, default_splits)
    files = _index(layout or scattered_layout(root) or Layout(root, root))
    split, ids, notes = _choose_split(root, files, name, split, default_splits)
    return _load(files, ids, name, split, notes)


def _load_split_folders(
    root: Path, name: str, split: str | None, default_splits: Sequence[str]
) -> Dataset:
    """`load_voc` where each split has a folder with its own annotations and images."""
    layouts = split_layouts(root)
    chosen = choose_split(layouts, name, split, default_splits)
    files = _index(layouts[chosen])
    others = [_index(each).annotations for key, each in layouts.items() if key != chosen]
    notes = _unsplit_notes(root, layouts.values())
    return _load(files, files.annotations.names, name, chosen, notes, others)


def _unsplit_notes(root: Path, layouts: Iterable[Layout]) -> list[str]:
    """A note on XML files that are in no folder of a split."""
    folders = {each.annotations for each in layouts}
    alone = [path for path in files_around(root, _XML) if folders.isdisjoint(path.parents)]
    if not alone:
        return []
    of = counted(len(alone), "XML file that is", "XML files that are")
    return [f"left out {of} in no folder of a split, first {alone[0]}"]


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
    if used == {None}:
        raise UnlabelledError(
            f"{name} {split}: none of its {len(ids)} images has an XML file in {folder}",
            "choose another split, or add the files",
        )
    rest = chain.from_iterable(map(index.find, index.names) for index in (files[0], *others))
    unused = (parse_annotation(path) for path in rest if path is not None and path not in used)
    classes = {class_name for each in chain(annotations, unused) for class_name in each.names}
    if not classes:
        raise DataError(f"{name} {split}: no image has an object", "check the annotations")
    paths, path_notes = _image_paths(files, ids)
    plain = [replace(each, boxes=each.boxes + _FROM_ONE) for each in annotations]
    if are_fractions(each.boxes for each in plain):
        annotations = scale_fractions(plain, paths)
        path_notes.append(FRACTIONS)
    return Dataset(
        name=name,
        split=split,
        classes=tuple(sorted(classes)),
        ids=tuple(ids),
        paths=tuple(paths),
        annotations=annotations,
        notes=(*notes, *_file_notes(files, ids, paths), *path_notes),
    )


def _annotation(files: _Files, image_id: str) -> Annotation:
    """The annotation of an image; one without objects where only the image exists."""
    path = files.annotations.find(image_id)
    several = files.annotations.names_like(image_id) if "/" not in image_id else []
    if path is None and len(several) > 1:
        raise DataError(
            f"{image_id} may be annotated in {short_list(several, 2)}, below "
            f"{files.annotations.folder}",
            _ONE_XML,
        )
    if path is None and files.images.find(image_id) is not None:
        return Annotation(
            size=None,
            names=(),
            boxes=np.zeros((0, 4), np.float32),
            difficult=np.zeros(0, np.bool_),
        )
    if path is None:
        raise DataError(
            f"{image_id} is listed, but {files.annotations.folder} has no {image_id}.xml, and "
            f"{files.images.folder} no such image",
            "mend the list, or add the files",
        )
    return parse_annotation(path)


def _file_notes(files: _Files, ids: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """Notes on hidden files, which are ignored, and on images without an XML file."""
    notes = []
    is_shared = files.annotations.folder == files.images.folder
    hidden = files.images.hidden + (0 if is_shared else files.annotations.hidden)
    if hidden:
        notes.append(hidden_note(hidden))
    used = set(paths)
    alone = [
        each
        for each in files.images.names
        if files.annotations.find_alike(each, files.images.is_unique(each)) is None
        and files.images.find(each) not in used
    ]
    taken = [each for each in ids if files.annotations.find(each) is None]
    if taken:
        notes.append(
            f"{len(taken)} of {len(ids)} listed images have no XML file, such as "
            f"{taken[0]}: they count as images without objects"
        )
    if alone:
        notes.append(
            f"{len(alone)} images in {files.images.folder} have no XML file and are "
            f"in no list that is read, such as {alone[0]}: left out"
        )
    return notes


def _choose_split(
    root: Path, files: _Files, name: str, split: str | None, default_splits: Sequence[str]
) -> tuple[str, list[str], list[str]]:
    """The name of the split to load, the ids of its images and notes; see `load_voc`."""
    places = (files.annotations.folder, files.images.folder)
    lists = split_lists(root) or split_lists(Path(commonpath(places)))
    folders = {} if lists else split_subfolders(files.annotations.names)
    if folders:
        chosen = choose_split(folders, name, split, default_splits)
        return chosen, folders[chosen], []
    if split is None:
        split = next((each for each in default_splits if each in lists), None)
    elif split not in lists:
        split = canonical_split(split)
    if split is None and lists:
        raise SplitError(
            f"{name} has no list {' or '.join(default_splits) or ALL}",
            f"choose one with --split: {', '.join(lists)}",
            lists,
        )
    if split is None:
        return "all", files.annotations.names, []
    if split not in lists:
        raise SplitError(
            f"{name} has no split {split!r}",
            f"there are: {', '.join(lists) or 'none at all'}",
            lists,
        )
    lines = map(str.strip, read_text(lists[split], _LIST_HINT).splitlines())
    found = [_resolve(line, files, lists[split]) for line in lines if line]
    ids = [each for each in found if each is not None]
    if not ids:
        raise DataError(f"{name} {split}: {lists[split]} lists no images", "fill the list")
    unique = list(dict.fromkeys(ids))
    repeated = len(ids) - len(unique)
    notes = [f"{repeated} repeated lines in {lists[split]} count once"] if repeated else []
    return split, unique, [*notes, *_unlisted_notes(files.annotations, lists)]


def _unlisted_notes(annotations: FileIndex, lists: Mapping[str, Path]) -> list[str]:
    """A note on annotations that no list names, by the last parts of names.

    Many lists are those of VOC's classes, which have the images of the splits again.
    """
    ordered = [path for split, path in lists.items() if split in SPLITS]
    others = [path for split, path in lists.items() if split not in SPLITS]
    ordered += others if len(others) <= _FEW_LISTS else []
    alone = {bare_name(name): name for name in annotations.names}
    lines: list[str] = []
    for path in ordered:
        with suppress(DataError):  # it is raised when that list is chosen
            lines += read_text(path, _LIST_HINT).splitlines()
    for form in chain.from_iterable(map(_written, lines)):
        last = form.replace("\\", "/").rpartition("/")[2]
        alone.pop(normalized(_without_ending(last)), None)
    if not alone:
        return []
    of = counted(len(alone), "annotated image that is", "annotated images that are")
    return [f"left out {of} in no list, such as {min(alone.values())}"]


def _resolve(line: str, files: _Files, path: Path) -> str | None:
    """The id that a line of a split list stands for; None for a comment.

    A line is a name, which may have blanks, an ending or a folder, and may be followed by a flag or
    by the name of the XML file. Of the parts that may be the name, the first one counts that is the
    name of an annotation, else of an annotation in some folder, else of an image.

    Raises:
        DataError: the line leads out of the folder, names nothing, or several images.
    """
    written = _written(line)
    if not written:
        return None
    line, unflagged, _ = written
    found = _find(written, files)
    if found is not None:
        words = line.split()
        others = {_find([word], files) for word in words[1:]} - {found, None}
        if others and _find([line, unflagged], files) is None:
            raise DataError(
                f"{path}: {line!r:.80} names several images or annotations",
                "write each image into a line of its own",
            )
        return found
    if line.startswith("#"):
        return None
    if not is_inside(unflagged):
        raise DataError(f"{path}: {line!r:.80} is not inside the data set", "mend the list")
    return _without_ending(unflagged)


def _written(line: str) -> list[str]:
    """The parts of a line that may be a name: the line, the same without its flag, and its first
    word; none of a blank line."""
    line = line.strip("\"' ,;")
    words = line.split()
    if not words:
        return []
    unflagged = line[: -len(words[-1])].rstrip() if words[-1] in _FLAGS and words[1:] else line
    return [line, unflagged, words[0]]


def _find(written: Sequence[str], files: _Files) -> str | None:
    """The name of the annotation or image that the first possible one of some texts means."""
    forms = [form for each in written for form in (each, _without_ending(each))]
    forms += [form.replace("\\", "/").rpartition("/")[2] for form in forms]
    forms = list(dict.fromkeys(form.removeprefix("./") for form in forms))
    bare = [form for form in written if "/" not in form]
    return (
        _first(files.annotations.find_name, forms)
        or _first(lambda form: files.annotations.find_alike(form, is_unique=True), bare)
        or _first(files.images.find_name, forms)
    )


def _first(find: Callable[[str], str | None], forms: Iterable[str]) -> str | None:
    return next((found for form in forms if (found := find(form)) is not None), None)


def _without_ending(name: str) -> str:
    path = Path(name)
    known = path.suffix.lower() in images.SUFFIXES | _XML
    return name[: -len(path.suffix)] if known else name


def read_image_ids(path: Path) -> list[str]:
    """The image ids of a split list of VOC itself: the first word of each line.

    Raises:
        DataError: the list cannot be read or is not text.
    """
    lines = read_text(path, _LIST_HINT).splitlines()
    return [line.split()[0] for line in lines if line.strip()]


def _image_paths(files: _Files, ids: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The image of each id, and notes where the name of the annotation file does not tell it.

    It is the image of the same name, else the one that the annotation file names, if no other
    annotation has its name. Where there is none, it is the path at which VOC itself would have it.
    Of images that differ only in their endings, it is the one that the annotation file names.

    Raises:
        DataError: two annotation files are of one image.
    """
    paths: list[Path] = []
    taken: dict[Path, str] = {}
    renamed, unclear = [], []
    for id_ in ids:
        alike = files.images.find_name(id_) or files.images.find_alike(
            id_, files.annotations.is_unique(id_)
        )
        annotation = files.annotations.find(id_) if alike is None else None
        if annotation is not None and (name := annotated_file(annotation)):
            alike = files.images.find_alike(name.replace("\\", "/"), is_unique=True)
            if alike and files.annotations.find_alike(alike, files.images.is_unique(alike)):
                alike = None  # tools that copy annotations leave the name of another image in them
            renamed += [f"{annotation.name} goes with {name}"] if alike else []
        several = files.images.names_like(id_)
        if alike is None and len(several) > 1:
            raise DataError(
                f"{id_} may be the annotation of {short_list(several, 2)}, below "
                f"{files.images.folder}",
                "leave one image for each XML file, and move the others out of the data set",
            )
        found = files.images.find_all(alike) if alike else []
        path = next(iter(found), files.images.folder / f"{id_}.jpg")
        if len(found) > 1:
            xml = files.annotations.find(id_)
            own = called(found, annotated_file(xml)) if xml is not None else None
            unclear += [] if own else [f"{path.name}, not {found[1].name}"]
            path = own or path
        if (first := taken.setdefault(path, id_)) != id_:
            folder = files.annotations.folder
            raise DataError(f"{first} and {id_} below {folder} both annotate {path}", _ONE_XML)
        paths.append(path)
    notes = []
    if renamed:
        which = f"{renamed[0]}, as it says"
        notes.append(f"{len(renamed)} annotation files are not named like their images: {which}")
    if unclear:
        which = f"{unclear[0]}, was taken"
        notes.append(f"{len(unclear)} annotation files do not say which image they mean: {which}")
    return paths, notes
