"""COCO: one JSON file of images, categories and annotations, with the image files beside it.

COCO's boxes are (x, y, width, height), continuous, from 0.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import DataError
from ..runtime.safe_read import is_inside, number, numbers, read_json
from .dataset import Annotation, Dataset

HINT = "expected COCO's images, categories and annotations"
_MIN_SIDE = 1e-3  # pixels; COCO counts the smallest objects too


class _Object(NamedTuple):
    name: str  # of its category
    box: list[float]  # x, y, width, height
    crowd: bool
    area: float  # square pixels of its outline; NaN where the file has none


def load_coco(path: Path, image_folder: Path | None) -> Dataset:
    """Read a COCO file; classes are its categories, in the order of their ids.

    Args:
        path: the JSON file, such as annotations/instances_val2017.json.
        image_folder: the folder of the images; None: they are looked for near `path`, in the usual
            folders (see `_find_images`).
    Raises:
        DataError: the file cannot be read or is not in COCO's format; or an annotation names an
            unknown image or category, or has no box of four numbers.
    """
    content = read_json(path, HINT)
    images = _read_images(content, path)
    names, similar = _read_categories(content, path)
    objects = _read_objects(content, path, images, names)
    folder = image_folder or _find_images(path, next(iter(images.values()))["file_name"])
    return Dataset(
        name="coco",
        split=path.stem,
        classes=tuple(names.values()),
        ids=tuple(map(str, images)),
        paths=tuple(folder / row["file_name"] for row in images.values()),
        annotations=tuple(_annotation(row, objects[id_]) for id_, row in images.items()),
        min_side=_MIN_SIDE,
        similar=similar,
        category_ids={name: category for category, name in names.items()},
    )


def _rows(content: Any, key: str, path: Path) -> list[dict[str, Any]]:
    rows = content.get(key) if isinstance(content, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path} has no list of {key}", HINT)
    return rows


def _read_images(content: Any, path: Path) -> dict[int, dict[str, Any]]:
    """The entries of `images` by image id."""
    images: dict[int, dict[str, Any]] = {}
    for row in _rows(content, "images", path):
        file_name, image_id = row.get("file_name"), row.get("id")
        if not isinstance(file_name, str) or not is_inside(file_name):
            raise DataError(
                f"{path}: image {image_id!r} has no file name inside its folder: {file_name!r}",
                "name the files relative to the folder, which goes with --data",
            )
        if not isinstance(image_id, int) or image_id in images:
            raise DataError(f"{path}: image id {image_id!r} is not a number or not unique", HINT)
        images[image_id] = row
    if not images:
        raise DataError(f"{path} lists no images", HINT)
    return images


def _read_categories(
    content: Any, path: Path
) -> tuple[dict[int, str], tuple[tuple[str, ...], ...]]:
    """Class names by category id, and the groups of names with a common supercategory."""
    names: dict[int, str] = {}
    groups: dict[str, list[str]] = defaultdict(list)
    for row in sorted(_rows(content, "categories", path), key=lambda row: number(row.get("id"))):
        category, name = row.get("id"), row.get("name")
        if not isinstance(category, int) or not isinstance(name, str) or not name.strip():
            raise DataError(f"{path}: a category has no id or no name: {row!r:.80}", HINT)
        if category in names or name in names.values():
            raise DataError(f"{path}: category {name!r} ({category}) occurs twice", HINT)
        names[category] = name
        if isinstance(row.get("supercategory"), str):
            groups[row["supercategory"]].append(name)
    return names, tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _read_objects(
    content: Any, path: Path, images: dict[int, dict[str, Any]], names: dict[int, str]
) -> dict[int, list[_Object]]:
    """The annotated objects by image id."""
    objects: dict[int, list[_Object]] = defaultdict(list)
    for row in _rows(content, "annotations", path):
        image_id, category = row.get("image_id"), row.get("category_id")
        label = f"{path}: annotation {row.get('id')!r}"
        if not isinstance(image_id, int) or image_id not in images:
            raise DataError(f"{label} names an unknown image {image_id!r}", HINT)
        if not isinstance(category, int) or category not in names:
            raise DataError(f"{label} names an unknown category {category!r}", HINT)
        box = numbers(row.get("bbox"), 4)
        if box is None or min(box[2:]) < 0:
            raise DataError(f"{label} has no box [x, y, width, height]: {row.get('bbox')!r}", HINT)
        objects[image_id].append(
            _Object(names[category], box, bool(row.get("iscrowd")), number(row.get("area")))
        )
    if not objects:
        raise DataError(f"{path} has no annotations", HINT)
    return objects


def _annotation(row: dict[str, Any], objects: list[_Object]) -> Annotation:
    height, width = number(row.get("height")), number(row.get("width"))
    boxes = np.array([each.box for each in objects], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    box_areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    areas = np.array([each.area for each in objects], np.float64)
    return Annotation(
        size=(int(height), int(width)) if height > 0 and width > 0 else None,
        names=tuple(each.name for each in objects),
        boxes=boxes.astype(np.float32),
        difficult=np.array([each.crowd for each in objects], np.bool_),
        areas=np.where(np.isnan(areas), box_areas, areas).astype(np.float32),
    )


def _find_images(path: Path, first: str) -> Path:
    """The folder that holds the image file `first`.

    Looks in the folder of the JSON file and in its parent, and in their folders named images,
    JPEGImages or like the split. Where none has the file, returns COCO's own folder (val2017/ for
    annotations/instances_val2017.json).
    """
    split = path.stem.rpartition("_")[2]
    parents = (path.parent, path.parent.parent)
    below = ("", "images", split, f"images/{split}", "JPEGImages")
    candidates = [parent / name for parent in parents for name in below]
    usual = path.parent.parent / split
    return next((folder for folder in candidates if (folder / first).is_file()), usual)
