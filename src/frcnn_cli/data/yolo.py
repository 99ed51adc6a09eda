"""YOLO folders: images in images/, a text file for each in labels/, class names in data.yaml.

A row of a text file is a class number from 0, then the centre and sides of a box, or the corners of
an outline, all as fractions of the sides of the displayed image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ..errors import DataError, reason
from ..runtime.safe_read import read_text
from . import images
from .dataset import Annotation, Dataset

HINT = "expected a YOLO folder: data.yaml with names, images/, labels/"
SPLITS = {"train": ("train",), "val": ("val", "valid"), "test": ("test",)}  # split -> its spellings
_MAX_YAML_BYTES = 2**20
_MARGIN = 0.01  # how far outside of 0..1 a coordinate may lie, because of rounding


def load_yolo(root: Path, name: str, split: str | None, default_splits: Sequence[str]) -> Dataset:
    """Read one split of a YOLO folder; classes are numbered as in data.yaml.

    Args:
        root: the folder, or the .yaml file in it. name: of the data set.
        split: train, val or test; None takes the first of `default_splits` that has images, or
            all of images/ where no split has images.
    Raises:
        DataError: the settings, class names, split or label files are missing or not valid.
    """
    settings = _read_settings(root)
    root = root if root.is_dir() else root.parent
    classes = _class_names(root, settings)
    available = {key: paths for key in SPLITS if (paths := _split_images(root, settings, key))}
    if not available and (all_images := _list_images(root / "images")):
        available = {"all": all_images}
    preferred = (*default_splits, "all")
    chosen = split or next((each for each in preferred if each in available), None)
    if chosen not in available:
        hint = f"there are: {', '.join(available)}" if available else HINT
        raise DataError(f"{name} has no split {chosen or ' or '.join(default_splits)}", hint)
    paths = available[chosen]
    labels = [_label_file(path) for path in paths]
    if not any(path.is_file() for path in labels):
        raise DataError(f"{name} {chosen}: no label files such as {labels[0]}", HINT)
    stems = [path.stem for path in paths]
    unique = len(set(stems)) == len(stems)
    return Dataset(
        name=name,
        split=chosen,
        classes=classes,
        ids=tuple(stems if unique else [str(path.relative_to(root)) for path in paths]),
        paths=tuple(paths),
        annotations=tuple(
            _annotation(path, label, classes) for path, label in zip(paths, labels, strict=True)
        ),
    )


def _read_settings(root: Path) -> dict[str, Any]:
    """The content of data.yaml, or of the only .yaml file; empty where there is none."""
    files = [root] if root.is_file() else sorted([*root.glob("*.yaml"), *root.glob("*.yml")])
    chosen = next((path for path in files if path.stem == "data"), None)
    if chosen is None and len(files) == 1:
        chosen = files[0]
    if chosen is None:
        return {}
    try:
        content = yaml.safe_load(read_text(chosen, HINT, _MAX_YAML_BYTES))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"{chosen} is not YAML: {reason(error)}", HINT) from None
    if not isinstance(content, dict):
        raise DataError(f"{chosen} holds no settings", HINT)
    for key in ("path", *chain.from_iterable(SPLITS.values())):
        if not all(isinstance(each, str) for each in _as_list(content.get(key) or [])):
            raise DataError(f"{chosen}: {key} is not a path or list of paths", HINT)
    return content


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _class_names(root: Path, settings: dict[str, Any]) -> tuple[str, ...]:
    """The names in data.yaml, a list or a mapping from numbers; else those in classes.txt."""
    names = settings.get("names")
    if names is None and (root / "classes.txt").is_file():
        names = _read_lines(root / "classes.txt")
    if isinstance(names, dict) and sorted(names, key=str) == sorted(range(len(names)), key=str):
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list) or not names:
        raise DataError(f"{root} names no classes", HINT)
    if not all(isinstance(name, str | int | float) and str(name).strip() for name in names):
        raise DataError(f"{root}: a class has no name", HINT)
    classes = tuple(str(name).strip() for name in names)
    if len(set(classes)) < len(classes):
        raise DataError(f"{root}: a class is named twice", HINT)
    return classes


def _read_lines(path: Path) -> list[str]:
    return [line.strip() for line in read_text(path, HINT).split("\n") if line.strip()]


def _split_images(root: Path, settings: dict[str, Any], split: str) -> list[Path]:
    """The images of a split: in the places that data.yaml names, else in the usual folders,
    images/<split> or <split>/images."""
    entries: object = next((settings[key] for key in SPLITS[split] if settings.get(key)), [])
    paths: list[Path] = []
    for entry in map(str, _as_list(entries)):
        # Roboflow's exports write ../train/images for train/images
        inside = Path(*(part for part in Path(entry).parts if part not in ("..", "/")))
        base = Path(str(settings.get("path") or "."))
        paths += _first_images(root / base / entry, root / entry, root / inside)
    usual = [name for key in SPLITS[split] for name in (f"images/{key}", f"{key}/images")]
    return paths or _first_images(*(root / name for name in usual))


def _first_images(*candidates: Path) -> list[Path]:
    return next((paths for place in candidates if (paths := _list_images(place))), [])


def _list_images(place: Path) -> list[Path]:
    """The images in a folder, at any depth, or those that a .txt file lists."""
    if place.is_dir():
        return sorted(p for p in place.rglob("*") if p.suffix.lower() in images.SUFFIXES)
    if place.suffix == ".txt" and place.is_file():
        return [place.parent / line for line in _read_lines(place)]
    return []


def _label_file(image: Path) -> Path:
    """The label file of an image: its path with the last images/ replaced by labels/, in .txt."""
    parts = list(image.parts)
    for index in reversed(range(len(parts) - 1)):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _annotation(image: Path, label_file: Path, classes: tuple[str, ...]) -> Annotation:
    names, boxes = [], []
    if label_file.is_file():
        for line, row in enumerate(read_text(label_file, HINT).split("\n"), start=1):
            if row.strip():
                number, box = _parse_row(row.split(), f"{label_file}:{line}", len(classes))
                names.append(classes[number])
                boxes.append(box)
    height, width = images.read_layout(image).displayed_size
    scaled = np.array(boxes, np.float64).reshape(-1, 4) * (width, height, width, height)
    return Annotation(
        size=None,  # the boxes are of the displayed image already, and must not be turned
        names=tuple(names),
        boxes=scaled.astype(np.float32),
        difficult=np.zeros(len(names), np.bool_),
    )


def _parse_row(fields: list[str], where: str, class_count: int) -> tuple[int, list[float]]:
    """Class number, and the box (x1, y1, x2, y2) as fractions of the sides of the image.

    Args:
        where: file and line, for messages.
    """
    hint = "mend the row"
    try:
        values = [float(field) for field in fields]
    except ValueError:
        values = [math.nan]
    number, coordinates = values[0], values[1:]
    if number not in range(class_count):
        raise DataError(
            f"{where}: expected a class number from 0 to {class_count - 1}, got {fields[0]!r:.40}",
            hint,
        )
    if len(coordinates) == 4:
        x, y, w, h = coordinates
        box = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
    elif len(coordinates) >= 6 and len(coordinates) % 2 == 0:
        xs, ys = coordinates[::2], coordinates[1::2]
        box = [min(xs), min(ys), max(xs), max(ys)]
    else:
        raise DataError(f"{where}: expected 5 numbers, got {len(fields)}", hint)
    inside = all(-_MARGIN <= value <= 1 + _MARGIN for value in coordinates)
    if not inside or box[2] <= box[0] or box[3] <= box[1]:
        raise DataError(
            f"{where}: expected a box as fractions of the image, in 0..1, got {fields[1:5]}", hint
        )
    return int(number), box
