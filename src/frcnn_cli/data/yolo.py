"""YOLO folders: pictures in images/, a text file for each in labels/, names in data.yaml.

A row is a class number from 0, then the box's centre and sides as shares of the picture, or the
corners of an outline. The picture is meant as a viewer shows it.
"""

from __future__ import annotations

import math
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
SPLITS = {"train": ("train",), "val": ("val", "valid"), "test": ("test",)}
_MAX_YAML_BYTES = 2**20
_MARGIN = 0.01  # by how much rounding may carry a share out of 0..1


def load_yolo(root: Path, name: str, split: str | None, default_splits: tuple[str, ...]) -> Dataset:
    """Read one split of a YOLO folder; classes are numbered as in data.yaml.

    Args:
        root: the folder, or the .yaml file in it.
        split: train, val or test; None takes the first of `default_splits` that is there, or all
            of images/ where it has no folders.
    Raises:
        DataError: no such folder, split or names, or a row that is no object.
    """
    settings = _settings(root)
    root = root if root.is_dir() else root.parent
    classes = _class_names(root, settings)
    there = {key: found for key in SPLITS if (found := _pictures(root, settings, key))}
    if not there and (everything := _listed(root / "images")):
        there = {"all": everything}
    chosen = split or next((each for each in (*default_splits, "all") if each in there), None)
    if chosen not in there:
        known = f"there are: {', '.join(there)}" if there else HINT
        raise DataError(f"{name} has no split {chosen or ' or '.join(default_splits)}", known)
    paths = there[chosen]
    labels = [_label_file(path) for path in paths]
    if not any(path.is_file() for path in labels):
        raise DataError(f"{name} {chosen}: no label files such as {labels[0]}", HINT)
    annotations = tuple(
        _annotation(picture, label, classes) for picture, label in zip(paths, labels, strict=True)
    )
    stems = [path.stem for path in paths]
    ids = (
        stems if len(set(stems)) == len(stems) else [str(path.relative_to(root)) for path in paths]
    )
    return Dataset(name, chosen, classes, tuple(ids), tuple(paths), annotations)


def _settings(root: Path) -> dict[str, Any]:
    """The content of data.yaml, or of the only .yaml file; empty where there is none."""
    found = [root] if root.is_file() else sorted([*root.glob("*.yaml"), *root.glob("*.yml")])
    chosen = next((path for path in found if path.stem == "data"), None)
    if chosen is None and len(found) == 1:
        chosen = found[0]
    if chosen is None:
        return {}
    try:
        content = yaml.safe_load(read_text(chosen, HINT, _MAX_YAML_BYTES))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"{chosen} is not YAML: {reason(error)}", HINT) from None
    if not isinstance(content, dict):
        raise DataError(f"{chosen} holds no settings", HINT)
    for key in ("path", *chain.from_iterable(SPLITS.values())):
        given = content.get(key) or []
        if not all(
            isinstance(each, str) for each in (given if isinstance(given, list) else [given])
        ):
            raise DataError(f"{chosen}: {key} is no path or list of paths", HINT)
    return content


def _class_names(root: Path, settings: dict[str, Any]) -> tuple[str, ...]:
    """From data.yaml, as list or by number, or from classes.txt."""
    names = settings.get("names")
    if names is None and (root / "classes.txt").is_file():
        names = read_text(root / "classes.txt", HINT).split("\n")
        names = [line.strip() for line in names if line.strip()]
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


def _pictures(root: Path, settings: dict[str, Any], split: str) -> list[Path]:
    """The pictures of a split: where data.yaml says, or images/<split>, or <split>/images."""
    given: object = next((settings[key] for key in SPLITS[split] if settings.get(key)), [])
    found: list[Path] = []
    for each in given if isinstance(given, list) else [given]:
        # Roboflow's exports say ../train/images and mean train/images
        inside = Path(*(part for part in Path(str(each)).parts if part not in ("..", "/")))
        base = Path(str(settings.get("path") or "."))
        candidates = (root / base / str(each), root / str(each), root / inside)
        found += next((listed for place in candidates if (listed := _listed(place))), [])
    if not found:
        places = [p for key in SPLITS[split] for p in (f"images/{key}", f"{key}/images")]
        found = next((listed for place in places if (listed := _listed(root / place))), [])
    return found


def _listed(place: Path) -> list[Path]:
    """The pictures in a folder and those below it, or named in a .txt file."""
    if place.is_dir():
        return sorted(p for p in place.rglob("*") if p.suffix.lower() in images.SUFFIXES)
    if place.suffix == ".txt" and place.is_file():
        lines = read_text(place, HINT).split("\n")
        return [place.parent / line.strip() for line in lines if line.strip()]
    return []


def _label_file(picture: Path) -> Path:
    """labels/ stands for the last images/ of the path."""
    parts = list(picture.parts)
    for index in reversed(range(len(parts) - 1)):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _annotation(picture: Path, label: Path, classes: tuple[str, ...]) -> Annotation:
    names, boxes = [], []
    if label.is_file():
        for line, row in enumerate(read_text(label, HINT).split("\n"), start=1):
            if row.strip():
                number, box = _object(row.split(), f"{label}:{line}", len(classes))
                names.append(classes[number])
                boxes.append(box)
    (height, width), orientation = images.layout(picture)
    if orientation >= 5:
        height, width = width, height
    scaled = np.array(boxes, np.float64).reshape(-1, 4) * (width, height, width, height)
    # no size: the boxes are of the picture as shown already
    return Annotation(None, tuple(names), scaled.astype(np.float32), np.zeros(len(names), np.bool_))


def _object(words: list[str], where: str, class_count: int) -> tuple[int, list[float]]:
    """Class number, and the box (x1, y1, x2, y2) as shares of the picture."""
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = [math.nan]
    number, rest = values[0], values[1:]
    if number not in range(class_count):
        raise DataError(
            f"{where}: expected a class number from 0 to {class_count - 1}, got {words[0]!r:.40}",
            "mend the row",
        )
    if len(rest) == 4:
        x, y, w, h = rest
        box = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
    elif len(rest) >= 6 and len(rest) % 2 == 0:
        box = [min(rest[::2]), min(rest[1::2]), max(rest[::2]), max(rest[1::2])]
    else:
        raise DataError(f"{where}: expected 5 numbers, got {len(words)}", "mend the row")
    shares = all(-_MARGIN <= value <= 1 + _MARGIN for value in rest)
    if not shares or box[2] <= box[0] or box[3] <= box[1]:
        raise DataError(
            f"{where}: expected a box as shares of the picture, in 0..1, got {words[1:5]}",
            "mend the row",
        )
    return int(number), box
