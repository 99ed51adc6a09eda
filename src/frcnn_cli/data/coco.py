"""COCO: one JSON file of images, categories and annotations, with the pictures beside it.

COCO's boxes are (x, y, width, height), continuous, from 0.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..runtime.safe_read import is_inside, number, numbers, read_json
from .dataset import Annotation, Dataset

HINT = "expected COCO's images, categories and annotations"
_MIN_SIDE = 1e-3  # pixels; COCO counts the smallest objects too


def load_coco(path: Path, pictures: Path | None) -> Dataset:
    """Read a COCO file; classes are its categories, in the order of their ids.

    Args:
        path: such as annotations/instances_val2017.json.
        pictures: the folder of the pictures; None looks beside the file, see `_folder`.
    Raises:
        DataError: not such a file, or an annotation of an unknown image or category, or without
            a box of four numbers.
    """
    content = read_json(path, HINT)
    images = _rows(content, "images", path)
    categories = _rows(content, "categories", path)
    names, groups = _names(categories, path)
    folder = None
    ids: dict[int, int] = {}
    for index, row in enumerate(images):
        file_name, image_id = row.get("file_name"), row.get("id")
        if not isinstance(file_name, str) or not is_inside(file_name):
            raise DataError(
                f"{path}: image {image_id!r} has no file name inside its folder: {file_name!r}",
                "name the files relative to the folder, which goes with --data",
            )
        if not isinstance(image_id, int) or image_id in ids:
            raise DataError(f"{path}: image id {image_id!r} is no number or not unique", HINT)
        ids[image_id] = index
    if not images:
        raise DataError(f"{path} lists no images", HINT)
    folder = pictures or _folder(path, images[0]["file_name"])
    objects: dict[int, list[tuple[str, list[float], bool, float]]] = defaultdict(list)
    for row in _rows(content, "annotations", path):
        image_id, category = row.get("image_id"), row.get("category_id")
        where = f"{path}: annotation {row.get('id')!r}"
        if not isinstance(image_id, int) or image_id not in ids:
            raise DataError(f"{where} is of an unknown image {image_id!r}", HINT)
        if not isinstance(category, int) or category not in names:
            raise DataError(f"{where} is of an unknown category {category!r}", HINT)
        box = numbers(row.get("bbox"), 4)
        if box is None or min(box[2:]) < 0:
            raise DataError(f"{where} has no box [x, y, width, height]: {row.get('bbox')!r}", HINT)
        area = number(row.get("area"))
        crowd = bool(row.get("iscrowd"))
        objects[image_id].append((names[category], box, crowd, area))
    if not objects:
        raise DataError(f"{path} has no annotations", HINT)
    return Dataset(
        "coco",
        path.stem,
        tuple(names.values()),
        tuple(str(image_id) for image_id in ids),
        tuple(folder / row["file_name"] for row in images),
        tuple(
            _annotation(row, objects[image_id]) for image_id, row in zip(ids, images, strict=True)
        ),
        _MIN_SIDE,
        groups,
        {name: number for number, name in names.items()},
    )


def _rows(content: Any, key: str, path: Path) -> list[dict[str, Any]]:
    rows = content.get(key) if isinstance(content, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path} has no list of {key}", HINT)
    return rows


def _names(
    categories: list[dict[str, Any]], path: Path
) -> tuple[dict[int, str], tuple[tuple[str, ...], ...]]:
    """Class names by category id, and the groups that share a supercategory."""
    names: dict[int, str] = {}
    groups: dict[str, list[str]] = defaultdict(list)
    for row in sorted(categories, key=lambda row: number(row.get("id"))):
        key, name = row.get("id"), row.get("name")
        if not isinstance(key, int) or not isinstance(name, str) or not name.strip():
            raise DataError(f"{path}: a category has no id or no name: {row!r:.80}", HINT)
        if key in names or name in names.values():
            raise DataError(f"{path}: category {name!r} ({key}) is there twice", HINT)
        names[key] = name
        if isinstance(row.get("supercategory"), str):
            groups[row["supercategory"]].append(name)
    return names, tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _annotation(
    row: dict[str, Any], objects: list[tuple[str, list[float], bool, float]]
) -> Annotation:
    height, width = number(row.get("height")), number(row.get("width"))
    boxes = np.array([box for _, box, _, _ in objects], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    own = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    areas = np.array([area for _, _, _, area in objects], np.float64)
    return Annotation(
        (int(height), int(width)) if height > 0 and width > 0 else None,
        tuple(name for name, _, _, _ in objects),
        boxes.astype(np.float32),
        np.array([crowd for _, _, crowd, _ in objects], np.bool_),
        np.where(np.isnan(areas), own, areas).astype(np.float32),
    )


def _folder(path: Path, first: str) -> Path:
    """Where the first picture is: beside the file, in images/, or in a folder of the split's name.

    The usual place (annotations/instances_val2017.json, val2017/) where there is none.
    """
    split = path.stem.rpartition("_")[2]
    parents = (path.parent, path.parent.parent)
    inside = ("", "images", split, f"images/{split}", "JPEGImages")
    candidates = [parent / name for parent in parents for name in inside]
    usual = path.parent.parent / split
    return next((folder for folder in candidates if (folder / first).is_file()), usual)
