"""Recognises the format of a data set by what its folder or file holds."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ..errors import DataError
from ..runtime.safe_read import read_beginning
from .coco import find_coco_files, is_coco
from .csv_boxes import SUFFIXES as CSV_SUFFIXES
from .csv_boxes import find_csv_files
from .csv_columns import is_csv_of_boxes
from .file_types import SUFFIXES
from .folders import (
    FolderError,
    count_endings,
    files_around,
    folders_in,
    is_hidden,
    list_folder,
    walk_files,
)
from .foreign import describe_foreign
from .splits import find_split_files, split_in_name
from .tools import TOOLS, find_tool
from .voc_layout import (
    MAX_FOLDERS,
    MAX_LEVELS,
    find_layout,
    find_root,
    several_data_sets,
    split_layouts,
)
from .yolo_labels import TEXT
from .yolo_rows import begins_with_row
from .yolo_settings import find_darknet, find_names, find_settings, read_settings

_LOOKED_FOR = (
    "looked for VOC (Annotations/*.xml with JPEGImages/), COCO (a .json file with images, "
    "categories and annotations), YOLO (data.yaml with names, classes.txt or obj.names, with .txt "
    "files of boxes), CSV (a .csv file with columns like filename, class, xmin, ymin, xmax, ymax)"
)
_UNNAMED = (
    "it seems to be YOLO's, but names no classes: write them into classes.txt in this folder, one "
    "a line, the one with the number 0 first"
)
_BEGINNING = 2**12  # bytes
_OTHER_XML = re.compile(r"\s*(<[?!][^>]*>\s*)*<(annotations|dataset)[\s>]")  # of CVAT, of dlib
# where XML files may be, below the folder
_XML_PLACES = tuple("*/" * levels for levels in range(6))  # as deep as those of ImageNet
_MAX_TEXTS = 200  # that are looked at
_MAX_WALKED = 10_000  # folders that are searched for pictures


class Recognised(NamedTuple):
    """A data set that was found in a file or folder."""

    format: str  # key in FORMATS
    description: str  # what the format is known by
    path: Path  # of the data set: the file or folder itself, or a folder in it


def recognise(path: Path) -> Recognised:
    """Find a data set and its format in a file or folder; see `find_dataset`.

    Raises:
        DataError: the file or folder has no known format, fits several, or holds several data sets.
    """
    if path.is_dir():
        path = find_dataset(path)
    fits, crowded = _fits(path)
    if not fits and crowded is None and (tool := find_tool(path)):
        fits = {tool: TOOLS[tool].title}
    if len(fits) == 1:
        return Recognised(*next(iter(fits.items())), path)
    if crowded is not None and not fits:
        raise crowded
    if not fits:
        raise DataError(
            f"{path} is no data set of a known format",
            describe_foreign(path)
            or (_UNNAMED if _has_label_texts(path) else f"{_LOOKED_FOR}; it holds {_holds(path)}"),
        )
    listed = "; ".join(f"{name}: {text}" for name, text in fits.items())
    raise DataError(
        f"{path} can be read in {len(fits)} ways: {listed}",
        f"choose one: {', '.join(f'{name}:{path}' for name in fits)}",
    )


def _holds(folder: Path) -> str:
    return count_endings(walk_files(folder)[0])


def _fits(path: Path) -> tuple[dict[str, str], FolderError | None]:
    """What a file or folder is known by in each format that it fits; and the error of a format for
    which too many files would have to be looked at."""
    fits, crowded = {}, None
    for name, check in (_FOLDER_CHECKS if path.is_dir() else _FILE_CHECKS).items():
        try:
            if text := check(path):
                fits[name] = text
        except FolderError as error:
            crowded = error
    return fits, crowded


def find_dataset(folder: Path) -> Path:
    """The only folder with a known format in `folder`: itself, or one at most three levels below.

    Archives are often unpacked into a folder of their own name.

    Raises:
        DataError: several folders have a known format.
    """
    try:
        if _has_usual_layout(folder) or any(map(_is_picture, list_folder(folder))):
            return folder
    except FolderError:  # it is raised again when the folder is read
        return folder
    level, found = [folder], list[Path]()
    for _ in range(MAX_LEVELS):
        level = [each for one in level for each in folders_in(one)][:MAX_FOLDERS]
        fits = [each for each in level if _may_be_data_set(each)]
        above = {each.parent for each in fits}
        if len(fits) > 1 and len(above) == 1 and all(split_in_name(each.name) for each in fits):
            fits = [above.pop()]  # they are its splits
        found += fits
        level = [each for each in level if not any(map(each.is_relative_to, fits))]
    if len(found) > 1:
        raise several_data_sets(folder, found)
    return found[0] if found else _below_sole_folders(folder)


def _below_sole_folders(folder: Path) -> Path:
    """The folder, or the one in it that archives are often unpacked into: while a folder holds one
    folder alone, which is of no split, it is that one."""
    for _ in range(MAX_LEVELS):
        try:
            entries = [each for each in list_folder(folder) if not is_hidden(each.name)]
        except FolderError:
            break
        if len(entries) != 1 or not os.path.isdir(entries[0]) or split_in_name(entries[0].name):
            break
        folder = entries[0]
    return folder


def _may_be_data_set(folder: Path) -> bool:
    """Whether a folder has a usual layout, and pictures; False for one that may not be looked
    into."""
    try:
        return _has_usual_layout(folder) and _holds_pictures(folder)
    except FolderError:
        return False


def _holds_pictures(folder: Path) -> bool:
    looked_at = islice(os.walk(folder, followlinks=True), _MAX_WALKED)  # circles end there
    return any(_is_picture(Path(name)) for _, _, names in looked_at for name in names)


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not is_hidden(path.name)


def _has_usual_layout(folder: Path) -> bool:
    """Whether the files of a data set are where one looks for them, not deeper."""
    return bool(
        find_split_files(folder, (".json",), is_coco, is_deep=False)
        or find_split_files(folder, CSV_SUFFIXES, is_csv_of_boxes, is_deep=False)
        or _yolo(folder)
        or ((find_layout(folder) or split_layouts(folder)) and _voc(folder))
    )


def fits_any_format(path: Path) -> bool:
    """Whether a file or folder is a data set, or holds one, in a known format or several."""
    try:
        path = find_dataset(path) if path.is_dir() else path
    except DataError:
        return False
    fits, crowded = _fits(path)
    return bool(fits) or (crowded is None and bool(find_tool(path)))


def _voc(folder: Path) -> str:
    try:
        root = find_root(folder)
    except FolderError:
        raise
    except DataError:
        return ""
    found = (next(root.glob(f"{below}[!.]*.[xX][mM][lL]"), None) for below in _XML_PLACES)
    first = next(filter(None, found), None)
    is_other = first is not None and _OTHER_XML.match(read_beginning(first, _BEGINNING))
    return "XML files of annotations" if first and not is_other else ""


def _coco(folder: Path) -> str:
    files = [path for paths in find_coco_files(folder).values() for path in paths]
    return f"{_names(folder, files)} with COCO's lists" if files else ""


def _csv(folder: Path) -> str:
    files = [path for paths in find_csv_files(folder).values() for path in paths]
    return f"{_names(folder, files)} with columns of boxes" if files else ""


def _names(folder: Path, files: list[Path]) -> str:
    first = files[0].relative_to(folder)
    return str(first) if len(files) == 1 else f"{first} and {len(files) - 1} more"


def _yolo(folder: Path) -> str:
    try:
        file = find_settings(folder)
    except DataError:  # it is raised again when the folder is read
        return "several .yaml files"
    try:
        named = find_names(folder)
    except DataError:  # as before
        return "lists of classes" if _has_label_texts(folder) else ""
    settings = find_darknet(folder)
    try:
        source = file or named or settings
        if source is None:
            return ""
        classes = len(read_settings(folder).classes)
    except DataError:
        is_yolo = not _has_no_data_yaml(folder) or (named and _has_label_texts(folder))
        return (named.name if named else "data.yaml") if is_yolo else ""
    if file is None and settings is None and not _has_label_texts(folder):
        return ""
    return f"{source.name} with {classes} classes"


def _has_no_data_yaml(folder: Path) -> bool:
    """Whether a folder has no data.yaml, which would be YOLO's even if it is damaged."""
    return not any(os.path.isfile(folder / name) for name in ("data.yaml", "data.yml"))


def _has_label_texts(folder: Path) -> bool:
    """Whether there is labels/, or a text beside an image, in the folder or one below, or any text
    below it has rows of boxes."""
    if not folder.is_dir():
        return False
    below = [each for each in list_folder(folder) if os.path.isdir(each)]
    if any(os.path.isdir(each / "labels") for each in (folder, *below)):
        return True
    for each in (folder, *below):
        names = {entry.name for entry in list_folder(each) if not is_hidden(entry.name)}
        stems = {Path(name).stem for name in names if Path(name).suffix.lower() in SUFFIXES}
        if any(f"{stem}.txt" in names for stem in stems):
            return True
    texts = files_around(folder, TEXT)[:_MAX_TEXTS]  # some may be empty
    return any(begins_with_row(read_beginning(each, _BEGINNING)) for each in texts)


def _suffixed(*suffixes: str, text: str) -> Callable[[Path], str]:
    return lambda path: text if path.suffix.lower() in suffixes else ""


_FOLDER_CHECKS: dict[str, Callable[[Path], str]] = {
    "voc": _voc,
    "coco": _coco,
    "yolo": _yolo,
    "csv": _csv,
}
_FILE_CHECKS: dict[str, Callable[[Path], str]] = {
    "coco": lambda path: "COCO's lists" if is_coco(path) else "",
    "yolo": _suffixed(".yaml", ".yml", ".data", text="a file of settings"),
    "csv": lambda path: (
        "columns of boxes" if path.suffix.lower() in CSV_SUFFIXES and is_csv_of_boxes(path) else ""
    ),
}
