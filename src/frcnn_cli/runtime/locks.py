"""Who makes which entry: so that many threads and processes share the work of one cache.

A claim is an advisory lock on one byte of a lock file, at an offset that the key gives. The system
drops it when the process ends, however it ends, so nothing is ever left claimed. Where locks are
not to be had (Windows, some network file systems), every claim succeeds: an entry may then be made
twice, with the same content.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    HAS_LOCKS = False
else:
    HAS_LOCKS = True

FILE = "claims.lock"
_TAKEN = (errno.EACCES, errno.EAGAIN)
_POLL = 0.02  # seconds


class Locks:
    """The claims of this process in one folder; keys are hexadecimal."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._guard = threading.Lock()
        self._held: set[str] = set()  # locks of one process do not exclude its own threads
        self._file: int | None = None

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)

    @contextlib.contextmanager
    def claim(self, key: str, wait: bool) -> Iterator[bool]:
        """Hold a claim within the block; False where another holds it and `wait` is not set."""
        while not (mine := self._take(key)) and wait:
            time.sleep(_POLL)
        try:
            yield mine
        finally:
            if mine:
                self._drop(key)

    def _take(self, key: str) -> bool:
        with self._guard:
            if key in self._held or not self._lock(key):
                return False
            self._held.add(key)
            return True

    def _lock(self, key: str) -> bool:
        if not HAS_LOCKS:
            return True
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _offset(key))
        except OSError as error:
            return error.errno not in _TAKEN
        return True

    def _drop(self, key: str) -> None:
        with self._guard:
            self._held.discard(key)
            if self._file is not None:
                with contextlib.suppress(OSError):
                    fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _offset(key))


def _offset(key: str) -> int:
    return int(key[:15], 16)
