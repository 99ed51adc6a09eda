"""Read detections of a data set from files, of this project or of other programs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import numpy as np

from ..data.box_forms import count_out, refuse_fractions
from ..data.dataset import Dataset, match_classes
from ..data.file_types import SUFFIXES
from ..data.folders import normalized
from ..errors import DataError, counted, short_list
from ..inference.file_names import class_file_names, voc_column
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

_MANY_OUT = 0.2  # of all boxes


def load_detections(
    path: Path,
    dataset: Dataset,
    limit: int | None = None,
    on_message: Callable[[str], None] = lambda message: None,
) -> list[Detections]:
    """Read the detections of the first `limit` images of a data set.

    The format is recognised by the content: a log of `frcnn eval`, a JSON file of COCO results, or
    a folder of the VOC devkit's result files. COCO results give images and classes by `file_name`
    and `category_name` where they have them, as those of `frcnn detect` do; else by the data set's
    numbers; if it has none, images by the number in their file name and classes by 1..K. The
    classes of a log are matched by name, and detections of other classes are left out.

    Args:
        dataset: the unlimited data set; the labels number its classes.
        on_message: called with a line on how images and classes were matched, where that is not by
            the numbers, and on what was left out.
    Raises:
        DataError: the file has another format or is cut off, or a detection is of an unknown image
            or class, has no score, or an empty box; or all boxes are fractions.
    """
    if path.is_dir():
        rows = _read_voc(path, dataset, on_message)
    elif (header := read_header(path)) is not None:
        return _load_log(path, header, dataset, dataset.ids[:limit])
    else:
        rows = _read_coco(path, dataset, on_message)
    count = len(dataset.ids[:limit])
    found = [rows_to_detections(rows[index], dataset.size(index)) for index in range(count)]
    _check_form(path, found, on_message)
    return found


def _check_form(
    path: Path, detections: list[Detections], on_message: Callable[[str], None]
) -> None:
    """Check that boxes are in pixels, and tell where many of them cannot be in the form that they
    were read in.

    Raises:
        DataError: they are fractions.
    """
    refuse_fractions((each.boxes for each in detections), path)
    total = sum(len(each.boxes) for each in detections)
    out = sum(count_out(each.boxes, each.image_size) for each in detections)
    if out > _MANY_OUT * total:
        on_message(
            f"{path}: {out} of {total} boxes reach beyond their images: expected x, y, width and "
            "height in COCO results, and x1, y1, x2, y2 in VOC's"
        )


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
        there = ids.index(missing[0])
        raise DataError(
            f"{path} {problem}: {len(missing)} of {len(ids)} images are missing",
            "resume its frcnn eval" + (f", or take --limit {there}" if there else ""),
        )
    renamed = match_classes(header.classes, dataset.classes).mapping
    labels = {name: label for label, name in enumerate(dataset.classes, start=1)}
    new_labels = [labels.get(renamed.get(name, ""), 0) for name in header.classes]
    return [relabel(logged[id_].detections, np.array([0, *new_labels])) for id_ in ids]


def _read_coco(
    path: Path, dataset: Dataset, on_message: Callable[[str], None]
) -> dict[int, list[Row]]:
    """Rows by index of the image, from a list of {image_id, category_id, bbox, score}."""
    entries = read_json(path, FORMATS_HINT)
    if not isinstance(entries, list):
        raise DataError(f"{path} is not a list of detections", FORMATS_HINT)
    for count, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise DataError(f"{path}: entry {count} is not a detection", FORMATS_HINT)
    find_image = _EntryImages(entries, dataset)
    find_class = _EntryClasses(entries, dataset, path)
    rows: dict[int, list[Row]] = defaultdict(list)
    for count, entry in enumerate(entries):
        where = f"{path}: entry {count}"
        index, label = find_image(entry, where), find_class(entry, where)
        box = numbers(entry.get("bbox"), 4)
        if box is not None:
            box = [box[0], box[1], box[0] + box[2], box[1] + box[3]]
        # 1 stands for a class that the data set lacks, whose detections are checked but left out
        row = checked_row(box or entry.get("bbox"), entry.get("score"), label or 1, where)
        if label:
            rows[index].append(row)
    for message in (*find_image.messages(), *find_class.messages()):
        on_message(f"{path}: {message}")
    return rows


class _EntryImages:
    """Finds the image of an entry: by its file name if the data set has such files, else its id."""

    def __init__(self, entries: list[dict[str, Any]], dataset: Dataset) -> None:
        self._by_id, self._files = _image_finder(dataset), _FileFinder(dataset)
        names = {name for entry in entries if (name := _text(entry, "file_name"))}
        self._by_file = {name: self._files.find(name) for name in names}
        self._uses_files = any(index is not None for index in self._by_file.values())
        self._others = 0  # entries whose id is that of another image, or of none
        stems = [path.stem for path in dataset.paths]
        numbered = [(s, i) for s, i in zip(stems, dataset.ids, strict=True) if s.isdecimal()]
        self._ids_differ = bool(dataset.category_ids) and any(
            i.isdecimal() and int(s) != int(i) for s, i in numbered
        )

    def __call__(self, entry: dict[str, Any], where: str) -> int:
        image_id, name = entry.get("image_id"), _text(entry, "file_name")
        index = self._by_id(image_id)
        if self._uses_files and name:
            by_file = self._by_file[name]
            if by_file is None:
                raise DataError(f"{where} is of an unknown image {name!r:.80}", FORMATS_HINT)
            self._others += by_file != index
            return by_file
        if index is None and isinstance(image_id, str):
            is_file = PurePath(image_id).suffix.lower() in SUFFIXES  # as some programs write it
            index = self._files.find(image_id) if is_file else None
        if index is None:
            raise DataError(f"{where} is of an unknown image {image_id!r:.80}", FORMATS_HINT)
        return index

    def messages(self) -> list[str]:
        if self._others:
            return [
                "images were matched by file_name: image_id has the numbers of another data set"
            ]
        if self._by_file and not self._uses_files:
            return ["images were matched by image_id: the data set has none of the files"]
        if self._ids_differ and not self._uses_files:
            return ["images were matched by image_id, which is not the number in the file names"]
        return []


class _EntryClasses:
    """Finds the label of an entry: by its category's name if it has one, else by its number."""

    def __init__(self, entries: list[dict[str, Any]], dataset: Dataset, path: Path) -> None:
        self._labels = {name: label for label, name in enumerate(dataset.classes, start=1)}
        by_id = {id_: self._labels[name] for name, id_ in dataset.category_ids.items()}
        self._by_id = by_id or {label: label for label in self._labels.values()}
        names = {name for entry in entries if (name := _text(entry, "category_name"))}
        match = match_classes(sorted(names), dataset.classes)
        self._names, self._synonyms = match.mapping, match.synonyms
        if names and not self._names:
            raise DataError(
                f"{path} has none of the data set's classes, but {short_list(sorted(names), 6)}",
                f"the data set has {short_list(dataset.classes, 6)}",
            )
        numbers = (f"{id_} {dataset.classes[label - 1]}" for id_, label in self._by_id.items())
        self._hint = f"the numbers of the data set's classes are {short_list(numbers, 6)}"
        self._others = 0  # entries whose number is that of another class, or of none
        self._left_out: Counter[str] = Counter()

    def __call__(self, entry: dict[str, Any], where: str) -> int:
        """The label; 0 for a class that the data set lacks."""
        category, name = entry.get("category_id"), _text(entry, "category_name")
        if isinstance(category, float) and category.is_integer():
            category = int(category)
        label = self._by_id.get(category) if isinstance(category, int) else None
        if name:
            by_name = self._labels.get(self._names.get(name, ""), 0)
            self._left_out[name] += not by_name
            self._others += by_name not in (0, label)
            return by_name
        if label is None:
            raise DataError(f"{where} is of an unknown class {category!r:.80}", self._hint)
        return label

    def messages(self) -> list[str]:
        messages = [f"class {a} is taken for {b}" for a, b in self._synonyms.items()]
        if self._others:
            text = "classes were matched by category_name: category_id has other numbers"
            messages.append(text)
        if left_out := self._left_out.total():
            names = short_list(sorted(name for name, count in self._left_out.items() if count), 6)
            detections = counted(left_out, "detection", "detections")
            messages.append(f"left out {detections} of other classes: {names}")
        return messages


def _text(entry: dict[str, Any], key: str) -> str:
    """The text of a key of an entry; empty where it has none."""
    value = entry.get(key)
    return value if isinstance(value, str) else ""


def _image_finder(dataset: Dataset) -> Callable[[object], int | None]:
    """A function from an image's id in a file to its index; None for an unknown image.

    The numbers 5 and "5" stand for the image 000005, if no other image has this number.
    """
    by_name = {name: index for index, name in enumerate(dataset.ids)}
    by_number = {int(name): index for name, index in by_name.items() if name.isdecimal()}
    if len(by_number) < sum(name.isdecimal() for name in by_name):
        by_number = {}

    def find(image_id: object) -> int | None:
        if isinstance(image_id, float) and image_id.is_integer():
            image_id = int(image_id)
        if isinstance(image_id, str) and image_id in by_name:
            return by_name[image_id]
        text = str(image_id)
        return by_number.get(int(text)) if text.isdecimal() and len(text) < 19 else None

    return find


class _FileFinder:
    """Finds images by their file names, with or without folders and endings."""

    def __init__(self, dataset: Dataset) -> None:
        self._paths = [PurePath(path).parts for path in dataset.paths]
        self._indices: dict[str, list[int]] = defaultdict(list)
        for index, path in enumerate(dataset.paths):
            stem = normalized(path.stem)
            for key in {normalized(path.name), f"{stem}.*", f"{normalized(voc_column(stem))}.*"}:
                self._indices[key].append(index)

    def find(self, name: str) -> int | None:
        """The only image of that file name; of several, the one in the same folders."""
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if not parts:
            return None
        own = normalized(parts[-1])
        found = self._indices.get(own) or self._indices.get(f"{PurePosixPath(own).stem}.*", [])
        same = {index: self._same_folders(index, parts) for index in found}
        best = [index for index, count in same.items() if count == max(same.values())]
        return best[0] if len(best) == 1 else None

    def find_stem(self, stem: str) -> int | None:
        """The only image of that file name without ending, or with _ in the place of blanks."""
        found = self._indices.get(f"{normalized(stem)}.*", [])
        return found[0] if len(found) == 1 else None

    def _same_folders(self, index: int, parts: tuple[str, ...]) -> int:
        """How many folders above the file have the same names."""
        pairs = zip(reversed(self._paths[index][:-1]), reversed(parts[:-1]), strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _read_voc(
    folder: Path, dataset: Dataset, on_message: Callable[[str], None]
) -> dict[int, list[Row]]:
    """Rows by index of the image, from files comp4_det_<split>_<class>.txt.

    Each line has an image id, which may contain blanks, a score and a 1-based inclusive box.
    """
    files = sorted(folder.glob("*.txt")) or sorted((folder / "voc").glob("*.txt"))
    if not files:
        raise DataError(f"no .txt files in {folder}", FORMATS_HINT)
    find_image = _VocImages(dataset)
    file_names = class_file_names(dataset.classes)
    rows: dict[int, list[Row]] = defaultdict(list)
    for path in files:
        text = read_text(path, FORMATS_HINT)
        lengths = {
            name: max(len(end) for end in (name, short) if path.stem.endswith(f"_{end}"))
            for name, short in file_names.items()
            if path.stem.endswith((f"_{name}", f"_{short}"))
        }
        if not lengths and not text.strip():  # the detector has a class more, but found none of it
            continue
        if not lengths:
            known = short_list(dataset.classes)
            raise DataError(f"{path} is of an unknown class", f"known: {known}")
        label = dataset.classes.index(max(lengths, key=lambda name: lengths[name])) + 1
        for count, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                index, row = _parse_voc_line(line, label, f"{path}:{count}", find_image)
                rows[index].append(row)
    if find_image.others:
        on_message(f"{folder}: images were matched by their file names, not by the data set's ids")
    return rows


class _VocImages:
    """Finds the image of a line: by its file name where a COCO file numbers the images, which VOC's
    files do not know; else by its id, then by its file name."""

    def __init__(self, dataset: Dataset) -> None:
        self._by_id, self._files = _image_finder(dataset), _FileFinder(dataset)
        self._files_first = bool(dataset.category_ids)
        self.others = 0  # lines whose id is that of another image

    def __call__(self, image_id: str) -> int | None:
        by_id, by_file = self._by_id(image_id), self._files.find_stem(image_id)
        if self._files_first and by_file is not None:
            self.others += by_id not in (None, by_file)
            return by_file
        return by_file if by_id is None else by_id


def _parse_voc_line(
    line: str, label: int, where: str, find_image: Callable[[str], int | None]
) -> tuple[int, Row]:
    """The index of the image of a line, and its detection; `where` starts an error's message."""
    image_id, *values = line.strip().rsplit(maxsplit=5)
    if len(values) < 5:
        raise DataError(f"{where}: expected id, score and box, got {line!r:.80}", FORMATS_HINT)
    index = find_image(image_id)
    if index is None:
        raise DataError(f"{where} is of an unknown image {image_id!r:.80}", FORMATS_HINT)
    try:
        score, x1, y1, x2, y2 = map(float, values)
    except ValueError:
        raise DataError(
            f"{where}: expected id, score and box, got {line!r:.80}", FORMATS_HINT
        ) from None
    return index, checked_row([x1 - 1, y1 - 1, x2, y2], score, label, where)
