"""CSV: one row for each box, with the image, the class and the corners.

Columns are found by their usual names (TensorFlow's tutorials, Roboflow, OpenImages, Kaggle); a
file without a header has keras-retinanet's columns. Coordinates are taken as they are, continuous
from 0; where all are fractions of 1, they are multiplied by the sides of the image.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np

from ..errors import DataError, ImageError, counted, short_list
from ..runtime.csv_cells import plain_text
from ..runtime.safe_read import read_text
from . import images
from .dataset import Annotation, Dataset
from .locate import locate_images
from .splits import choose_file, find_split_files, hash_split, own_split, split_of_file

HINT = "expected the columns filename, class, xmin, ymin, xmax, ymax"
# column -> its spellings, without capitals, blanks and _
_SPELLINGS = {
    "image": "filename image path imagepath imagename imgpath imgname file filepath imageid img",
    "label": "class label classname labelname name category categoryname",
    "x1": "xmin x1 left bboxx1 boxxmin minx bboxxmin x0 xtopleft",
    "y1": "ymin y1 top bboxy1 boxymin miny bboxymin y0 ytopleft",
    "x2": "xmax x2 right bboxx2 boxxmax maxx bboxxmax xbottomright",
    "y2": "ymax y2 bottom bboxy2 boxymax maxy bboxymax ybottomright",
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
_HEADERLESS = ("image", "x1", "y1", "x2", "y2", "label")
_CORNERS, _SIDES = ("x1", "y1", "x2", "y2"), ("x", "y", "w", "h")
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

    @property
    def classes(self) -> set[str]:
        return {box.label for box in chain.from_iterable(self.boxes.values())}

    @cached_property
    def has_fractions(self) -> bool:
        """Whether all coordinates are fractions of the image's sides rather than pixels."""
        corners = [box.corners for box in chain.from_iterable(self.boxes.values())]
        return bool(corners) and np.min(corners) >= 0 and np.max(corners) <= 1


def is_csv_of_boxes(path: Path) -> bool:
    """Whether the first line of a file names the columns of boxes, or is a row of keras-retinanet's
    form; False for files with scores, which may be a detector's."""
    try:
        with path.open("rb") as file:
            first = file.read(_BEGINNING).decode("utf-8-sig", "replace").partition("\n")[0].strip()
    except OSError:
        return False
    columns = _columns(first)
    return columns is not None and "score" not in columns[1]


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
    paths, path_notes = locate_images(names, folders, folders[0])
    stems = [Path(each.replace("\\", "/")).stem for each in names]
    dataset = Dataset(
        name=name,
        split=own_split(path) if is_folder else "all",
        classes=tuple(sorted(classes)),
        ids=tuple(stems if len(set(stems)) == len(stems) else names),
        paths=tuple(paths),
        annotations=tuple(
            _annotation(table, each, file) for each, file in zip(names, paths, strict=True)
        ),
        notes=(*table.notes, *path_notes),
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
    if "x2" not in keys:  # then left and top go with the sides of the box
        sides = {} if "w" in keys else {"width": "w", "height": "h"}
        renamed = {"x1": "x", "y1": "y"} | sides
        keys = [renamed.get(key or "", key) for key in keys]
    known = set(keys)
    if {"image", "label"} <= known and (known.issuperset(_CORNERS) or known.issuperset(_SIDES)):
        return separator, tuple(keys), True
    empty = len(cells) == 6 and not any(cells[1:]) and cells[0]
    if len(cells) == 6 and (empty or (_floats(cells[1:5]) and not _floats(cells[5:]))):
        return separator, _HEADERLESS, False
    return None


def _floats(cells: Sequence[str]) -> list[float] | None:
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        return None
    return values if np.isfinite(values).all() and np.abs(values).max() < 1e6 else None


def _read(path: Path) -> _Table:
    lines = read_text(path, HINT).split("\n")
    columns = _columns(lines[0].strip())
    if columns is None:
        raise DataError(f"{path} has no columns of boxes: {lines[0]!r:.120}", HINT)
    separator, keys, has_header = columns
    boxes: dict[str, list[_Box]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    rows = csv.reader(lines, delimiter=separator)
    try:
        for cells in rows:
            if not any(cells) or (has_header and rows.line_num == 1):
                continue
            row = {key: cell.strip() for key, cell in zip(keys, cells, strict=False) if key}
            row |= {key: plain_text(row[key]) for key in ("image", "label") if key in row}
            image, where = row.get("image"), f"{path}:{rows.line_num}"
            if not image:
                raise DataError(f"{where}: no image", "mend the row")
            own = boxes.setdefault(image, [])
            if (box := _parse_box(row, where)) is not None:
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
    if "score" in keys:
        notes.append(f"{path.name} has scores, which are ignored: every box counts as an object")
    return _Table(boxes=boxes, sizes=sizes, notes=tuple(notes))


def _parse_box(row: dict[str, str], where: str) -> _Box | None:
    """The box of a row; None for a row that only names an image."""
    form = _CORNERS if "x2" in row else _SIDES
    cells = [row.get(key, "") for key in form]
    if not any(cells):
        return None
    values = _floats(cells)
    if values is None:
        raise DataError(f"{where}: expected four numbers of a box, got {cells}", "mend the row")
    if not row.get("label"):
        raise DataError(f"{where}: the box has no class", "mend the row")
    x1, y1, x2, y2 = values
    if form is _SIDES:
        x2, y2 = x1 + x2, y1 + y2
    if x2 < x1 or y2 < y1:
        raise DataError(
            f"{where}: expected xmin < xmax and ymin < ymax, got {short_list(cells)}",
            "mend the row",
        )
    difficult = row.get("difficult", "").lower() in ("1", "1.0", "true", "yes")
    return _Box(label=row["label"], corners=(x1, y1, x2, y2), difficult=difficult)


def _annotation(table: _Table, name: str, path: Path) -> Annotation:
    own = table.boxes[name]
    boxes = np.array([box.corners for box in own], np.float64).reshape(-1, 4)
    size = table.sizes.get(name)
    if table.has_fractions:
        try:
            height, width = images.read_layout(path).displayed_size
        except ImageError:  # it is raised again when the image or its objects are read
            height, width = 1, 1
        boxes, size = boxes * (width, height, width, height), None
    return Annotation(
        size=size,
        names=tuple(box.label for box in own),
        boxes=boxes.astype(np.float32),
        difficult=np.array([box.difficult for box in own], np.bool_),
    )
