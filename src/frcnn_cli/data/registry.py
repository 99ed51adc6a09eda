"""Data sets by name or place: where they are, and which split is meant."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError, DataError, unknown_name
from ..runtime.paths import data_dir, home

if TYPE_CHECKING:
    from .dataset import Dataset


# The year of a VOC challenge, whose data can be downloaded; None for a user's folder.
DATASETS: dict[str, str | None] = {"voc2007": "2007", "voc2012": "2012", "voc": None}
# What stands before the colon where a data set is named by its place, and what comes after.
FORMATS = {"voc": "DIR", "coco": "FILE", "yolo": "DIR"}
SPECS = (*DATASETS, *(f"{kind}:{place}" for kind, place in FORMATS.items()))
HELP = f"One of {', '.join(SPECS)}."
JOINT = "+"  # between data sets that are taken together
# A + within the name of a folder joins nothing.
_JOINT = re.compile(rf"\+(?=(?:{'|'.join(DATASETS)})(?:\+|$)|(?:{'|'.join(FORMATS)}):)")
VOC_SPLITS = ("train", "val", "trainval", "test")


def names_dataset(text: str) -> bool:
    """Whether a data set is meant, and not a file."""
    several = _JOINT.split(text)
    if len(several) > 1:
        return all(map(names_dataset, several))
    return text in DATASETS or _parts(text) is not None


def has_years(text: str) -> bool:
    """Whether VOC challenges are meant, which are found in the folder of many data sets."""
    return all(DATASETS.get(each) for each in _JOINT.split(text))


def _parts(text: str) -> tuple[str, Path] | None:
    """Format and place of coco:FILE and the like."""
    kind, colon, place = text.partition(":")
    if kind not in FORMATS or not colon or not place:
        return None
    return kind, Path(os.path.expanduser(place))


def absolute(name: str) -> str:
    """The same data set, whatever the working folder."""
    several = _JOINT.split(name)
    if len(several) > 1:
        return JOINT.join(map(absolute, several))
    parts = _parts(name)
    return name if parts is None else f"{parts[0]}:{parts[1].resolve()}"


def open_dataset(
    name: str,
    data: Path | None,
    split: str | None,
    default_splits: tuple[str, ...],
    say: Callable[[str], None],
) -> Dataset:
    """The named data set, from its place, from `data`, from FRCNN_DATA, or downloaded.

    Args:
        name: a key of DATASETS, where "voc" is any folder in VOC layout; or voc:DIR, coco:FILE,
            yolo:DIR; or several with + between them, which become one.
        data: the folder of the data set; with coco:FILE the one of its pictures.
        split: a list of the data set; None takes the first of `default_splits` that it has.
        say: told what is about to be downloaded.
    Raises:
        ConfigError: unknown name, or a folder or split too many. DataError: not found, or nothing
            in it.
    """
    several = _JOINT.split(name)
    if len(several) > 1:
        from .dataset import joined

        return joined([open_dataset(each, data, split, default_splits, say) for each in several])
    parts = _parts(name)
    if parts is not None:
        return _open_place(*parts, data, split, default_splits)
    if name not in DATASETS:
        raise unknown_name("data set", name, SPECS)
    from .voc import find_root, load_voc  # here, so that the names alone cost no numpy

    year = DATASETS[name]
    folder = data_dir(data)
    if folder is None and year is None:
        raise DataError("no data set given", "name one (voc2007), or give a folder with --data")
    if folder is None:
        assert year is not None
        public = [each for each in default_splits if (year, each) != ("2012", "test")]
        split = split or public[0]
        if (year, split) == ("2012", "test"):
            raise ConfigError("VOC2012's test images have no public annotations", "take val")
        if split not in VOC_SPLITS:  # before anything is fetched
            raise unknown_name("split", split, VOC_SPLITS)
        from .download import fetch_voc

        folder = home() / "data"
        fetch_voc(folder, year, "test" if split == "test" else "trainval", say)
    return load_voc(find_root(folder, year), name, split, default_splits)


def _open_place(
    kind: str, place: Path, data: Path | None, split: str | None, default_splits: tuple[str, ...]
) -> Dataset:
    if kind == "coco":
        from .coco import load_coco

        if split is not None:
            raise ConfigError("a COCO file is one split", "leave out --split, or name another file")
        return load_coco(place, data_dir(data) if data is not None else None)
    if data is not None:
        raise ConfigError(f"{kind}:{place} names the folder already", "leave out --data")
    if not place.exists():
        raise DataError(f"no folder {place}", f"expected {kind}:{FORMATS[kind]}")
    name = f"{kind}:{place.resolve().name}"
    if kind == "yolo":
        from .yolo import load_yolo

        return load_yolo(place, name, split, default_splits)
    from .voc import find_root, load_voc

    return load_voc(find_root(place), name, split, default_splits)
