"""Looking after the cache: what is in it, whether it is sound, what can go."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..runtime.files import PART
from ..runtime.locks import Locks
from .cache import ABOUT, SUFFIX, decode
from .registry import FILE, PROPOSERS


@dataclass(frozen=True)
class Folder:
    """The entries of one method with its settings."""

    path: Path
    name: str  # of the method, with its mode where a row of PROPOSERS has these settings
    current: bool  # this version can still use it
    entries: int
    size: int  # bytes


def status(cache: Path) -> list[Folder]:
    """The methods that have entries in a cache, by folder name."""
    modes = {build(1).digest: mode for mode, build in PROPOSERS.items()}
    found = []
    for path in sorted(path for path in cache.glob("*") if path.is_dir()):
        sizes = [entry.stat().st_size for entry in _entries(path)]
        name = _name(path)
        mode = modes.get(path.name)
        current = mode is not None or name == FILE
        if mode is not None and mode != name:
            name = f"{name}, {mode}"
        found.append(Folder(path, name, current, len(sizes), sum(sizes)))
    return found


def damaged(cache: Path, on_entry: Callable[[], None]) -> Iterator[Path]:
    """Entries that are not as they were written; `on_entry` is called after each that is read."""
    for folder in status(cache):
        for path in _entries(folder.path):
            if decode(path.read_bytes()) is None:
                yield path
            on_entry()


def leftovers(cache: Path) -> list[Path]:
    """Files of writers that were killed: half-written, and not claimed by a running one."""
    found = []
    for folder in cache.glob("*"):
        claims = Locks(folder)
        for part in folder.glob(f"**/*{PART}"):
            key = part.parent.name + part.name.lstrip(".").split(".")[0]
            if part.parent == folder:  # of the folder's description, which is no entry
                found.append(part)
                continue
            with claims.claim(key, wait=False) as free:
                if free:
                    found.append(part)
    return found


def clean(cache: Path, damaged_entries: list[Path]) -> tuple[int, int]:
    """Remove damaged entries and leftovers; sound entries stay, whoever may use them.

    Returns:
        Number of files removed, and their bytes.
    """
    files = [*damaged_entries, *leftovers(cache)]
    freed = [path.stat().st_size for path in files]
    for path in files:
        path.unlink(missing_ok=True)
    return len(freed), sum(freed)


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*/*{SUFFIX}"))


def _name(folder: Path) -> str:
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        return str(about["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return folder.name.rsplit("-", 1)[0]  # made before folders said so
