"""Read detections of a data set from files, of this project or of other programs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..data.dataset import Dataset, match_classes
from ..errors import DataError
from ..runtime.safe_read import numbers, read_json, read_text
from ..structures import Detections
from .detection_log import (
    FORMATS_HINT,
    Header,
    Row,
    checked_row,
    read_header,
    read_log,
    rows_to_detections,
)
from .metrics import relabel


def load_detections(path: Path, dataset: Dataset, limit: int | None = None) -> list[Detections]:
    """Read the detections of the first `limit` images of a data set.

    The format is recognised by the content: a log of `frcnn eval`, a JSON file of COCO results, or
    a folder of the VOC devkit's result files. COCO results give images and classes by the data
    set's numbers; if it has none, images by the number in their file name and classes by 1..K. The
    classes of a log are matched by name, and detections of other classes are left out.

    Args:
        dataset: the unlimited data set; the labels number its classes.
    Raises:
        DataError: the file has another format or is cut off, or a detection is of an unknown image
            or class, has no score, or an empty box.
    """
    if path.is_dir():
        rows = _read_voc(path, dataset)
    elif (header := read_header(path)) is not None:
        return _load_log(path, header, dataset, dataset.ids[:limit])
    else:
        rows = _read_coco(path, dataset)
    count = len(dataset.ids[:limit])
    return [rows_to_detections(rows[index], dataset.size(index)) for index in range(count)]


def _load_log(
    path: Path, header: Header, dataset: Dataset, ids: tuple[str, ...]
) -> list[Detections]:
    """The detections of these images in a log, with the labels of the data set."""
    _, logged, end = read_log(path)
    missing = [image_id for image_id in ids if image_id not in logged]
    unknown = logged.keys() - set(dataset.ids)
    if unknown:
        raise DataError(f"{path} has an unknown image {min(unknown)!r}", "name its own data set")
    if missing:
        problem = "is cut off" if end < path.stat().st_size else "is not complete"
        raise DataError(
            f"{path} {problem}: {len(missing)} of {len(ids)} images are missing",
            f"resume its frcnn eval, or take --limit {ids.index(missing[0])}",
        )
    renamed = match_classes(header.classes, dataset.classes).mapping
    labels = {name: label for label, name in enumerate(dataset.classes, start=1)}
    new_labels = [labels.get(renamed.get(name, ""), 0) for name in header.classes]
    return [relabel(logged[id_].detections, np.array([0, *new_labels])) for id_ in ids]


def _read_coco(path: Path, dataset: Dataset) -> dict[int, list[Row]]:
    """Rows by index of the image, from a list of {image_id, category_id, bbox, score}."""
    entries = read_json(path, FORMATS_HINT)
    if not isinstance(entries, list):
        raise DataError(f"{path} is not a list of detections", FORMATS_HINT)
    find_image = _image_finder(dataset)
    labels = {name: label for label, name in enumerate(dataset.classes, start=1)}
    label_by_id = {id_: labels[name] for name, id_ in dataset.category_ids.items()}
    label_by_id = label_by_id or {label: label for label in labels.values()}
    rows: dict[int, list[Row]] = defaultdict(list)
    for count, entry in enumerate(entries):
        where = f"{path}: entry {count}"
        if not isinstance(entry, dict):
            raise DataError(f"{where} is not a detection", FORMATS_HINT)
        image_id, category = entry.get("image_id"), entry.get("category_id")
        index = find_image(image_id)
        if index is None:
            raise DataError(f"{where} is of an unknown image {image_id!r:.80}", FORMATS_HINT)
        label = label_by_id.get(category) if isinstance(category, int) else None
        if label is None:
            raise DataError(f"{where} is of an unknown class {category!r:.80}", FORMATS_HINT)
        box = numbers(entry.get("bbox"), 4)
        if box is not None:
            box = [box[0], box[1], box[0] + box[2], box[1] + box[3]]
        rows[index].append(checked_row(box or entry.get("bbox"), entry.get("score"), label, where))
    return rows


def _image_finder(dataset: Dataset) -> Callable[[object], int | None]:
    """A function from an image's id in a file to its index; None for an unknown image.

    The numbers 5 and "5" stand for the image 000005, if no other image has this number.
    """
    by_name = {name: index for index, name in enumerate(dataset.ids)}
    by_number = {int(name): index for name, index in by_name.items() if name.isdecimal()}
    if len(by_number) < sum(name.isdecimal() for name in by_name):
        by_number = {}

    def find(image_id: object) -> int | None:
        if isinstance(image_id, str) and image_id in by_name:
            return by_name[image_id]
        text = str(image_id)
        return by_number.get(int(text)) if text.isdecimal() and len(text) < 19 else None

    return find


def _read_voc(folder: Path, dataset: Dataset) -> dict[int, list[Row]]:
    """Rows by index of the image, from files comp4_det_<split>_<class>.txt.

    Each line has an image id, a score and a 1-based inclusive box.
    """
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise DataError(f"no .txt files in {folder}", FORMATS_HINT)
    find_image = _image_finder(dataset)
    rows: dict[int, list[Row]] = defaultdict(list)
    for path in files:
        candidates = [name for name in dataset.classes if path.stem.endswith(f"_{name}")]
        if not candidates:
            known = ", ".join(dataset.classes)
            raise DataError(f"{path} is of an unknown class", f"known: {known}")
        label = dataset.classes.index(max(candidates, key=len)) + 1
        for count, line in enumerate(read_text(path, FORMATS_HINT).splitlines(), start=1):
            if not line.split():
                continue
            image_id, *values = line.split()
            where = f"{path}:{count}"
            index = find_image(image_id)
            if index is None:
                raise DataError(f"{where} is of an unknown image {image_id!r:.80}", FORMATS_HINT)
            try:
                score, x1, y1, x2, y2 = map(float, values)
            except ValueError:
                raise DataError(
                    f"{where}: expected id, score and box, got {line!r:.80}", FORMATS_HINT
                ) from None
            rows[index].append(checked_row([x1 - 1, y1 - 1, x2, y2], score, label, where))
    return rows
