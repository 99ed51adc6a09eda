"""Listing the files of a folder that other programs filled, and finding one of them by its name."""

from __future__ import annotations

import errno
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence, Set
from pathlib import Path

from ..errors import DataError
from .file_types import SUFFIXES

MAX_FILES, MAX_DEPTH = 3_000_000, 50  # below a folder; OpenImages has 1.9 million images
_PSEUDO_FOLDERS = frozenset({"/proc", "/sys", "/dev"})  # what is in them are no files on a disk
_MAX_AROUND = 500_000  # files, which take some seconds to list
_TOLD = 250_000  # files, after each of which a user is told that there are more to look at
_SYSTEM_NAMES = frozenset(
    {
        "__macosx", "thumbs.db", "desktop.ini", "@eadir", "lost+found", "$recycle.bin",
        "system volume information",
    }
)  # fmt: skip


# words in the names of folders that hold pictures of the classes of all pixels
_MASKS = frozenset({"mask", "masks", "segmentationclass", "segmentationobject", "trimaps"})


class FolderError(DataError):
    """A folder may not be looked into, or holds more than is looked at."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder belongs to the system rather than to the user.

    True for names that begin with a dot (macOS writes ._a.jpg beside a.jpg, notebooks
    .ipynb_checkpoints), and for __MACOSX, Thumbs.db and their like.
    """
    return name.startswith(".") or name.casefold() in _SYSTEM_NAMES


def list_folder(folder: Path) -> list[Path]:
    """What a folder holds, sorted; nothing where it is no folder.

    Raises:
        FolderError: it may not be looked into.
    """
    try:
        return sorted(Path(folder, name) for name in os.listdir(folder))
    except OSError as error:
        _tell_unreadable(error)
    except ValueError:  # a name may hold a NUL
        pass
    return []


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder; none where it may not be looked into, as others' folders."""
    try:
        entries = list_folder(folder)
    except FolderError:
        return []
    return [each for each in entries if os.path.isdir(each) and not is_hidden(each.name)]


def walk_files(
    folder: Path,
    recursive: bool = True,
    limit: int = MAX_FILES,
    on_note: Callable[[str], None] = lambda note: None,
) -> tuple[list[Path], int]:
    """The files below a folder, sorted, and the number of hidden files that are left out.

    Args:
        recursive: look in the folders inside `folder` too, but not in hidden ones, in those that
            are looked in already, as links may lead to them, nor in /proc, /sys and /dev.
        limit: number of files and folders that are looked at.
        on_note: called with a sentence while very many are looked at.
    Raises:
        FolderError: there are more, or folders in MAX_DEPTH others; or a folder may not be looked
            into.
    """
    if "\0" in str(folder):  # there is no such folder
        return [], 0
    files: list[Path] = []
    links = _Links(folder)
    hidden = seen = 0
    for parent, folders, names in os.walk(folder, onerror=_tell_unreadable, followlinks=True):
        folders[:] = [
            name
            for name in folders
            if recursive
            and not is_hidden(name)
            and os.path.join(parent, name) not in _PSEUDO_FOLDERS
            and links.may_follow(os.path.join(parent, name))
        ]
        told = seen // _TOLD
        seen += len(names) + len(folders)
        if seen // _TOLD > told:
            on_note(f"{folder}: {seen:,} files so far")
        depth = parent[len(str(folder)) :].count(os.sep)
        if seen > limit or depth > MAX_DEPTH:
            many = f"more than {limit:,} files" if seen > limit else f"{depth} levels of folders"
            raise FolderError(
                f"{folder} holds {many}, too many to look at",
                "name the folder of the data or images",
            )
        hidden += sum(map(is_hidden, names))
        files += [Path(parent, name) for name in names if not is_hidden(name)]
    return sorted(files), hidden


def files_around(folder: Path, suffixes: Set[str]) -> list[Path]:
    """The files below a folder with these endings, for notes on those that are left out; none where
    it holds very many, or a folder that may not be looked into."""
    try:
        files, _ = walk_files(folder, limit=_MAX_AROUND)
    except FolderError:
        return []
    return [path for path in files if path.suffix.lower() in suffixes]


class _Links:
    """Which links to folders lead to something new in a walk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._targets: list[str] = []  # of links that are followed

    def may_follow(self, path: str) -> bool:
        """Whether a folder is no link, or one to a folder that neither holds one that is looked in
        nor is looked in already. It is then looked in."""
        if not os.path.islink(path):
            return True
        target = os.path.realpath(path)
        if target in _PSEUDO_FOLDERS:
            return False
        roots = [os.path.realpath(self._folder), *self._targets]
        if any(_lies_in(root, target) or _is_seen(target, root) for root in roots):
            return False
        self._targets.append(target)
        return True


def _lies_in(path: str, folder: str) -> bool:
    """Whether an absolute path is that of a folder, or of something in it."""
    return os.path.join(path, "").startswith(os.path.join(folder, ""))


def _is_seen(path: str, root: str) -> bool:
    """Whether an absolute path lies in a folder, and not in a hidden one there."""
    return _lies_in(path, root) and not any(map(is_hidden, path[len(root) :].split(os.sep)))


def _tell_unreadable(error: OSError) -> None:
    """Raise a FolderError for a folder that may not be looked into, not for one that is absent."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return
    if error.errno not in (errno.ENAMETOOLONG, errno.ELOOP):
        raise FolderError(
            f"cannot look into the folder {error.filename}: {error.strerror}",
            "mend its permissions, or move it out of the data set",
        ) from None


def count_endings(paths: Iterable[Path]) -> str:
    """How many files have each ending, the most frequent first: "3 .txt, 1 without ending"."""
    counts = Counter(path.suffix.lower() or "without ending" for path in paths)
    return ", ".join(f"{count} {ending}" for ending, count in counts.most_common(8))


def hidden_note(count: int) -> str:
    """The note on hidden files that were left out."""
    names = "names begin with a dot or belong to the system"
    return f"{count} {'files' if count > 1 else 'file'} whose {names}: ignored"


def normalized(name: str) -> str:
    """A name in the form in which names are compared when no file has exactly the one asked for.

    macOS stores letters with accents in two parts (NFD) where other systems use one (NFC).
    """
    return unicodedata.normalize("NFC", name).casefold()


def bare_name(name: str) -> str:
    """The last part of a name without the ending of an image: train/a.jpg becomes a."""
    last = normalized(name).rstrip("/").rpartition("/")[2]
    stem, suffix = os.path.splitext(last)
    return stem if suffix in SUFFIXES else last


def folder_words(name: str) -> set[str]:
    """The words in the folders of a name, in small letters."""
    return set(re.split(r"[^a-z0-9]+", name.rpartition("/")[0].casefold())) - {""}


def is_mask(name: str) -> bool:
    """Whether a name is in a folder called masks, or like VOC's folders of them."""
    return not folder_words(name).isdisjoint(_MASKS)


def without_masks(names: Sequence[str]) -> list[str]:
    """Names without those of masks, where others have the same last part."""
    others = {bare_name(name) for name in names if not is_mask(name)}
    return [name for name in names if not is_mask(name) or bare_name(name) not in others]


def called(paths: Sequence[Path], name: str) -> Path | None:
    """The first path whose file has the last part of a name, which is written with / or \\."""
    last = normalized(name).replace("\\", "/").rpartition("/")[2]
    return next((path for path in paths if normalized(path.name) == last), None)


class FileIndex:
    """The files below a folder by their names: paths in the folder, with / and without ending."""

    def __init__(self, folder: Path, suffixes: Set[str], recursive: bool = True) -> None:
        """Read the names.

        Args:
            suffixes: endings of the files, in small letters; the files may have capitals.
        """
        self.folder = folder
        files, self.hidden = walk_files(folder, recursive)
        self._paths: dict[str, list[Path]] = defaultdict(list)
        own = [path for path in files if path.suffix.lower() in suffixes]
        for path in sorted(own, key=lambda path: (path.suffix != ".jpg", path.suffix.lower())):
            self._paths[path.relative_to(folder).with_suffix("").as_posix()].append(path)
        self._names: dict[str, list[str]] = defaultdict(list)
        self._alike: dict[str, list[str]] = defaultdict(list)
        for name in self._paths:
            self._names[normalized(name)].append(name)
            self._alike[bare_name(name)].append(name)

    @property
    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._paths)

    def find_name(self, name: str) -> str | None:
        """The name of the file that `name` means: the same, or the only one that normalises so."""
        if name in self._paths:
            return name
        similar = self._names.get(normalized(name), [])
        return similar[0] if len(similar) == 1 else None

    def find_alike(self, name: str, is_unique: bool) -> str | None:
        """The name of the file that has the same last part, wherever it is below the folder.

        Of several such files, the one counts whose folders share most words with those of `name`:
        labels_train/a goes with train/images/a rather than with val/images/a.

        Args:
            is_unique: whether no other name has this last part; else the folders must share a word.
        """
        found = self.names_like(name)
        if not found:
            return None
        if is_unique and len(found) == 1:
            return found[0]
        shared = [len(folder_words(each) & folder_words(name)) for each in found]
        most = max(shared, default=0)
        return found[shared.index(most)] if most and shared.count(most) == 1 else None

    def names_like(self, name: str) -> list[str]:
        """The names that have the same last part as a name, without masks unless it is one."""
        found = self._alike.get(bare_name(name), [])
        return found if is_mask(name) else without_masks(found)

    def is_unique(self, name: str) -> bool:
        """Whether at most one file has the last part of a name."""
        return len(self.names_like(name)) < 2

    def find(self, name: str) -> Path | None:
        """The file of that name, or of the only one that normalises so; None: there is none.

        Where files differ only in their endings, it is the first of `find_all`.
        """
        return next(iter(self.find_all(name)), None)

    def find_all(self, name: str) -> list[Path]:
        """The files of that name with their several endings, .jpg first; see `find`."""
        found = self.find_name(name)
        return [] if found is None else self._paths[found]
