"""Splits of data sets: their spellings, the files that hold them, and splits by content."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..config import VAL_SHARE
from ..errors import ConfigError, DataError, SplitError, counted, short_list
from ..runtime.safe_read import open_regular
from .dataset import Dataset
from .folders import is_hidden, list_folder

# split -> its spellings
SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "validate", "eval", "evaluation"),
    "test": ("test", "testing"),
    "trainval": ("trainval",),
}
ALL = "all"  # the split of a data set that has none
TRAINING = ("trainval", "train")  # splits of which val is taken where there are no others
_FOLDERS = ("", "annotations", "Annotations", "labels")  # that may hold files of annotations


def canonical_split(name: str) -> str:
    """The key of SPLITS for a spelling of it; other names as they are."""
    lower = name.lower().removesuffix("set").rstrip("_- ")
    return next((split for split, spellings in SPLITS.items() if lower in spellings), name)


def split_in_name(stem: str) -> str | None:
    """The split that a file's name has in it, such as val in instances_val2017.

    Returns:
        A key of SPLITS; None if the name has no split, or several.
    """
    words = {canonical_split(word) for word in re.split(r"[^a-z]+", stem.lower())}
    found = words & SPLITS.keys()
    return found.pop() if len(found) == 1 else None


def split_of_file(path: Path, root: Path | None = None) -> str:
    """The split of a file of annotations: by its name or its folders, else its stem.

    Of val/annotations/a.json it is val.

    Args:
        root: the folder of the data set; the names of folders in it may have a split in them, those
            of others must be one.
    """
    place = path.parent.parent if path.parent.name in _FOLDERS[1:] else path.parent
    is_inside = root is not None and path.is_relative_to(root)
    folders = path.parent.relative_to(root).parts if root is not None and is_inside else ()
    named = filter(None, map(split_in_name, (path.stem, *reversed(folders))))
    folder = canonical_split(place.name)
    return next(named, folder if folder in SPLITS else path.stem)


def own_split(path: Path, root: Path | None = None) -> str:
    """The split of a file in a folder, as `split_of_file` tells it; ALL where it has none."""
    split = split_of_file(path, root)
    return split if split in SPLITS else ALL


def find_split_files(
    folder: Path, suffixes: Sequence[str], accepts: Callable[[Path], bool], is_deep: bool = True
) -> dict[str, list[Path]]:
    """The files of annotations in a folder, its folders of splits and of annotations, by split.

    Where these have none, the files in any folder at most two levels below count.

    Args:
        suffixes: endings of the files, in small letters. is_deep: look for such files.
    """
    places = [folder / name for name in _FOLDERS]
    children = list_folder(folder)
    places += [each for each in children if split_in_name(each.name)]
    found = _files_in(places, suffixes, accepts, folder)
    if found or not is_deep:
        return found
    below = [each for each in children if os.path.isdir(each) and not is_hidden(each.name)]
    below += [each for above in below for each in list_folder(above) if os.path.isdir(each)]
    return _files_in(below, suffixes, accepts, folder)


def _files_in(
    places: Sequence[Path], suffixes: Sequence[str], accepts: Callable[[Path], bool], root: Path
) -> dict[str, list[Path]]:
    """The files of annotations in some folders, by split."""
    files: dict[str, list[Path]] = defaultdict(list)
    seen: set[Path] = set()
    for place in dict.fromkeys(places):
        for path in list_folder(place):
            if path.suffix.lower() not in suffixes or is_hidden(path.name):
                continue
            if not os.path.isfile(path):
                continue
            real = path.resolve()
            if real not in seen and accepts(path):
                seen.add(real)
                files[split_of_file(path, root)].append(path)
    return dict(files)


def choose_file(
    name: str, files: dict[str, list[Path]], split: str | None, default_splits: Sequence[str]
) -> Path:
    """The file of a split.

    Args:
        name: of the data set, for messages. files: from `find_split_files`.
        split: None takes the first of `default_splits` that there is, or the only file.
    Raises:
        SplitError: there is no such split. DataError: it has several files.
    """
    known = short_list(files)
    asked = None if split is None else canonical_split(split)
    only = next(iter(files)) if len(files) == 1 else None
    chosen = asked if asked is not None else next((s for s in default_splits if s in files), only)
    if chosen not in files:
        raise SplitError(
            f"{name} has no split {chosen or ' or '.join(default_splits) or ALL}",
            f"choose one with --split: {known}" if known else "name a file of annotations",
            files,
        )
    paths = _usual_first(files[chosen])
    if len(paths) > 1:
        listed = ", ".join(path.name for path in paths[:5])
        raise DataError(
            f"{name} {chosen}: {len(paths)} files of annotations: {listed}", "name one of them"
        )
    return paths[0]


def unsplit_notes(files: Mapping[str, Sequence[Path]], chosen: str, own: Path) -> list[str]:
    """A note on files of annotations that are left out, since they are of no split and others are.

    Args:
        files: from `find_split_files`. chosen: the split that is read. own: its file.
    """
    unsplit = (paths for split, paths in files.items() if split not in SPLITS)
    others = [path for paths in unsplit for path in paths if path != own]
    if chosen not in SPLITS or not others:
        return []
    of = counted(len(others), "file of annotations that is", "files of annotations that are")
    return [f"left out {of} of no split, first {others[0]}"]


def choose_split(
    available: Iterable[str], name: str, split: str | None, default_splits: Sequence[str]
) -> str:
    """The split to load where each has images of its own: `split`, else the first default one.

    Raises:
        SplitError: there is none of these.
    """
    available = list(available)
    wanted = [canonical_split(each) for each in ([split] if split else default_splits)]
    chosen = next((each for each in wanted if each in available), None)
    if chosen is None:
        raise SplitError(
            f"{name} has no split {' or '.join(wanted) or ALL}",
            f"there are: {', '.join(available)}",
            available,
        )
    return chosen


def _usual_first(paths: list[Path]) -> list[Path]:
    """COCO's files of objects, where there are files of captions or keypoints beside them."""
    usual = [path for path in paths if path.name.startswith(("instances", "_annotations"))]
    return usual if len(usual) == 1 else paths


def hash_split(dataset: Dataset, name: str, val_share: float = VAL_SHARE) -> Dataset:
    """One of `hash_splits`, train or val."""
    return hash_splits(dataset, val_share)[name]


def hash_splits(dataset: Dataset, val_share: float = VAL_SHARE) -> dict[str, Dataset]:
    """The parts train and val of a data set that has no such splits, by the images' contents.

    The split is the same on every machine and whatever the files are called; copies of an image are
    in the same part. The part val of a smaller share is a part of that of a larger one.

    Args:
        val_share: of the images that are in val, above 0 and below 1.
    Raises:
        SplitError: the images are too few to be split. ConfigError: a share out of range.
    """
    if not 0 < val_share < 1:
        raise ConfigError(
            f"--val-share {val_share:g} is out of range",
            "expected above 0 and below 1; --split all trains on every image",
        )
    digests = [_digest(path) for path in dataset.paths]
    images, val = Counter(digests), set[bytes]()
    count, wanted = 0, max(round(len(digests) * val_share), 1)
    for digest in sorted(images):
        if count >= wanted:
            break
        val.add(digest)
        count += images[digest]
    if count >= len(digests):
        raise SplitError(
            f"{dataset.name} has no splits, and too few images for a split of its own",
            "leave out --split",
        )
    lacking = "split val" if dataset.split in SPLITS else "splits"
    note = (
        f"{dataset.name} has no {lacking}: {len(digests) - count} of its images are taken for "
        f"training and {count} for validation, by their contents"
    )
    parts = {}
    for name in ("train", "val"):
        chosen = [i for i, digest in enumerate(digests) if (digest in val) == (name == "val")]
        part = replace(dataset.select(chosen), split=name, val_share=val_share)
        parts[name] = part.with_notes(note)
    return parts


def only_training(error: SplitError) -> bool:
    """Whether all splits that a data set has are to train on."""
    return bool(error.available) and {*map(canonical_split, error.available)} <= {*TRAINING}


def own_part(dataset: Dataset, part: str, val_share: float = VAL_SHARE) -> Dataset:
    """The part train or val of a data set; a very small one as whole."""
    try:
        return hash_split(dataset, part, val_share)
    except SplitError:
        return dataset


def _digest(path: Path) -> bytes:
    """The hash of a file's content; of its name where it cannot be read."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").digest()
    except (OSError, ValueError):  # a name may hold a NUL
        return hashlib.sha256(path.name.encode("utf-8", "surrogateescape")).digest()
