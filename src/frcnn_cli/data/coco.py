"""COCO: one JSON file of images, categories and annotations, with the image files beside it.

COCO's boxes are (x, y, width, height), continuous, from 0. The dialects of other programs are read
too: ids that are texts, objects that have an outline only, images without objects, and Roboflow's
folders train, valid and test with a file in each.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import DataError, UnlabelledError, counted
from ..runtime.safe_read import is_inside, number, read_beginning, read_json
from .annotation import Annotation
from .box_forms import true_form
from .dataset import Dataset
from .foreign import describe_foreign
from .locate import local_name, locate_images, searchable
from .number_text import number_or_text
from .rle import box_numbers, enclosing_box, is_turned
from .splits import (
    choose_file,
    find_split_files,
    own_split,
    split_in_name,
    split_of_file,
    unsplit_notes,
)

HINT = "expected COCO's images, categories and annotations"
_MIN_SIDE = 1e-3  # pixels; COCO counts the smallest objects too
_MAX_ID = 1000  # letters; Python makes no number of more than 4300 digits
_BEGINNING = 2**18  # bytes in which one of COCO's lists begins
_WITHOUT_OBJECTS = ("image_info_", "captions_")  # of COCO's own files
_IMAGES = re.compile(r'"images"\s*:\s*\[')
# its list of annotations may come first; those of other programs have none of its keys
_ANNOTATIONS = re.compile(r'"annotations"\s*:\s*\[')
_KEYS = re.compile(r'"(image_id|category_id|segmentation)"')

_FALSE = ("0", "0.0", "false", "")

_Row = dict[str, Any]


class _Object(NamedTuple):
    name: str  # of its category
    box: list[float]  # x, y, width, height
    crowd: bool
    area: float  # square pixels of its outline; NaN where the file has none


class _Ids:
    """Ids in a file, which are numbers or texts; 7, 7.0 and "7" are the same."""

    def __init__(self) -> None:
        self._exact: dict[str, str] = {}
        self._numbers: dict[int, list[str]] = defaultdict(list)

    def add(self, key: str) -> None:
        self._exact[key] = key
        if key.isdecimal():
            self._numbers[int(key)].append(key)

    def find(self, value: object) -> str | None:
        """The id that a row refers to, None for an unknown one; "7" may stand for "007"."""
        key = _id(value)
        if key is None or key in self._exact:
            return key
        same = self._numbers.get(int(key), []) if key.isdecimal() and len(key) < 19 else []
        return same[0] if len(same) == 1 else None


def _id(value: object) -> str | None:
    """An id as a text; None where it is neither a text nor a whole number, or too long."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    text = str(value).strip()
    return text if 0 < len(text) <= _MAX_ID else None


def is_coco(path: Path) -> bool:
    """Whether a file begins like one in COCO's format; only its beginning is read."""
    if path.name.startswith(_WITHOUT_OBJECTS):
        return False
    beginning = read_beginning(path, _BEGINNING).lstrip()
    return beginning.startswith("{") and bool(
        _IMAGES.search(beginning) or (_ANNOTATIONS.search(beginning) and _KEYS.search(beginning))
    )


def find_coco_files(folder: Path) -> dict[str, list[Path]]:
    """The COCO files in a folder, by split; see `find_split_files`."""
    return find_split_files(folder, (".json",), is_coco)


def load_coco_folder(
    folder: Path, image_folder: Path | None, split: str | None, default_splits: Sequence[str]
) -> Dataset:
    """Read the COCO file of one split in a folder: annotations/instances_<split>.json,
    <split>/_annotations.coco.json or <split>.json.

    Args:
        image_folder: see `load_coco`.
        split: train, val (or valid) or test; see `choose_file`.
    Raises:
        DataError: there is no file of that split; see `load_coco` for others.
    """
    name = f"coco:{folder.resolve().name}"
    files = find_coco_files(folder)
    path = choose_file(name, files, split, default_splits)
    dataset, chosen = load_coco(path, image_folder, folder), own_split(path, folder)
    notes = (*dataset.notes, *unsplit_notes(files, chosen, path))
    return replace(dataset, name=name, split=chosen, notes=notes)


def load_coco(path: Path, image_folder: Path | None, root: Path | None = None) -> Dataset:
    """Read a COCO file; classes are its categories, in the order of their ids.

    Args:
        path: the JSON file, such as annotations/instances_val2017.json.
        image_folder: the folder of the images; None: they are looked for near `path`, in the usual
            folders (see `_image_folders`).
        root: the folder of the data set, where they are looked for next.
    Raises:
        DataError: the file cannot be read or is not in COCO's format; or an annotation names an
            unknown image or category, or has a box that is not four numbers.
    """
    content = read_json(path, HINT)
    images, image_notes = _read_images(content, path)
    names, similar, class_notes = _read_categories(content, path)
    objects, object_notes = _read_objects(content, path, images, names)
    folders, usual = _image_folders(path, image_folder)
    file_names = [_file_name(row) for row in images.values()]
    split = own_split(path, root)
    root = searchable(root or image_folder or path.parent)
    paths, path_notes = locate_images(file_names, folders, usual, root, split)
    # where a file has another size than its row says, Dataset.ground_truth scales the boxes
    annotations = tuple(_annotation(row, objects[id_]) for id_, row in images.items())
    annotations, form_notes = true_form(annotations, paths, has_sides=True)
    numbered = all(category.isdecimal() for category in names)
    return Dataset(
        name="coco",
        split=path.stem if split_in_name(path.stem) else split_of_file(path),
        classes=tuple(names.values()),
        ids=tuple(images),
        paths=tuple(paths),
        annotations=annotations,
        min_side=_MIN_SIDE,
        similar=similar,
        category_ids={name: int(id_) for id_, name in names.items()} if numbered else {},
        notes=(*image_notes, *class_notes, *object_notes, *path_notes, *form_notes),
    )


def _rows(content: Any, key: str, path: Path) -> list[_Row]:
    rows = content.get(key) if isinstance(content, dict) else None
    if rows is None and key == "annotations":
        raise UnlabelledError(f"{path} has no list of annotations", HINT)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path} has no list of {key}", describe_foreign(path) or HINT)
    return rows


def _file_name(row: _Row) -> str:
    """The file name of an image, empty where it has none.

    LVIS has only an address, whose end is folder and file; other tools have other keys.
    """
    for key in ("file_name", "filename", "coco_url", "flickr_url"):
        if isinstance(value := row.get(key), str):
            name = local_name(value)
            return "/".join(name.split("/")[-2:]) if key.endswith("_url") else name
    return ""


def _read_images(content: Any, path: Path) -> tuple[dict[str, _Row], tuple[str, ...]]:
    """The entries of `images` by image id, and notes."""
    images: dict[str, _Row] = {}
    files: dict[str, str] = {}
    repeated = 0
    for row in _rows(content, "images", path):
        file_name, image_id = _file_name(row), _id(row.get("id"))
        if not file_name and image_id is None:
            raise DataError(
                f"{path}: its images have neither file_name nor id", describe_foreign(path) or HINT
            )
        if not is_inside(file_name):
            raise DataError(
                f"{path}: image {row.get('id')!r:.80} has no file name: "
                f"{row.get('file_name')!r:.200}",
                "name the files relative to the folder, which goes with --data",
            )
        if image_id is None:
            raise DataError(
                f"{path}: image id {row.get('id')!r:.80} is no number or text of up to {_MAX_ID} "
                "letters",
                HINT,
            )
        if image_id in images:
            if _file_name(images[image_id]) != file_name:
                raise DataError(
                    f"{path}: image id {image_id} is not unique: "
                    f"{_file_name(images[image_id])} and {file_name} have it",
                    "give every image an id of its own",
                )
            repeated += 1
            continue
        if files.setdefault(file_name, image_id) != image_id:
            raise DataError(
                f"{path}: {file_name} is listed twice, as images {files[file_name]} and {image_id}",
                "list every image once",
            )
        images[image_id] = row
    if not images:
        raise DataError(f"{path} lists no images", HINT)
    again = counted(repeated, "image that is", "images that are")
    note = f"{path.name}: left out {again} listed again"
    return images, (note,) if repeated else ()


def _read_categories(
    content: Any, path: Path
) -> tuple[dict[str, str], tuple[tuple[str, ...], ...], tuple[str, ...]]:
    """Class names by category id, the groups of names with a common supercategory, and notes.

    Left out are categories without objects that are only the group of others, as in Roboflow's
    exports, or that have the name of another category.
    """
    rows = _rows(content, "categories", path)
    rows = sorted(rows, key=lambda row: (number(row.get("id")), str(row.get("id"))))
    ids = _Ids()
    for row in rows:
        category, name = _id(row.get("id")), row.get("name")
        if category is None or _id(name) is None:
            raise DataError(f"{path}: a category has no id or no name: {row!r:.80}", HINT)
        ids.add(category)
    rows = [{**row, "name": _id(row["name"])} for row in rows]
    annotations = content.get("annotations")
    used = {
        ids.find(row.get("category_id"))
        for row in (annotations if isinstance(annotations, list) else ())
        if isinstance(row, dict)
    }
    counts = Counter(row["name"] for row in rows)
    names: dict[str, str] = {}
    taken: set[str] = set()  # its values
    groups: dict[str, list[str]] = defaultdict(list)
    left_out = []
    parents = Counter(str(row["supercategory"]) for row in rows if _is_text(row, "supercategory"))
    for row in rows:
        category, name = _id(row["id"]) or "", row["name"]
        if category not in used and (counts[name] > 1 or _is_root(row, parents)):
            counts[name] -= 1
            left_out.append(name)
            continue
        if category in names or name in taken:
            raise DataError(f"{path}: category {name!r} ({category}) occurs twice", HINT)
        names[category] = name
        taken.add(name)
        if _is_text(row, "supercategory"):
            groups[row["supercategory"]].append(name)
    notes = [
        f"{path.name}: left out the category {name!r}, a group of others without objects"
        for name in left_out[:5]
    ]
    similar = tuple(tuple(group) for group in groups.values() if len(group) > 1)
    return names, similar, tuple(notes)


def _is_text(row: _Row, key: str) -> bool:
    return isinstance(row.get(key), str)


def _is_root(row: _Row, parents: Counter[str]) -> bool:
    """Whether a category is only the group of others.

    Args:
        parents: how often each name is a supercategory.
    """
    own, name = row.get("supercategory"), row["name"]
    return own in (None, "", "none", name) and parents[name] > (own == name)


def _read_objects(
    content: Any, path: Path, images: dict[str, _Row], names: dict[str, str]
) -> tuple[dict[str, list[_Object]], tuple[str, ...]]:
    """The annotated objects by image id, and notes."""
    image_ids, category_ids = _Ids(), _Ids()
    for key in images:
        image_ids.add(key)
    for key in names:
        category_ids.add(key)
    by_name = {name: key for key, name in names.items()}
    objects: dict[str, list[_Object]] = defaultdict(list)
    counts: Counter[str] = Counter()
    for row in _rows(content, "annotations", path):
        image_id, category = image_ids.find(row.get("image_id")), row.get("category_id")
        label = f"{path}: annotation {row.get('id')!r:.80}"
        if image_id is None or image_id not in images:
            raise DataError(
                f"{label} names an unknown image {row.get('image_id')!r:.80}",
                "list the image under images, or remove the annotation",
            )
        class_id = category_ids.find(category)
        if class_id not in names and isinstance(category, str):
            class_id = by_name.get(category, class_id)
        if class_id is None or class_id not in names:
            raise DataError(
                f"{label} names an unknown category {category!r:.80}",
                "list the category under categories, or remove the annotation",
            )
        box = row.get("bbox") or None
        if box is None or box == [0, 0, 0, 0]:  # which some tools write where it is not known
            outline = enclosing_box(row.get("segmentation"))
            counts["outline"] += outline is not None
            box = outline or box
            if box is None:
                counts["none"] += 1
                continue
        box = box_numbers(box, row.get("attributes"))
        if box is None or min(box[2:]) < 0:
            raise DataError(
                f"{label} has no box [x, y, width, height]: {row.get('bbox')!r:.200}", HINT
            )
        counts["empty"] += min(box[2:]) == 0
        counts["turned"] += is_turned(row.get("attributes"))
        crowd = str(row.get("iscrowd") or row.get("ignore") or 0).strip().lower() not in _FALSE
        objects[image_id].append(_Object(names[class_id], box, crowd, number(row.get("area"))))
    if not objects:
        raise UnlabelledError(f"{path} has no annotations with a box", HINT)
    sentences = {
        "none": ("left out", "annotation without a box", "annotations without a box"),
        "outline": ("took the box around the outline of", "annotation", "annotations"),
        "turned": ("took the box around", "box that is turned", "boxes that are turned"),
        "empty": ("left out", "box of no width or height", "boxes of no width or height"),
    }
    notes = [
        f"{path.name}: {verb} {counted(counts[key], singular, plural)}"
        for key, (verb, singular, plural) in sentences.items()
        if counts[key]
    ]
    return objects, tuple(notes)


def _annotation(row: _Row, objects: list[_Object]) -> Annotation:
    height, width = number_or_text(row.get("height")), number_or_text(row.get("width"))
    boxes = np.array([each.box for each in objects], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    box_areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    areas = np.array([each.area for each in objects], np.float64)
    crowds = np.array([each.crowd for each in objects], np.bool_)
    return Annotation(
        size=(int(height), int(width)) if height > 0 and width > 0 else None,
        names=tuple(each.name for each in objects),
        boxes=boxes.astype(np.float32),
        difficult=crowds,
        areas=np.where(np.isnan(areas), box_areas, areas).astype(np.float32),
        crowds=crowds if crowds.any() else None,
    )


def _image_folders(path: Path, image_folder: Path | None) -> tuple[list[Path], Path]:
    """The folders that may hold the images, and the one to name where none has them.

    They are the folder of the JSON file and its parent, and their folders named images, JPEGImages
    or like the split. The last resort is COCO's own folder (val2017/ for
    annotations/instances_val2017.json).
    """
    if image_folder is not None:
        return [image_folder, image_folder / "images"], image_folder
    split = path.stem.rpartition("_")[2]
    parents = (path.parent, path.parent.parent)
    of_split = (split, f"images/{split}", f"{split}/images")
    below = ("", "images", *of_split, "JPEGImages", "data", "imgs")
    return [parent / name for parent in parents for name in below], path.parent.parent / split
