"""Opens data sets by name (voc2007), by format and path (coco:FILE), or by path alone."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import VAL_SHARE
from ..errors import ConfigError, DataError, SplitError, UnlabelledError, unknown_name
from ..runtime.paths import data_dir
from .choice import Choice

# The modules that read data sets import numpy. They are imported where they are used, so that
# --help, which prints only the names, stays quick.
if TYPE_CHECKING:
    from .dataset import Dataset


@dataclass(frozen=True)
class DatasetFormat:
    """A format whose data sets are named by their path, as in coco:FILE."""

    metavar: str  # what follows the colon, for help texts and messages
    # called with the path, the folder given with --data, the split and the default splits
    load: Callable[[Path, Path | None, str | None, Sequence[str]], Dataset]


def _load_voc(
    path: Path, data: Path | None, split: str | None, default_splits: Sequence[str]
) -> Dataset:
    from .voc import find_root, load_voc

    name = _check_folder("voc", path, data)
    return load_voc(find_root(path), name, split, default_splits)


def _load_coco(
    path: Path, data: Path | None, split: str | None, default_splits: Sequence[str]
) -> Dataset:
    from .coco import load_coco, load_coco_folder
    from .splits import canonical_split, split_of_file

    images = data_dir(data) if data is not None else None
    if path.is_dir():
        return load_coco_folder(path, images, split, default_splits)
    if split is not None and canonical_split(split) != split_of_file(path):
        raise SplitError("a COCO file is one split", "leave out --split, or name another file")
    return load_coco(path, images)


def _load_yolo(
    path: Path, data: Path | None, split: str | None, default_splits: Sequence[str]
) -> Dataset:
    from .yolo import load_yolo

    name = _check_folder("yolo", path, data)
    return load_yolo(path, name, split, default_splits)


def _load_csv(
    path: Path, data: Path | None, split: str | None, default_splits: Sequence[str]
) -> Dataset:
    from .csv_boxes import load_csv

    return load_csv(path, data_dir(data) if data is not None else None, split, default_splits)


def _load_tool(
    key: str, path: Path, data: Path | None, split: str | None, default_splits: Sequence[str]
) -> Dataset:
    from .tools import load_tool

    images = data_dir(data) if data is not None else None
    return load_tool(path, images, split, default_splits, key)


def _check_folder(format_name: str, path: Path, data: Path | None) -> str:
    """Check that the folder of a data set exists and that --data names no other; return its name.

    Raises:
        ConfigError: --data is given too. DataError: there is no such folder.
    """
    if data is not None:
        raise ConfigError(f"{format_name}:{path} names the folder already", "leave out --data")
    if not path.exists():
        raise DataError(f"no folder {path}", f"expected {format_name}:DIR")
    return f"{format_name}:{path.resolve().name}"


# Name -> the year of a VOC challenge, whose data can be downloaded; None: a folder of the user.
DATASETS: dict[str, str | None] = {"voc2007": "2007", "voc2012": "2012", "voc": None}
# formats of annotation tools and of well-known data sets; the keys of `tools.TOOLS`
TOOL_KEYS = (
    "labelme", "via", "labelstudio", "supervisely", "createml", "bdd", "cvat", "kitti", "dota",
    "wider", "visdrone", "pascal",
)  # fmt: skip
FORMATS = {
    "voc": DatasetFormat("DIR", _load_voc),
    "coco": DatasetFormat("FILE", _load_coco),
    "yolo": DatasetFormat("DIR", _load_yolo),
    "csv": DatasetFormat("FILE", _load_csv),
    **{key: DatasetFormat("PATH", partial(_load_tool, key)) for key in TOOL_KEYS},
}
_SPECS = {name: f"{name}:{each.metavar}" for name, each in FORMATS.items()}
# for messages; the formats of tools are recognised, so that they need not be named
SPECS = (*DATASETS, *(spec for name, spec in _SPECS.items() if name not in TOOL_KEYS))
HELP = f"One of {', '.join(SPECS)}, or a folder or file, whose format is recognised."
SEPARATOR = "+"  # between the names of data sets that are concatenated
# A + separates only where the name of a data set follows: a folder's name may contain one too.
_SEPARATOR = re.compile(rf"\+(?=(?:{'|'.join(DATASETS)})(?:\+|$)|(?:{'|'.join(FORMATS)}):)")


def _split_names(name: str) -> list[str]:
    """The names of data sets that are joined by +, or the name itself.

    Of the folders and files that there are, the longest name counts: it may contain a + itself.
    """
    names, parts = list[str](), name.split(SEPARATOR)
    while parts:
        runs = (SEPARATOR.join(parts[:count]) for count in range(min(len(parts), 99), 0, -1))
        other = _SEPARATOR.split(SEPARATOR.join(parts), maxsplit=1)[0]
        names.append(next(filter(_is_there, runs), other))
        parts = parts[names[-1].count(SEPARATOR) + 1 :]
    return names


def _is_there(name: str) -> bool:
    """Whether a name, with or without a format, is that of a folder or file that exists."""
    parsed = _parse_spec(name)
    return os.path.exists(parsed[1]) if parsed is not None else _bare_path(name) is not None


def _bare_path(name: str) -> Path | None:
    """The folder or file that a name without a format stands for; None where there is none."""
    path = Path(os.path.expanduser(name))
    exists = os.path.exists(path)  # no error where the name is too long for a file
    return path if name not in DATASETS and name.strip() and exists else None


def is_dataset_name(text: str) -> bool:
    """Whether a text is the name of a data set, or of several joined by +, rather than a path."""
    names = _SEPARATOR.split(text)
    if len(names) > 1:
        return all(map(is_dataset_name, names))
    return text in DATASETS or _parse_spec(text) is not None


def names_dataset(text: str) -> bool:
    """Whether a text is the name of a data set, or a folder or file that holds one."""
    if not Path(os.path.expanduser(text)).exists():
        return is_dataset_name(text)
    from .recognise import fits_any_format

    path = _bare_path(text)
    return path is not None and fits_any_format(path)


def is_voc_challenge(name: str) -> bool:
    """Whether a name, or every one of several joined by +, is a VOC challenge of some year.

    One folder, given with --data, can hold several challenges.
    """
    return all(DATASETS.get(each) for each in _SEPARATOR.split(name))


def _parse_spec(name: str) -> tuple[str, Path] | None:
    """Format and path of coco:FILE and the like; None for other names."""
    format_name, _, path = name.partition(":")
    if format_name not in FORMATS or not path:
        return None
    return format_name, Path(os.path.expanduser(path))


def absolute_name(name: str) -> str:
    """The name of the same data set with absolute paths, for use from any working folder.

    Links are not followed: the images may be beside the link, and not beside what it leads to.
    """
    names = _split_names(name)
    if len(names) > 1:
        return SEPARATOR.join(map(absolute_name, names))
    parsed, path = _parse_spec(name), _bare_path(name)
    if parsed is None and path is not None:
        return str(path.absolute())
    return name if parsed is None else f"{parsed[0]}:{parsed[1].absolute()}"


def open_dataset(
    name: str,
    data: Path | None = None,
    split: str | None = None,
    default_splits: tuple[str, ...] = ("trainval", "train"),
    on_message: Callable[[str], None] = lambda message: None,
    *,
    part: str | None = None,
    val_share: float = VAL_SHARE,
) -> Dataset:
    """Open a data set: at the path in its name, in `data` or FRCNN_DATA, or after a download.

    Args:
        name: a key of DATASETS, where "voc" is the folder `data`; or voc:DIR, coco:FILE,
            yolo:DIR or csv:FILE; or a folder or file, whose format is recognised; or several of
            these joined by +, which become one data set.
        data: the folder of the data set; for coco:FILE and csv:FILE, the folder of its images.
        split: a split of the data set; None takes the first of `default_splits` that it has. Where
            it has none at all, None and "all" take every image, and train and val are made by
            `hash_split`; where it has none but train or trainval, val is a part of these.
        part: train or val: None as the split then takes this part of a data set without splits, or
            without others than train or trainval.
        val_share: of the images that are in such a part val, above 0 and below 1.
        on_message: called with a line on what is downloaded, and then on the progress.
    Raises:
        ConfigError: unknown name; or `data` or `split` where the name decides it already.
        DataError: the data set is not found, or has no images or no objects.
    """
    if split == "all":
        split, default_splits, part = None, (), None
    choice = Choice(split, default_splits, part, val_share)
    names = _split_names(name)
    if len(names) > 1:
        from .dataset import concatenate_datasets

        return concatenate_datasets(
            [
                open_dataset(
                    each, data, split, default_splits, on_message, part=part, val_share=val_share
                )
                for each in names
            ],
            _labels(names),
        )
    parsed, path = _parse_spec(name), _bare_path(name)
    if parsed is not None:
        format_name, path = parsed
        return choice.load(partial(_open_format, format_name, path, data))
    if path is not None:
        return choice.load(partial(_open_path, path, data))
    if name not in DATASETS:
        raise unknown_name("data set or path", name, SPECS)
    from .recognise import fits_any_format
    from .voc import find_root, load_voc

    year = DATASETS[name]
    folder = data_dir(data)
    if folder is None:
        if year is None:
            raise DataError(
                "no data set given",
                "name one (a folder, a file of annotations, voc2007), or give a folder with --data",
            )
        from .download import fetch_split

        folder, split = fetch_split(year, split, default_splits, on_message)
        choice = replace(choice, split=split)
    try:
        root = find_root(folder, year)
    except DataError:
        if year is None and fits_any_format(folder):
            return choice.load(partial(_open_path, folder, None))
        raise
    return choice.load(partial(load_voc, root, name))


def open_splits(
    name: str,
    data: Path | None = None,
    on_message: Callable[[str], None] = lambda message: None,
    val_share: float = VAL_SHARE,
) -> list[Dataset]:
    """Open every split of a data set: train (else trainval), val and test, or all it has.

    A test split without annotations, as challenges have it, is left out with a note.

    Args:
        name, data, on_message, val_share: see `open_dataset`.
    Raises:
        ConfigError, DataError: see `open_dataset`.
    """
    from .splits import ALL, hash_splits, split_in_name

    if not is_voc_challenge(name) and len(_split_names(name)) == 1:
        with contextlib.suppress(SplitError):
            whole = open_dataset(name, data, "all", on_message=on_message)
            if whole.split == ALL or split_in_name(whole.split) is None:
                return list(hash_splits(whole, val_share).values())
    splits: list[Dataset] = []
    for split in ("train", "trainval", "val", "test"):
        if split == "trainval" and splits:
            continue
        try:
            splits.append(open_dataset(name, data, split, (), on_message, val_share=val_share))
        except SplitError:
            continue
        except UnlabelledError as error:
            if split != "test" or not splits:
                raise
            splits[-1] = splits[-1].with_notes(f"split test is left out: {error.message}")
    if len(splits) == 2 and splits[0].val_share is None and splits[1].val_share is not None:
        opened = open_dataset(name, data, None, on_message=on_message, part="train",
                              val_share=val_share)  # fmt: skip
        splits[0] = opened  # without the images of val
    return splits or [open_dataset(name, data, None, on_message=on_message)]


def _open_format(
    format_name: str,
    path: Path,
    data: Path | None,
    split: str | None,
    default_splits: Sequence[str],
) -> Dataset:
    """Open a folder or file in a format; where it is none, the only data set below the folder, with
    a note."""
    load = FORMATS[format_name].load
    try:
        return load(path, data, split, default_splits)
    except DataError as error:
        below = path
        if path.is_dir() and not getattr(error, "available", ()):
            from .recognise import recognise

            with contextlib.suppress(DataError):
                found = recognise(path)
                below = found.path if found.format == format_name else path
        if below == path:
            raise
    return load(below, data, split, default_splits).with_notes(f"read {below}")


def _open_path(
    path: Path, data: Path | None, split: str | None, default_splits: Sequence[str]
) -> Dataset:
    """Open a folder or file in the format that it is recognised to have, and say so in a note."""
    from .recognise import recognise

    found = recognise(path)
    dataset = FORMATS[found.format].load(found.path, data, split, default_splits)
    note = f"read {found.path} as {found.format.upper()}: {found.description}"
    return replace(dataset, notes=(note, *dataset.notes))


def _labels(names: Sequence[str]) -> list[str]:
    """Short different labels for data sets: the ends of their paths that differ."""
    paths = [parsed[1] if (parsed := _parse_spec(each)) else Path(each) for each in names]
    parts = [path.resolve().with_suffix("").parts for path in paths]
    for depth in range(1, min(map(len, parts)) + 1):
        labels = [each[-depth] for each in parts]
        if len(set(labels)) == len(labels):
            return labels
    return list(names)
