"""Finds image files by the names that annotation files of other programs give them.

Such names may have been written on another machine: with \\ between folders, below a folder that is
not here, with an ending in other letters, or with accents that are composed differently.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from ..errors import DataError, short_list
from .file_types import SUFFIXES
from .folders import FileIndex, bare_name, called, is_hidden, list_folder, normalized
from .splits import ALL, SPLITS, split_in_name

_SAMPLE = 16  # names that decide in which folder the images are
_UPLOAD = re.compile(r"^[0-9a-f]{8}-")  # which Label Studio puts before the names of files
_MAX_NAME = 4096  # bytes; paths of more folders take long
_MAX_DROPPED = 8  # leading folders of a name that may be missing here


class ImageLocator:
    """Finds files below some folders.

    A folder is listed when the first file is missing in it. From then on, a name that is not in the
    listing costs no call of the system, as long lists of files that are not there would.
    """

    def __init__(self, folders: Iterable[Path], like: ImageLocator | None = None) -> None:
        """Look at the folders.

        Args:
            like: another locator, whose listings are used and added to.
        """
        self.folders = tuple(dict.fromkeys(folders))
        self._present = [str(folder) for folder in self.folders if os.path.isdir(folder)]
        self._listings: dict[str, dict[str, list[Path]]] = {} if like is None else like._listings

    def find(self, name: str) -> Path | None:
        """The file of that name in the first folder that has it; None if there is none.

        A name that is not there is tried again without its leading folders, one by one.
        """
        if os.path.isabs(name) and os.path.isfile(name):
            return Path(name)
        *folders, file = _parts(name)
        keys = _keys(file)
        for dropped in range(min(len(folders), _MAX_DROPPED) + 1):
            for present in self._present:
                folder = self._folder_below(present, folders[dropped:])
                if folder is not None and (path := self._in_folder(folder, file, keys)) is not None:
                    return path
        return None

    def _folder_below(self, folder: str, parts: Sequence[str]) -> str | None:
        """The path of a folder below one that is there; None if there is none."""
        for part in parts:
            if normalized(part) not in self._listing(folder):
                return None
            folder = os.path.join(folder, part)
        return folder if not parts or os.path.isdir(folder) else None

    def existing(self, path: str) -> Path | None:
        """The path, or a file in its folder whose name differs in capitals, the form of accents or
        the ending; None if there is none, or more than one."""
        folder, file = os.path.split(path)
        return self._in_folder(folder, file, _keys(file))

    def _in_folder(self, folder: str, file: str, keys: Sequence[str]) -> Path | None:
        """See `existing`.

        Args:
            keys: from `_keys`.
        """
        path = os.path.join(folder, file)
        if folder not in self._listings and os.path.isfile(path):
            return Path(path)
        listing = self._listing(folder)
        found = [key for key in keys if key in listing]
        if not found:
            return None
        if os.path.isfile(path):
            return Path(path)
        same = next(filter(None, map(listing.__getitem__, found)), [])
        return same[0] if len(same) == 1 else None

    def is_file(self, path: str) -> bool:
        """Whether there is this very file."""
        folder, name = os.path.split(path)
        if folder in self._listings and normalized(name) not in self._listings[folder]:
            return False
        return os.path.isfile(path)  # unlike Path.is_file also for names that are too long

    def _listing(self, folder: str) -> dict[str, list[Path]]:
        """The images in a folder by normalised name, and by the name without ending and with /*.

        Other files and folders are there with an empty list.
        """
        if folder not in self._listings:
            listing: dict[str, list[Path]] = defaultdict(list)
            for each in list_folder(Path(folder)):
                name = normalized(each.name)
                own = listing[name]
                if (stem := _stem(name)) != name and not is_hidden(each.name):
                    own.append(each)
                    listing[f"{stem}/*"].append(own[-1])
            self._listings[folder] = dict(listing)
        return self._listings[folder]


def _keys(name: str) -> tuple[str, ...]:
    """The keys of a listing under which a file may be: with its name, with any ending, and, if it
    has the ending of an image, with another one; and so without Label Studio's letters, without
    blanks around it, and with the letters that are written as in addresses, such as %20."""
    written = [normalized(each) for each in dict.fromkeys((name, unquote(name), name.strip()))]
    names = dict.fromkeys((*written, *(_UPLOAD.sub("", each) for each in written)))
    return tuple(
        dict.fromkeys(key for each in names for key in (each, f"{each}/*", f"{_stem(each)}/*"))
    )


def _stem(name: str) -> str:
    """A normalised name without the ending of an image; the name itself if it has none."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix in SUFFIXES else name


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
    names: Sequence[str],
    folders: Sequence[Path],
    default: Path,
    root: Path | None = None,
    split: str = ALL,
) -> tuple[list[Path], tuple[str, ...]]:
    """The files of images by the names in an annotation file.

    The folder, and the number of leading folders that names have too many, are those with which
    most of a sample of the names exist. Other names are looked for one by one.

    Args:
        names: unique. folders: where the images may be, the likeliest first.
        default: the folder that a name is appended to where no file is found.
        root: the folder below which images are looked for where no folder has any, from
            `searchable`.
        split: of the images, whose names may tell another one.
    Returns:
        A path for each name, and a sentence where leading folders were left out.
    Raises:
        DataError: a name can be that of no file; two names stand for the same file; or an image is
            nowhere but in the folder of another split.
    """
    unfit = next((name for name in names if not _may_be_path(name)), None)
    if unfit is not None:
        problem = f"{unfit!r:.80}, of {len(unfit):,} letters, can be the name of no file"
        raise DataError(problem, "mend the annotations")
    locator = ImageLocator(folders)
    sample = [names[len(names) * i // _SAMPLE] for i in range(_SAMPLE)]
    sample = list(dict.fromkeys(sample))
    depth = max(len(_parts(name)) for name in sample)
    best = (0, 0, default)  # negative number of files, dropped folders, folder
    for dropped in range(min(depth, _MAX_DROPPED + 1)):
        for folder in locator.folders:
            tried = (_below(locator, folder, name, dropped) for name in sample)
            count = sum(locator.existing(path) is not None for path in tried)
            if count > -best[0]:
                best = (-count, dropped, folder)
    found, dropped, folder = best
    everywhere = FileIndex(root, SUFFIXES) if root is not None and not found else None
    if everywhere is not None and not everywhere.names:
        everywhere = None
    counts = Counter(map(bare_name, names)) if everywhere is not None else Counter()
    paths = []
    for name in names:
        path = locator.existing(_below(locator, folder, name, dropped)) or locator.find(name)
        if path is None and everywhere is not None:
            plain = _as_there("/".join(_parts(name)), everywhere)
            several = everywhere.names_like(plain)
            alike = everywhere.find_alike(plain, counts[bare_name(name)] == 1)
            alike = alike or _of_split(several, _split_in_folders(name) or split)
            if alike is None and len(several) > 1 and "/" not in plain:
                raise DataError(
                    f"{name} may be {short_list(several, 2)}, below {everywhere.folder}",
                    "name the folder of the images with --data",
                )
            if alike:
                alternatives = everywhere.find_all(alike)
                path = called(alternatives, name) or alternatives[0]
                _check_split(name, split, alike, path)
        paths.append(path or Path(_below(locator, folder, name, 0)))
    _check_unique(names, paths)
    if everywhere is not None and os.path.isfile(paths[0]):
        return paths, (f"{names[0]} is {paths[0]}, and the others likewise",)
    if not dropped:
        return paths, ()
    return paths, (f"{names[0]} is not here, so {paths[0]} was read, and the others likewise",)


def _may_be_path(name: str) -> bool:
    try:
        return len(os.fsencode(name)) <= _MAX_NAME
    except UnicodeEncodeError:  # half a letter of UTF-16
        return False


def _check_split(name: str, split: str, found: str, path: Path) -> None:
    """Check that the folders of a file that was found are not of another split than its name."""
    own = _split_in_folders(name) or (split if split in SPLITS else None)
    other = _split_in_folders(found)
    if own is None or other is None or own == other:
        return
    if not {own, other} <= {"train", "val", "trainval"} or "trainval" not in (own, other):
        raise DataError(
            f"{name}, of split {own}, is only in {path.parent}, of split {other}",
            "add the images, or name their folder with --data",
        )


def _as_there(name: str, index: FileIndex) -> str:
    """A name, or a form of it that files have: without the letters of Label Studio, or as in an
    address."""
    folders, slash, last = name.rpartition("/")
    forms = (last, unquote(last), _UPLOAD.sub("", last), _UPLOAD.sub("", unquote(last)))
    return folders + slash + next(filter(index.names_like, forms), last)


def _of_split(names: Sequence[str], split: str) -> str | None:
    """The only one of some names whose folders are of a split; None where there is none."""
    own = [name for name in names if split in SPLITS and _split_in_folders(name) == split]
    return own[0] if len(own) == 1 else None


def _split_in_folders(name: str) -> str | None:
    """The split in the names of the folders of a path; None where they have none, or several."""
    found = set(filter(None, map(split_in_name, _parts(name)[:-1])))
    return found.pop() if len(found) == 1 else None


def _check_unique(names: Sequence[str], paths: Sequence[Path]) -> None:
    first: dict[Path, str] = {}
    for name, path in zip(names, paths, strict=True):
        if first.setdefault(path, name) != name:
            raise DataError(
                f"{first[path]} and {name} would both be the image {path}",
                "name the folder of the images with --data",
            )


def _below(locator: ImageLocator, folder: Path, name: str, dropped: int) -> str:
    path = os.path.join(folder, name)
    if (dropped or "\\" in name) and locator.is_file(path):  # a \ may be a part of the name
        return path
    parts = _parts(name)
    return os.path.join(folder, *parts[min(dropped, len(parts) - 1) :])


def _parts(name: str) -> tuple[str, ...]:
    """The folders and the file of a name that is written with / or \\, without . and .. ."""
    parts = name.replace("\\", "/").split("/")
    return tuple(part for part in parts if part not in ("", ".", "..")) or (name,)
