"""CSV: one row for each box, with the image, the class and the corners.

Columns are found by their usual names (TensorFlow's tutorials, Roboflow, OpenImages, Kaggle, the
VGG Image Annotator); a file without a header has keras-retinanet's columns. Where no column has
classes, all objects are of one. Coordinates are taken as they are, continuous from 0; where all are
fractions of 1, they are multiplied by the sides of the image.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, counted, short_list
from ..runtime.csv_cells import plain_text
from ..runtime.safe_read import read_beginning, read_text
from .annotation import Annotation
from .annotation_size import (
    CORNERS,
    FRACTIONS,
    are_corners,
    are_fractions,
    from_corners,
    scale_fractions,
)
from .dataset import Dataset
from .locate import local_name, locate_images, searchable
from .splits import choose_file, find_split_files, hash_split, own_split, split_of_file

HINT = "expected the columns filename, class, xmin, ymin, xmax, ymax"
# column -> its spellings, without capitals, blanks and _
_SPELLINGS = {
    "image": "filename image path imagepath imagename imgpath imgname file filepath imageid img "
    "frame imagefile imagefilename",
    "label": "class label classname labelname name category categoryname",
    "number": "classid labelid categoryid classno classindex",
    "x1": "xmin x1 left bboxx1 boxxmin minx bboxxmin x0 xtopleft roix1 bndboxxmin",
    "y1": "ymin y1 top bboxy1 boxymin miny bboxymin y0 ytopleft roiy1 bndboxymin",
    "x2": "xmax x2 right bboxx2 boxxmax maxx bboxxmax xbottomright roix2 bndboxxmax",
    "y2": "ymax y2 bottom bboxy2 boxymax maxy bboxymax ybottomright roiy2 bndboxymax",
    "box": "bbox",
    "cx": "xcenter xcentre centerx cx",
    "cy": "ycenter ycentre centery cy",
    "shape": "regionshapeattributes",
    "attributes": "regionattributes",
    "x": "x bboxx boxx",
    "y": "y bboxy boxy",
    "w": "w bboxw bboxwidth boxwidth boxw",
    "h": "h bboxh bboxheight boxheight boxh",
    "width": "width imagewidth imgwidth",
    "height": "height imageheight imgheight",
    "difficult": "difficult isgroupof iscrowd",
    "score": "score confidence probability",
}
_COLUMNS = {each: key for key, names in _SPELLINGS.items() for each in names.split()}
_FORMS = (
    ("x1", "y1", "x2", "y2"), ("x", "y", "w", "h"), ("cx", "cy", "w", "h"), ("box",), ("shape",),
)  # fmt: skip
_ONE_CLASS = "object"  # the class where a file has no column of classes
_HEADERLESS = ("image", "x1", "y1", "x2", "y2", "label")
_EMPTY = frozenset({"", "nan", "none", "null", "na"})  # cells without a value
_BEGINNING = 2**16  # bytes that hold the header


@dataclass(frozen=True, kw_only=True)
class _Box:
    label: str
    corners: tuple[float, float, float, float]
    difficult: bool


@dataclass(frozen=True, kw_only=True)
class _Table:
    """The rows of a file by image."""

    boxes: dict[str, list[_Box]]  # an image without objects has none
    sizes: dict[str, tuple[int, int]]  # (height, width) of images, where the file gives them
    notes: tuple[str, ...]
    has_lists: bool  # the boxes are lists in one column

    @property
    def classes(self) -> set[str]:
        return {box.label for box in chain.from_iterable(self.boxes.values())}


def is_csv_of_boxes(path: Path) -> bool:
    """Whether the first line of a file names the columns of boxes, or is a row of keras-retinanet's
    form; False for files with scores, which may be a detector's, unless they say which objects are
    difficult: OpenImages has the confidence of its annotators."""
    columns = _columns(read_beginning(path, _BEGINNING).partition("\n")[0].strip())
    return columns is not None and ("score" not in columns[1] or "difficult" in columns[1])


def find_csv_files(folder: Path) -> dict[str, list[Path]]:
    """The files of boxes in a folder, by split; see `find_split_files`."""
    return find_split_files(folder, ".csv", is_csv_of_boxes)


def load_csv(
    file_or_folder: Path,
    image_folder: Path | None,
    split: str | None,
    default_splits: Sequence[str],
) -> Dataset:
    """Read a CSV file of boxes, or that of one split in a folder; classes are sorted by name.

    Args:
        file_or_folder: FILE or DIR of csv:FILE and csv:DIR.
        image_folder: the folder of the images; None: they are looked for near the file.
        split: of a folder: train, val or test; of a file: train or val, see `hash_split`.
    Raises:
        DataError: there is no such file, a column is missing, or a row holds no box.
    """
    name = f"csv:{file_or_folder.resolve().name}"
    is_folder = file_or_folder.is_dir()
    files = find_csv_files(file_or_folder) if is_folder else {"all": [file_or_folder]}
    path, by_content = choose_file(name, files, split, default_splits)
    # A class may be missing from this split; labels must be the same in every split.
    others = [each for each in chain.from_iterable(files.values()) if each != path]
    table = _read(path)
    classes = table.classes.union(*(_read(each).classes for each in others))
    if not classes:
        raise DataError(f"{path} has no boxes", HINT)
    names = list(table.boxes)
    folders = [image_folder] if image_folder else _folders(path)
    paths, path_notes = locate_images(
        [local_name(each) for each in names],
        folders,
        folders[0],
        searchable(image_folder or (file_or_folder if is_folder else path.parent)),
    )
    annotations, notes = tuple(_annotation(table, each) for each in names), []
    if table.has_lists and are_corners(annotations, paths):
        annotations, notes = from_corners(annotations), [CORNERS]
    if are_fractions(annotations):
        annotations, notes = scale_fractions(annotations, paths), [*notes, FRACTIONS]
    stems = [Path(each.replace("\\", "/")).stem for each in names]
    dataset = Dataset(
        name=name,
        split=own_split(path) if is_folder else "all",
        classes=tuple(sorted(classes)),
        ids=tuple(stems if len(set(stems)) == len(stems) else names),
        paths=tuple(paths),
        annotations=annotations,
        notes=(*table.notes, *path_notes, *notes),
    )
    return dataset if by_content is None else hash_split(dataset, by_content)


def _folders(path: Path) -> list[Path]:
    """Where the images of a file may be."""
    parents = (path.parent, path.parent.parent)
    split = split_of_file(path)
    below = ("", "images", split, f"images/{split}", "JPEGImages", "data", path.stem)
    return [parent / name for parent in parents for name in below]


def _columns(first: str) -> tuple[str, tuple[str | None, ...], bool] | None:
    """The separator of the first line, its columns, and whether it is a header.

    Returns:
        None if the line is neither a header with all columns nor a row of the form without one.
    """
    separator = max(",;\t", key=first.count)
    cells = next(csv.reader([first], delimiter=separator), [])
    keys = [_COLUMNS.get("".join(c for c in each.lower() if c.isalnum())) for each in cells]
    keys = [key if keys.index(key) == i else None for i, key in enumerate(keys)]
    if not {"x2", "box", "shape"} & set(keys):  # then left and top go with the sides of the box
        sides = {} if "w" in keys else {"width": "w", "height": "h"}
        renamed = {"x1": "x", "y1": "y"} | sides
        keys = [renamed.get(key or "", key) for key in keys]
    if "label" not in keys:
        keys = ["label" if key == "number" else key for key in keys]
    if "image" in keys and any(set(keys).issuperset(form) for form in _FORMS):
        return separator, tuple(keys), True
    empty = len(cells) == 6 and not any(cells[1:]) and cells[0]
    if len(cells) == 6 and (empty or (_floats(cells[1:5]) and not _floats(cells[5:]))):
        return separator, _HEADERLESS, False
    return None


def _floats(cells: Sequence[str]) -> list[float] | None:
    """The numbers in some cells, where a comma may be the decimal point; None if one has none."""
    try:
        values = [float(cell.replace(",", ".")) for cell in cells]
    except ValueError:
        return None
    return values if np.isfinite(values).all() and np.abs(values).max() < 1e6 else None


def _read(path: Path) -> _Table:
    lines = read_text(path, HINT).split("\n")
    columns = _columns(lines[0].strip())
    if columns is None:
        raise DataError(f"{path} has no columns of boxes: {lines[0]!r:.120}", HINT)
    separator, keys, has_header = columns
    form = next(form for form in _FORMS if set(keys).issuperset(form))
    boxes: dict[str, list[_Box]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    rows = csv.reader(lines, delimiter=separator)
    header = next(csv.reader(lines[:1], delimiter=separator), [])
    try:
        for cells in rows:
            if not any(cells) or (has_header and (rows.line_num == 1 or cells == header)):
                continue
            row = {
                key: ""
                if cell.strip().lower() in _EMPTY and key not in ("image", "label")
                else cell
                for key, cell in zip(keys, map(str.strip, cells), strict=False)
                if key
            }
            row |= {key: plain_text(row[key]) for key in ("image", "label") if key in row}
            image, where = row.get("image"), f"{path}:{rows.line_num}"
            if not image or "\0" in image:
                raise DataError(f"{where}: no image", "mend the row")
            own = boxes.setdefault(image, [])
            if (box := _parse_box(row, form, where)) is not None:
                own.append(box)
            size = _floats([row.get("height", ""), row.get("width", "")])
            if size is not None and min(size) >= 1:
                sizes[image] = (int(size[0]), int(size[1]))
    except csv.Error as error:
        raise DataError(f"{path}:{rows.line_num}: {error}", HINT) from None
    notes = []
    if empty := sum(not each for each in boxes.values()):
        of = counted(empty, "image", "images")
        notes.append(f"{path.name}: took {of} without a box for background")
    if "label" not in keys:
        notes.append(f"{path.name} has no column of classes: all objects are of {_ONE_CLASS!r}")
    if "score" in keys:
        notes.append(f"{path.name} has scores, which are ignored: every box counts as an object")
    return _Table(boxes=boxes, sizes=sizes, notes=tuple(notes), has_lists="box" in keys)


def _parse_box(row: dict[str, str], form: tuple[str, ...], where: str) -> _Box | None:
    """The box of a row in one of _FORMS; None for a row that only names an image."""
    cells = [row.get(key, "") for key in form]
    if not any(cells):
        return None
    if form == ("shape",):
        cells = _via_cells(cells[0])
        row = {**row, "label": _via_label(row.get("attributes", ""))}
    elif form == ("box",):
        cells = cells[0].strip("[]() ").replace(",", " ").split()
    if not any(cells):
        return None
    values = _floats(cells)
    if values is None or len(values) != 4:
        raise DataError(f"{where}: expected four numbers of a box, got {cells}", "mend the row")
    if not row.get("label", _ONE_CLASS):
        raise DataError(f"{where}: the box has no class", "mend the row")
    x1, y1, x2, y2 = values
    if "cx" in form:
        x1, y1 = x1 - x2 / 2, y1 - y2 / 2
    if "x2" not in form:
        x2, y2 = x1 + x2, y1 + y2
    if (x2 < x1 or y2 < y1) and "x2" in form:
        raise DataError(
            f"{where}: expected xmin < xmax and ymin < ymax, got {short_list(cells)}",
            "mend the row",
        )
    difficult = row.get("difficult", "").lower() in ("1", "1.0", "true", "yes")
    return _Box(label=row.get("label", _ONE_CLASS), corners=(x1, y1, x2, y2), difficult=difficult)


def _via_cells(text: str) -> list[str]:
    """Corner and sides of a rectangle of the VGG Image Annotator; empty for {}, no region."""
    shape = _json(text)
    return [str(shape.get(key, "")) for key in ("x", "y", "width", "height")] if shape else [""] * 4


def _via_label(text: str) -> str:
    """The class of a region: the only attribute, or the one that is called like a class."""
    attributes = {key: value for key, value in _json(text).items() if isinstance(value, str)}
    named = [value for key, value in attributes.items() if _COLUMNS.get(key.lower()) == "label"]
    values = named or list(attributes.values())
    return values[0] if len(values) == 1 else _ONE_CLASS if not values else ""


def _json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {"x": text}  # no box: it is refused by name
    return value if isinstance(value, dict) else {}


def _annotation(table: _Table, name: str) -> Annotation:
    own = table.boxes[name]
    return Annotation(
        size=table.sizes.get(name),
        names=tuple(box.label for box in own),
        boxes=np.array([box.corners for box in own], np.float32).reshape(-1, 4),
        difficult=np.array([box.difficult for box in own], np.bool_),
    )
