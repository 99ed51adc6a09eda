"""Locks by key, so that many threads and processes share the work of one cache.

A lock is an advisory lock on one byte of a lock file; the key gives the offset of the byte. The
operating system releases it when the process ends, however it ends, so no lock outlives its owner.
Where the system has no such locks (Windows, some network file systems), every attempt succeeds: an
entry may then be made twice, with the same content.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import FrcnnError

try:
    import fcntl
except ImportError:  # Windows
    HAS_LOCKS = False
else:
    HAS_LOCKS = True

OWNER_FILE = ".process"  # in a folder that one process alone may use: the number of that process
FILE = "claims.lock"  # the same in all versions of the program, which may share a folder
_HELD_ELSEWHERE = (errno.EACCES, errno.EAGAIN)
_POLL = 0.02  # seconds


class Locks:
    """The locks of one folder; keys are hexadecimal strings, of which the first 15 digits count.

    Threads of one process must share one object, or they do not exclude one another. A pickled copy
    is for another process: it holds none of the locks of the original, which exclude it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._guard = threading.Lock()
        self._held: set[str] = set()  # the system's locks do not exclude threads of one process
        self._file: int | None = None

    def __reduce__(self) -> tuple[type[Locks], tuple[Path]]:
        return Locks, (self._folder,)

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)

    @contextlib.contextmanager
    def hold(self, key: str, *, wait: bool) -> Iterator[bool]:
        """Hold the lock of `key` until the block ends.

        Args:
            wait: until the thread or process that holds the lock now releases it.
        Yields:
            Whether the block holds the lock; False only if another holds it and `wait` is False.
        Raises:
            OSError: the lock file cannot be made.
        """
        while not (acquired := self._acquire(key)) and wait:
            time.sleep(_POLL)
        try:
            yield acquired
        finally:
            if acquired:
                self._release(key)

    def _acquire(self, key: str) -> bool:
        with self._guard:
            if key in self._held or not self._lock_byte(key):
                return False
            self._held.add(key)
            return True

    def _lock_byte(self, key: str) -> bool:
        if not HAS_LOCKS:
            return True
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._file = os.open(self._folder / FILE, flags, 0o666)
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _offset(key))
        except OSError as error:
            return error.errno not in _HELD_ELSEWHERE  # other errors: no locks on this file system
        return True

    def _release(self, key: str) -> None:
        with self._guard:
            self._held.discard(key)
            if self._file is not None:
                with contextlib.suppress(OSError):
                    fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _offset(key))


def _offset(key: str) -> int:
    return int(key[:15], 16)


@contextlib.contextmanager
def sole_process(folder: Path) -> Iterator[None]:
    """Keep other processes from using a folder until the block or the process ends.

    Raises:
        FrcnnError: another process uses it; the message gives its number.
        OSError: the folder cannot be written to.
    """
    file = os.open(folder / OWNER_FILE, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
    try:
        if HAS_LOCKS:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in _HELD_ELSEWHERE:
                    owner = os.read(file, 20).decode("ascii", "replace").strip() or "unknown"
                    raise FrcnnError(
                        f"{folder} is in use by process {owner}", "wait until it ends, or stop it"
                    ) from None
        os.ftruncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(file)
