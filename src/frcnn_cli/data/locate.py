"""Finds image files by the names that annotation files of other programs give them.

Such names may have been written on another machine: with \\ between folders, below a folder that is
not here, with an ending in other letters, or with accents that are composed differently.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from ..errors import DataError
from .file_types import SUFFIXES
from .folders import FileIndex, bare_name, is_hidden, normalized

_SAMPLE = 16  # names that decide in which folder the images are
_MAX_DROPPED = 8  # leading folders of a name that may be missing here


class ImageLocator:
    """Finds files below some folders; remembers the folders that it has listed."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self.folders = tuple(dict.fromkeys(folders))
        self._listings: dict[Path, dict[str, list[Path]]] = {}
        self._exist: dict[tuple[Path, tuple[str, ...]], bool] = {}

    def find(self, name: str) -> Path | None:
        """The file of that name in the first folder that has it; None if there is none.

        A name that is not there is tried again without its leading folders, one by one.
        """
        if Path(name).is_absolute() and os.path.isfile(name):
            return Path(name)
        parts = _parts(name)
        for dropped in range(min(len(parts), _MAX_DROPPED + 1)):
            for folder in self.folders:
                if not self._is_folder(folder, parts[dropped:-1]):
                    continue
                if (path := self.existing(folder.joinpath(*parts[dropped:]))) is not None:
                    return path
        return None

    def _is_folder(self, folder: Path, parts: tuple[str, ...]) -> bool:
        """Whether there is this folder; remembered, since there may be a name for each image."""
        if (folder, parts) not in self._exist:
            self._exist[folder, parts] = folder.joinpath(*parts).is_dir()
        return self._exist[folder, parts]

    def existing(self, path: Path) -> Path | None:
        """The path, or a file in its folder whose name differs in capitals, the form of accents or
        the ending; None if there is none, or more than one."""
        if os.path.isfile(path):  # unlike Path.is_file also for names that are too long
            return path
        listing = self._listing(path.parent)
        same = listing.get(normalized(path.name)) or listing.get(f"{normalized(path.name)}.*", [])
        if not same and path.suffix.lower() in SUFFIXES:  # it was saved in another format
            same = listing.get(f"{normalized(path.stem)}.*", [])
        return same[0] if len(same) == 1 else None

    def _listing(self, folder: Path) -> dict[str, list[Path]]:
        if folder not in self._listings:
            listing: dict[str, list[Path]] = defaultdict(list)
            for path in sorted(folder.iterdir()) if os.path.isdir(folder) else ():
                if path.suffix.lower() in SUFFIXES and not is_hidden(path.name):
                    listing[normalized(path.name)].append(path)
                    listing[f"{normalized(path.stem)}.*"].append(path)
            self._listings[folder] = dict(listing)
        return self._listings[folder]


def local_name(name: str) -> str:
    """A name of an image that stays below a folder: without host, drive, root and folders above.

    Of an address, what follows ? or # is left out, and %20 becomes a blank; Label Studio puts the
    path behind ?d=.
    """
    _, separator, behind = name.partition("/?d=")
    if separator:
        name = unquote(behind)
    elif "://" in name:
        name = unquote(urlsplit(name).path)
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part.strip("/. ")]
    if parts and len(parts[0]) == 2 and parts[0][1] == ":":
        parts = parts[1:]
    return "/".join(parts)


def searchable(folder: Path) -> Path | None:
    """A folder below which images may be looked for; None for one that holds everything."""
    everything = {folder.resolve().anchor, os.path.expanduser("~")}
    return None if str(folder.resolve()) in everything else folder


def locate_images(
    names: Sequence[str], folders: Sequence[Path], default: Path, root: Path | None = None
) -> tuple[list[Path], tuple[str, ...]]:
    """The files of images by the names in an annotation file.

    The folder, and the number of leading folders that names have too many, are those with which
    most of a sample of the names exist. Other names are looked for one by one.

    Args:
        names: unique. folders: where the images may be, the likeliest first.
        default: the folder that a name is appended to where no file is found.
        root: the folder below which images are looked for where no folder has any, from
            `searchable`.
    Returns:
        A path for each name, and a sentence where leading folders were left out.
    Raises:
        DataError: two names stand for the same file.
    """
    locator = ImageLocator(folders)
    sample = [names[len(names) * i // _SAMPLE] for i in range(_SAMPLE)]
    sample = list(dict.fromkeys(sample))
    depth = max(len(_parts(name)) for name in sample)
    best = (0, 0, default)  # negative number of files, dropped folders, folder
    for dropped in range(min(depth, _MAX_DROPPED + 1)):
        for folder in locator.folders:
            tried = (_below(folder, name, dropped) for name in sample)
            count = sum(locator.existing(path) is not None for path in tried)
            if count > -best[0]:
                best = (-count, dropped, folder)
    found, dropped, folder = best
    everywhere = FileIndex(root, SUFFIXES) if root is not None and not found else None
    counts = Counter(map(bare_name, names))
    paths = []
    for name in names:
        path = locator.existing(_below(folder, name, dropped)) or locator.find(name)
        if path is None and everywhere is not None:
            alike = everywhere.find_alike("/".join(_parts(name)), counts[bare_name(name)] == 1)
            path = everywhere.find(alike) if alike else None
        paths.append(path or _below(folder, name, 0))
    _check_unique(names, paths)
    if everywhere is not None and os.path.isfile(paths[0]):
        return paths, (f"{names[0]} is {paths[0]}, and the others likewise",)
    if not dropped:
        return paths, ()
    return paths, (f"{names[0]} is not here, so {paths[0]} was read, and the others likewise",)


def _check_unique(names: Sequence[str], paths: Sequence[Path]) -> None:
    first: dict[Path, str] = {}
    for name, path in zip(names, paths, strict=True):
        if first.setdefault(path, name) != name:
            raise DataError(
                f"{first[path]} and {name} would both be the image {path}",
                "name the folder of the images with --data",
            )


def _below(folder: Path, name: str, dropped: int) -> Path:
    if os.path.isfile(folder / name):  # a \ may be a part of the name
        return folder / name
    parts = _parts(name)
    return folder.joinpath(*parts[min(dropped, len(parts) - 1) :])


def _parts(name: str) -> tuple[str, ...]:
    """The folders and the file of a name that is written with / or \\, without . and .. ."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return tuple(part for part in parts if part not in ("/", ".", "..")) or (name,)
