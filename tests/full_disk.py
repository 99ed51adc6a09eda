"""Makes the n-th write fail, for every n, as on a full disk; and the n-th large allocation."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from frcnn_cli.checkpoints import weights
from frcnn_cli.errors import FrcnnError

_WRITING = (
    (tempfile, "mkstemp"), (os, "replace"), (os, "fsync"), (pathlib.Path, "mkdir"),
    (pathlib.Path, "chmod"), (pathlib.Path, "write_bytes"), (Image.Image, "save"),
    (torch, "save"), (weights, "save_file"), (safetensors.torch, "save_file"),
)  # fmt: skip
_ALLOCATING = (
    *((np, name) for name in ("empty", "zeros", "ones", "full", "stack", "concatenate")),
    *((np, name) for name in ("ascontiguousarray", "argsort", "repeat", "frombuffer")),
    *((torch, name) for name in ("empty", "zeros", "cat", "from_numpy", "stack")),
    (Image, "fromarray"), (Image.Image, "resize"), (Image.Image, "crop"),
)  # fmt: skip


class Countdown:
    """Counts calls; the n-th one of all raises an error."""

    def __init__(self, n: int, error: Callable[[], BaseException]) -> None:
        self.left, self.failed, self._error = n, False, error

    def count(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.failed = True
            raise self._error()

    def of(self, function: Callable) -> Callable:
        def call(*arguments: object, **options: object) -> object:
            self.count()
            return function(*arguments, **options)

        return call


class _File:
    """A file whose writes are counted."""

    def __init__(self, file: Any, countdown: Countdown) -> None:
        self._file, self._countdown = file, countdown

    def write(self, content: Any) -> int:
        self._countdown.count()
        return self._file.write(content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()


@contextlib.contextmanager
def full_disk(n: int) -> Iterator[Countdown]:
    """The n-th call that writes fails."""
    countdown = Countdown(n, lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    plain = pathlib.Path.open

    def opened(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if not set(mode) & set("wax+"):
            return plain(path, mode, *arguments, **options)
        countdown.count()
        return _File(plain(path, mode, *arguments, **options), countdown)

    with pytest.MonkeyPatch.context() as monkeypatch:
        for owner, name in _WRITING:
            monkeypatch.setattr(owner, name, countdown.of(getattr(owner, name)))
        monkeypatch.setattr(pathlib.Path, "open", opened)
        yield countdown


@contextlib.contextmanager
def full_memory(n: int) -> Iterator[Countdown]:
    """The n-th call that makes an array, a tensor or an image fails."""
    countdown = Countdown(n, MemoryError)
    with pytest.MonkeyPatch.context() as monkeypatch:
        for owner, name in _ALLOCATING:
            monkeypatch.setattr(owner, name, countdown.of(getattr(owner, name)))
        yield countdown


def contents(folder: Path) -> dict[Path, bytes]:
    """The content of every file below a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_every_write(
    root: Path,
    commit: Callable[[Path], object],
    kept: set[str] = frozenset(),  # type: ignore[assignment]
    same: Callable[[Path, bytes], bool] = lambda path, content: path.read_bytes() == content,
) -> int:
    """Check that a commit writes each of its files wholly or not at all, whichever write fails.

    Args:
        root: an empty folder. commit: writes files into a folder. kept: names of files that a
            second commit does not write. same: whether a file has this content.
    Returns:
        The number of writes that failed.
    """
    for n in range(1, 100):
        folder = root / str(n)
        folder.mkdir()
        commit(folder)
        new = contents(folder)
        written = {path: content for path, content in new.items() if path.name not in kept}
        for path in written:
            path.write_bytes(b"old")
        with full_disk(n) as disk, contextlib.suppress(FrcnnError):
            commit(folder)
        assert contents(folder).keys() == new.keys()
        for path, content in written.items():
            assert same(path, content) or (disk.failed and path.read_bytes() == b"old"), (n, path)
        if not disk.failed:
            return n - 1
    raise AssertionError("it never ends")
