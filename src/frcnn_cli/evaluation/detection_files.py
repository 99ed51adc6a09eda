"""Detections in files of other programs, and in ours, beside the data set that they are of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..data.dataset import Dataset, match_classes
from ..errors import DataError
from ..runtime.safe_read import numbers, read_json, read_text
from ..structures import Detections
from .detection_log import HINT, Header, Row, checked_row, detections_of, read_header, read_log


def load_detections(path: Path, dataset: Dataset, limit: int | None = None) -> list[Detections]:
    """Detections of the first `limit` images, from a file or folder of any of three forms.

    COCO results name images and classes by the data set's numbers, where it has none by the
    number in the file name and 1..K. A class of ours that the data set lacks is left out.

    Args:
        dataset: whole; the labels are those of its classes.
    Raises:
        DataError: neither form, cut off, or a detection of an unknown image or class, without a
            score or with an empty box.
    """
    if path.is_dir():
        rows = _read_voc(path, dataset)
    elif (header := read_header(path)) is not None:
        return _from_own(path, header, dataset, dataset.ids[:limit])
    else:
        rows = _read_coco(path, dataset)
    count = len(dataset.ids[:limit])
    return [detections_of(rows[index], dataset.size(index)) for index in range(count)]


def _from_own(
    path: Path, header: Header, dataset: Dataset, ids: tuple[str, ...]
) -> list[Detections]:
    _, found, end = read_log(path)
    missing = [image for image in ids if image not in found]
    unknown = found.keys() - set(dataset.ids)
    if unknown:
        raise DataError(f"{path} has an unknown image {min(unknown)!r}", "name its own data set")
    if missing:
        kind = "is cut off" if end < path.stat().st_size else "is not complete"
        raise DataError(
            f"{path} {kind}: {len(missing)} of {len(ids)} images are missing",
            f"go on with its frcnn eval, or take --limit {ids.index(missing[0])}",
        )
    renamed = match_classes(header.classes, dataset.classes).renamed
    number_of = {name: label for label, name in enumerate(dataset.classes, start=1)}
    table = np.array([0, *(number_of.get(renamed.get(c, ""), 0) for c in header.classes)])
    result = []
    for image in ids:
        each = found[image][1]
        labels = table[each.labels]
        keep = labels > 0
        result.append(
            Detections(
                boxes=each.boxes[keep],
                scores=each.scores[keep],
                labels=labels[keep],
                image_size=each.image_size,
            )
        )
    return result


def _read_coco(path: Path, dataset: Dataset) -> dict[int, list[Row]]:
    """Rows by image, from a list of {image_id, category_id, bbox, score}."""
    entries = read_json(path, HINT)
    if not isinstance(entries, list):
        raise DataError(f"{path} is no list of detections", HINT)
    image_of = _by_id(dataset)
    labels = {name: label for label, name in enumerate(dataset.classes, start=1)}
    label_of = {key: labels[name] for name, key in dataset.category_ids.items()}
    label_of = label_of or {label: label for label in labels.values()}
    rows: dict[int, list[Row]] = defaultdict(list)
    for count, entry in enumerate(entries):
        where = f"{path}: entry {count}"
        if not isinstance(entry, dict):
            raise DataError(f"{where} is no detection", HINT)
        index = image_of(entry.get("image_id"))
        if index is None:
            raise DataError(f"{where} is of an unknown image {entry.get('image_id')!r:.80}", HINT)
        category = entry.get("category_id")
        label = label_of.get(category) if isinstance(category, int) else None
        if label is None:
            raise DataError(f"{where} is of an unknown class {category!r:.80}", HINT)
        box = numbers(entry.get("bbox"), 4)
        if box is not None:
            box = [box[0], box[1], box[0] + box[2], box[1] + box[3]]
        rows[index].append(checked_row(box or entry.get("bbox"), entry.get("score"), label, where))
    return rows


def _by_id(dataset: Dataset) -> Callable[[object], int | None]:
    """From an image's id in a file to its index; 5 and "5" are 000005 where that is one image."""
    exact = {name: index for index, name in enumerate(dataset.ids)}
    whole = {int(name): index for name, index in exact.items() if name.isdecimal()}
    if len(whole) < sum(name.isdecimal() for name in exact):
        whole = {}

    def find(image: object) -> int | None:
        if isinstance(image, str) and image in exact:
            return exact[image]
        text = str(image)
        return whole.get(int(text)) if text.isdecimal() and len(text) < 19 else None

    return find


def _read_voc(folder: Path, dataset: Dataset) -> dict[int, list[Row]]:
    """Rows by image, from comp4_det_<split>_<class>.txt: id, score, 1-based inclusive box."""
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise DataError(f"no .txt files in {folder}", HINT)
    image_of = _by_id(dataset)
    rows: dict[int, list[Row]] = defaultdict(list)
    for path in files:
        named = [name for name in dataset.classes if path.stem.endswith(f"_{name}")]
        if not named:
            raise DataError(
                f"{path} is of an unknown class", f"known: {', '.join(dataset.classes)}"
            )
        label = dataset.classes.index(max(named, key=len)) + 1
        for count, line in enumerate(read_text(path, HINT).splitlines(), start=1):
            words, where = line.split(), f"{path}:{count}"
            if not words:
                continue
            index = image_of(words[0])
            if index is None:
                raise DataError(f"{where} is of an unknown image {words[0]!r:.80}", HINT)
            try:
                score, x1, y1, x2, y2 = map(float, words[1:])
            except ValueError:
                raise DataError(
                    f"{where}: expected id, score and box, got {line!r:.80}", HINT
                ) from None
            rows[index].append(checked_row([x1 - 1, y1 - 1, x2, y2], score, label, where))
    return rows
