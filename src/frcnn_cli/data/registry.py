"""Opens data sets by name (voc2007) or by format and place (coco:FILE)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError, DataError, unknown_name
from ..runtime.paths import data_dir, home

# The modules that read data sets import numpy. They are imported where they are used, so that
# --help, which prints only the names, stays quick.
if TYPE_CHECKING:
    from .dataset import Dataset


@dataclass(frozen=True)
class DatasetFormat:
    """A format whose data sets are named by their place, as in coco:FILE."""

    place: str  # what follows the colon, for help texts and messages
    # called with the place, the folder given with --data, the split and the default splits
    load: Callable[[Path, Path | None, str | None, Sequence[str]], Dataset]


def _load_voc(
    place: Path, data: Path | None, split: str | None, default_splits: Sequence[str]
) -> Dataset:
    from .voc import find_root, load_voc

    name = _check_folder("voc", place, data)
    return load_voc(find_root(place), name, split, default_splits)


def _load_coco(
    place: Path, data: Path | None, split: str | None, default_splits: Sequence[str]
) -> Dataset:
    from .coco import load_coco

    if split is not None:
        raise ConfigError("a COCO file is one split", "leave out --split, or name another file")
    return load_coco(place, data_dir(data) if data is not None else None)


def _load_yolo(
    place: Path, data: Path | None, split: str | None, default_splits: Sequence[str]
) -> Dataset:
    from .yolo import load_yolo

    name = _check_folder("yolo", place, data)
    return load_yolo(place, name, split, default_splits)


def _check_folder(format_name: str, place: Path, data: Path | None) -> str:
    """Check that the folder of a data set exists and that --data names no other; return its name.

    Raises:
        ConfigError: --data is given too. DataError: there is no such folder.
    """
    if data is not None:
        raise ConfigError(f"{format_name}:{place} names the folder already", "leave out --data")
    if not place.exists():
        raise DataError(f"no folder {place}", f"expected {format_name}:DIR")
    return f"{format_name}:{place.resolve().name}"


# Name -> the year of a VOC challenge, whose data can be downloaded; None: a folder of the user.
DATASETS: dict[str, str | None] = {"voc2007": "2007", "voc2012": "2012", "voc": None}
FORMATS = {
    "voc": DatasetFormat("DIR", _load_voc),
    "coco": DatasetFormat("FILE", _load_coco),
    "yolo": DatasetFormat("DIR", _load_yolo),
}
SPECS = (*DATASETS, *(f"{name}:{each.place}" for name, each in FORMATS.items()))
HELP = f"One of {', '.join(SPECS)}."
VOC_SPLITS = ("train", "val", "trainval", "test")
SEPARATOR = "+"  # between the names of data sets that are concatenated
# A + separates only where the name of a data set follows: a folder's name may contain one too.
_SEPARATOR = re.compile(rf"\+(?=(?:{'|'.join(DATASETS)})(?:\+|$)|(?:{'|'.join(FORMATS)}):)")


def is_dataset_name(text: str) -> bool:
    """Whether a text is the name of a data set, or of several joined by +, rather than a path."""
    names = _SEPARATOR.split(text)
    if len(names) > 1:
        return all(map(is_dataset_name, names))
    return text in DATASETS or _parse_place(text) is not None


def is_voc_challenge(name: str) -> bool:
    """Whether a name, or every one of several joined by +, is a VOC challenge of some year.

    One folder, given with --data, can hold several challenges.
    """
    return all(DATASETS.get(each) for each in _SEPARATOR.split(name))


def _parse_place(name: str) -> tuple[str, Path] | None:
    """Format and place of coco:FILE and the like; None for other names."""
    format_name, _, place = name.partition(":")
    if format_name not in FORMATS or not place:
        return None
    return format_name, Path(os.path.expanduser(place))


def absolute_name(name: str) -> str:
    """The name of the same data set with absolute paths, for use from any working folder."""
    names = _SEPARATOR.split(name)
    if len(names) > 1:
        return SEPARATOR.join(map(absolute_name, names))
    parsed = _parse_place(name)
    return name if parsed is None else f"{parsed[0]}:{parsed[1].resolve()}"


def open_dataset(
    name: str,
    data: Path | None = None,
    split: str | None = None,
    default_splits: tuple[str, ...] = ("trainval", "train"),
    on_message: Callable[[str], None] = lambda message: None,
) -> Dataset:
    """Open a data set: at the place in its name, in `data` or FRCNN_DATA, or after a download.

    Args:
        name: a key of DATASETS, where "voc" is any folder in VOC layout; or voc:DIR, coco:FILE or
            yolo:DIR; or several of these joined by +, which become one data set.
        data: the folder of the data set; for coco:FILE, the folder of its images.
        split: a split of the data set; None takes the first of `default_splits` that it has.
        on_message: called with a line on what is downloaded, and then on the progress.
    Raises:
        ConfigError: unknown name; or `data` or `split` where the name decides it already.
        DataError: the data set is not found, or has no images or no objects.
    """
    names = _SEPARATOR.split(name)
    if len(names) > 1:
        from .dataset import concatenate_datasets

        return concatenate_datasets(
            [open_dataset(each, data, split, default_splits, on_message) for each in names]
        )
    parsed = _parse_place(name)
    if parsed is not None:
        format_name, place = parsed
        return FORMATS[format_name].load(place, data, split, default_splits)
    if name not in DATASETS:
        raise unknown_name("data set", name, SPECS)
    from .voc import find_root, load_voc

    year = DATASETS[name]
    folder = data_dir(data)
    if folder is None:
        if year is None:
            raise DataError("no data set given", "name one (voc2007), or give a folder with --data")
        folder, split = _download(year, split, default_splits, on_message)
    return load_voc(find_root(folder, year), name, split, default_splits)


def _download(
    year: str,
    split: str | None,
    default_splits: tuple[str, ...],
    on_message: Callable[[str], None],
) -> tuple[Path, str]:
    """Download what a split of a VOC challenge needs; return the folder and the split."""
    public = [each for each in default_splits if (year, each) != ("2012", "test")]
    split = split or public[0]
    if (year, split) == ("2012", "test"):
        raise ConfigError("VOC2012's test images have no public annotations", "take val")
    if split not in VOC_SPLITS:  # checked before gigabytes are downloaded
        raise unknown_name("split", split, VOC_SPLITS)
    from .download import fetch_voc

    folder = home() / "data"
    fetch_voc(folder, year, "test" if split == "test" else "trainval", on_message)
    return folder, split
