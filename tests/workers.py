"""Functions that tests run in other processes, which can import this module by its name."""

from __future__ import annotations

import os
from multiprocessing.synchronize import Event

from frcnn_cli.runtime.locks import Locks


def square_or_fail(number: int) -> tuple[int, int]:
    """The square, and the process that computed it; 3 fails."""
    if number == 3:
        raise KeyError(number)
    return number * number, os.getpid()


def can_hold(locks: Locks, key: str) -> bool:
    """Whether nobody else holds a lock."""
    with locks.hold(key, wait=False) as acquired:
        return acquired


def hold_until(locks: Locks, key: str, held: Event, done: Event) -> None:
    """Set `held` when the lock is held, and hold it until `done` is set."""
    with locks.hold(key, wait=True):
        held.set()
        done.wait(60)
