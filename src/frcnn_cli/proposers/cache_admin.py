"""Maintenance of the cache: its content, its damaged entries, and what can be removed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError, printable
from ..runtime.files import PART
from ..runtime.locks import Locks
from ..runtime.safe_read import read_json
from .cache import METHOD_FILE, SUFFIX, decode
from .registry import FILE, PROPOSERS

_KEY = re.compile(r"[0-9a-f]{15,}")  # of an entry


@dataclass(frozen=True, kw_only=True)
class MethodFolder:
    """The entries of one method with its settings."""

    path: Path
    name: str  # of the method; with the row of PROPOSERS that has the same settings, if any
    current: bool  # whether this version of the program can use the entries
    entries: int
    size: int  # of all entries, bytes


def status(cache: Path) -> list[MethodFolder]:
    """The methods that have entries in a cache, by folder name."""
    rows = {build(1).digest: row for row, build in PROPOSERS.items()}
    folders = []
    for path in sorted(path for path in cache.glob("*") if path.is_dir()):
        sizes = [entry.stat().st_size for entry in _entries(path)]
        name = _method_name(path)
        row = rows.get(path.name)
        current = row is not None or name == FILE
        if row is not None and row != name:
            name = f"{name}, {row}"
        folders.append(
            MethodFolder(path=path, name=name, current=current, entries=len(sizes), size=sum(sizes))
        )
    return folders


def damaged(cache: Path, on_entry: Callable[[], None]) -> Iterator[Path]:
    """The damaged entries of a cache; `on_entry` is called after each entry that is read."""
    for folder in status(cache):
        for path in _entries(folder.path):
            if not path.is_file() or not _is_sound(path.read_bytes()):
                yield path
            on_entry()


def _is_sound(content: bytes) -> bool:
    """Whether an entry can be read, and its boxes lie in their image."""
    proposals = decode(content)
    if proposals is None:
        return False
    boxes, (height, width) = proposals.boxes, proposals.image_size
    return bool((boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= [width, height]).all())


def leftovers(cache: Path) -> list[Path]:
    """The half-written files that no running process is still writing."""
    files = []
    for folder in cache.glob("*"):
        locks = Locks(folder)
        for part in folder.glob(f"**/*{PART}"):
            if part.parent == folder:  # part of METHOD_FILE, which has no lock
                files.append(part)
                continue
            key = part.parent.name + part.name.lstrip(".").split(".")[0]
            if not _KEY.fullmatch(key):  # something else, which the cache did not write
                continue
            with locks.hold(key, wait=False) as held:
                if held:
                    files.append(part)
    return files


def clean_up(cache: Path, damaged_entries: list[Path]) -> tuple[int, int]:
    """Remove damaged entries and leftovers. Sound entries stay, even those of other versions.

    Returns:
        Number of files removed, and their bytes.
    """
    files = [path for path in [*damaged_entries, *leftovers(cache)] if not path.is_dir()]
    sizes = [path.stat().st_size for path in files]
    for path in files:
        path.unlink(missing_ok=True)
    return len(sizes), sum(sizes)


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*/*{SUFFIX}"))


def _method_name(folder: Path) -> str:
    try:
        method = read_json(folder / METHOD_FILE, "remove the folder")
        return printable(str(method["name"]))[:80]
    except (DataError, KeyError, TypeError):
        return folder.name.rsplit("-", 1)[0]  # early versions wrote no METHOD_FILE
