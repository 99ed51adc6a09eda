"""The folders of a data set in VOC layout, as VOC itself and other programs name them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from os.path import commonpath
from pathlib import Path
from typing import NamedTuple

from ..errors import DataError
from ..runtime.safe_read import read_beginning
from .file_types import SUFFIXES
from .folders import folders_in, is_hidden, list_folder, walk_files
from .splits import SPLITS, canonical_split, split_in_name

_ANNOTATION_FOLDERS = ("annotations", "annotation", "annots", "xml", "xmls", "labels")
_IMAGE_FOLDERS = ("jpegimages", "images", "image", "imgs", "img", "jpegs", "jpg", "pngimages")
_LIST_FOLDERS = ("ImageSets/Main", "ImageSets", "imagesets/main", "imagesets", "Main", "splits")
# where lists are taken only if they have the name of a split
_OTHER_LIST_FOLDERS = ("", "Annotations", "annotations")
_LIST = "_list"  # at the end of the lists of PaddleDetection
_XML_SUFFIX = ".xml"
_ROOT = re.compile(r"<([\w.-]+:)?annotation[\s>]", re.IGNORECASE)  # and the bytes in which it is
MAX_LEVELS, MAX_FOLDERS = 3, 100  # that are searched for a data set
_MAX_SCATTERED = 500_000  # files, which take some seconds to list
_BEGINNING, _LOOKED_AT = 2**12, 20


class Layout(NamedTuple):
    """The folders of annotations and of images, which may be the same."""

    annotations: Path
    images: Path


def find_root(folder: Path, year: str | None = None) -> Path:
    """The folder of a data set in VOC layout: `folder`, or VOC<year> below it.

    Raises:
        DataError: there is no such folder; or several data sets in VOC layout are below `folder`.
    """
    candidates = [folder]
    if year is not None:
        candidates += [folder / f"VOC{year}", folder / "VOCdevkit" / f"VOC{year}"]
    for candidate in candidates:
        if find_layout(candidate) is not None or split_layouts(candidate):
            return candidate
    layout = scattered_layout(folder) if year is None else None
    if layout is not None:
        return _with_lists(folder, layout) or folder
    content = ", ".join(sorted(path.name for path in _entries(folder))[:8]) or "nothing"
    raise DataError(
        f"{folder} is not a data set in VOC layout: expected Annotations/ and JPEGImages/ in it "
        f"(or annotations/ and images/, XML files beside the images, or these in train/ and "
        f"valid/); it holds {content}",
        "give the folder with --data",
    )


def _with_lists(folder: Path, layout: Layout) -> Path | None:
    """The data set below `folder` that has lists of splits; None where there is none.

    Were all files below `folder` read as one data set, its lists would not count.

    Args:
        layout: of all files below `folder`.
    Raises:
        DataError: there are several, or annotations beside it.
    """
    found: list[Path] = []
    level = [folder]
    for _ in range(MAX_LEVELS):
        level = [each for one in level for each in folders_in(one)][:MAX_FOLDERS]
        found += [each for each in level if find_layout(each) and split_lists(each)]
        level = [each for each in level if each not in found]
    if len(found) > 1:
        raise several_data_sets(folder, found)
    if found and not layout.annotations.is_relative_to(found[0]):
        raise DataError(
            f"{folder} holds the data set {found[0]}, which has lists of splits, and other XML "
            "files beside it",
            "name one of its folders",
        )
    return found[0] if found else None


def several_data_sets(folder: Path, found: Sequence[Path]) -> DataError:
    """The error about a folder that holds several data sets, and is none itself."""
    return DataError(
        f"{folder} holds {len(found)} data sets: {', '.join(map(str, found[:5]))}",
        "name one of them, or several with + between them",
    )


def _entries(folder: Path) -> list[Path]:
    """The files and folders in a folder that are not hidden, sorted; none if it is no folder."""
    return [path for path in list_folder(folder) if not is_hidden(path.name)]


def find_layout(folder: Path) -> Layout | None:
    """The folders of annotations and images in a folder, which may be `folder` itself."""
    entries = _entries(folder)
    names = {path.name: path for path in entries if os.path.isdir(path)}
    annotations = _first_named(names, "Annotations", _ANNOTATION_FOLDERS)
    pictures = _first_named(names, "JPEGImages", _IMAGE_FOLDERS)
    # a folder with another name may hold the annotations of another format
    if annotations is not None and not (
        annotations.name == "Annotations" or any(annotations.rglob("*.[xX][mM][lL]"))
    ):
        annotations = None
    if annotations is not None and pictures is not None:
        return Layout(annotations, pictures)
    for place in (folder, annotations, pictures):
        files = [] if place is None else _entries(place)
        endings = {path.suffix.lower() for path in files}
        if _XML_SUFFIX in endings and SUFFIXES & endings:
            return Layout(place or folder, place or folder)
    return None


def _first_named(folders: dict[str, Path], usual: str, names: Sequence[str]) -> Path | None:
    """The folder with the usual name, else the first one with one of `names` in any case."""
    if usual in folders:
        return folders[usual]
    lower = {name.lower(): path for name, path in folders.items()}
    return next((lower[name] for name in names if name in lower), None)


def scattered_layout(folder: Path) -> Layout | None:
    """The folders below `folder` that hold all its XML files and all its images, by any name.

    Each file goes with the image of its name; see `FileIndex.find_alike`.

    Raises:
        FolderError: there are more than _MAX_SCATTERED files; it may hold anything.
    """
    files, _ = walk_files(folder, limit=_MAX_SCATTERED)
    annotations = [path for path in files if path.suffix.lower() == _XML_SUFFIX]
    pictures = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not pictures or not any(map(_is_annotation, annotations[:_LOOKED_AT])):
        return None
    return Layout(_common_folder(annotations), _common_folder(pictures))


def _is_annotation(path: Path) -> bool:
    return _ROOT.search(read_beginning(path, _BEGINNING)) is not None


def _common_folder(paths: Sequence[Path]) -> Path:
    return Path(commonpath({str(path.parent) for path in paths}))


def split_layouts(folder: Path) -> dict[str, Layout]:
    """The layouts in the folders of the splits, such as train/ and valid/, by split.

    A folder whose name has a split in it, such as flowers-train/, counts where it is the only one.
    """
    folders = [path for path in _entries(folder) if os.path.isdir(path)]
    layouts = {}
    for split in SPLITS:
        exact = [path for path in folders if canonical_split(path.name) == split]
        places = exact or [path for path in folders if split_in_name(path.name) == split]
        found = [
            each for place in places if (each := find_layout(place) or scattered_layout(place))
        ]
        if found and (exact or len(places) == 1):
            layouts[split] = found[0]
    return layouts


def split_subfolders(names: Sequence[str]) -> dict[str, list[str]]:
    """Names by split where each begins with the folder of a split, as in train/a; else empty."""
    splits: dict[str, list[str]] = {}
    for name in names:
        folder, separator, _ = name.partition("/")
        split = split_in_name(folder) if separator else None
        if split is None:
            return {}
        splits.setdefault(split, []).append(name)
    return splits


def split_lists(root: Path) -> dict[str, Path]:
    """The split lists by split: those in ImageSets/Main, else beside the other folders.

    The lists valid.txt and val_list.txt are of split val, unless there is val.txt too. Lists such
    as set_train.txt count where each is of a split of its own, as those of the classes are not.

    Lists that are not named like a split do not count where none is: CVAT's default.txt has all
    images.
    """
    names = [name for spellings in SPLITS.values() for name in spellings]
    usual = {f"{name}{ending}.txt" for name in names for ending in ("", _LIST)}
    for folder in _LIST_FOLDERS:
        lists = [path for path in _entries(root / folder) if path.suffix.lower() == ".txt"]
        if any(path.name.lower() in usual for path in lists):
            return _by_split(lists)
        splits = [split_in_name(path.stem) for path in lists]
        if lists and None not in splits and len(set(splits)) == len(splits):
            return {split: path for split, path in zip(splits, lists, strict=True) if split}
    for folder in _OTHER_LIST_FOLDERS:
        if found := [path for path in _entries(root / folder) if path.name.lower() in usual]:
            return _by_split(found)
    return {}


def _by_split(lists: Sequence[Path]) -> dict[str, Path]:
    """Lists by the split that they are named after; by their own name if another list has it."""
    found: dict[str, Path] = {}
    for path in sorted(lists, key=lambda path: path.stem != canonical_split(path.stem)):
        split = canonical_split(path.stem.removesuffix(_LIST))
        found[path.stem if split in found else split] = path
    return found
