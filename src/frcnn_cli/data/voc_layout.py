"""The folders of a data set in VOC layout, as VOC itself and other programs name them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import DataError, SplitError
from .file_types import SUFFIXES
from .folders import is_hidden

_ANNOTATION_FOLDERS = ("annotations", "annotation", "annots", "xml", "xmls", "labels")
_IMAGE_FOLDERS = ("jpegimages", "images", "image", "imgs", "img", "jpegs", "jpg", "pngimages")
_LIST_FOLDERS = ("ImageSets/Main", "ImageSets", "imagesets/main", "imagesets", "Main")
# split -> names of its folder, or of its list beside the other folders
_SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "trainval": ("trainval",),
    "test": ("test", "testing"),
}
_SPELLINGS = {name: split for split, names in _SPLIT_NAMES.items() for name in names}
_XML_SUFFIX = ".xml"


class Layout(NamedTuple):
    """The folders of annotations and of images, which may be the same."""

    annotations: Path
    images: Path


def find_root(folder: Path, year: str | None = None) -> Path:
    """The folder of a data set in VOC layout: `folder`, or VOC<year> below it.

    Raises:
        DataError: there is no such folder.
    """
    candidates = [folder]
    if year is not None:
        candidates += [folder / f"VOC{year}", folder / "VOCdevkit" / f"VOC{year}"]
    for candidate in candidates:
        if find_layout(candidate) is not None or split_layouts(candidate):
            return candidate
    content = ", ".join(sorted(path.name for path in _entries(folder))[:8]) or "nothing"
    raise DataError(
        f"{folder} is not a data set in VOC layout: expected Annotations/ and JPEGImages/ in it "
        f"(or annotations/ and images/, XML files beside the images, or these in train/ and "
        f"valid/); it holds {content}",
        "give the folder with --data",
    )


def _entries(folder: Path) -> list[Path]:
    """The files and folders in a folder that are not hidden, sorted; none if it is no folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not is_hidden(path.name))


def find_layout(folder: Path) -> Layout | None:
    """The folders of annotations and images in a folder, which may be `folder` itself."""
    entries = _entries(folder)
    names = {path.name: path for path in entries if path.is_dir()}
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


def split_layouts(folder: Path) -> dict[str, Layout]:
    """The layouts in the folders of the splits, such as train/ and valid/, by split."""
    folders = {path.name.lower(): path for path in _entries(folder) if path.is_dir()}
    layouts = {}
    for split, names in _SPLIT_NAMES.items():
        place = next((folders[name] for name in names if name in folders), None)
        layout = None if place is None else find_layout(place)
        if layout is not None:
            layouts[split] = layout
    return layouts


def choose_folder(
    available: Mapping[str, object], name: str, split: str | None, default_splits: Sequence[str]
) -> str:
    """The split to load where each has a folder: `split`, else the first default one there is.

    Raises:
        SplitError: there is none of these.
    """
    wanted = [_SPELLINGS.get(each, each) for each in ([split] if split else default_splits)]
    chosen = next((each for each in wanted if each in available), None)
    if chosen is None:
        raise SplitError(
            f"{name} has no split {' or '.join(wanted)}", f"there are: {', '.join(available)}"
        )
    return chosen


def split_subfolders(names: Sequence[str]) -> dict[str, list[str]]:
    """Names by split where each begins with the folder of a split, as in train/a; else empty."""
    splits: dict[str, list[str]] = {}
    for name in names:
        folder, separator, _ = name.partition("/")
        if not separator or folder.lower() not in _SPELLINGS:
            return {}
        splits.setdefault(_SPELLINGS[folder.lower()], []).append(name)
    return splits


def split_lists(root: Path) -> dict[str, Path]:
    """The split lists by split: those in ImageSets/Main, else beside the other folders."""
    for folder in _LIST_FOLDERS:
        lists = {path.stem: path for path in _entries(root / folder) if path.suffix == ".txt"}
        if lists:
            return lists
    usual = {f"{name}.txt" for names in _SPLIT_NAMES.values() for name in names}
    return {path.stem: path for path in _entries(root) if path.name in usual}
