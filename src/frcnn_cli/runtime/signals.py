"""Signals that stop a program: SIGINT, SIGTERM and SIGHUP."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class StopSignal:
    """A context manager in which STOPPING signals set `requested` instead of ending the program.

    A second signal has its usual effect. Outside the main thread, where Python allows no handlers,
    nothing is changed.
    """

    def __init__(self) -> None:
        self.requested = False
        self._earlier_handlers: dict[int, object] = {}

    def __enter__(self) -> None:
        self._earlier_handlers = _replace_handlers(self._request)

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        _restore_handlers(self._earlier_handlers)

    def __exit__(self, *exception: object) -> None:
        _restore_handlers(self._earlier_handlers)


@contextmanager
def signals_put_off() -> Iterator[None]:
    """Give STOPPING signals their effect at the end of the block, which must be short.

    Where the handler of a signal raises an exception in the methods of a future or of an executor,
    a lock may stay locked for ever, and the program hangs when it waits for its threads. Only the
    main thread is interrupted so; nothing is changed in others.
    """
    came: list[int] = []
    earlier = _replace_handlers(lambda number, frame: came.append(number))
    try:
        yield
    finally:
        _restore_handlers(earlier)
        for number in came:
            signal.raise_signal(number)


def _replace_handlers(handler: object) -> dict[int, object]:
    """Handle STOPPING signals by `handler`; returns the handlers of before."""
    earlier: dict[int, object] = {}
    if threading.current_thread() is threading.main_thread():
        for number in STOPPING:
            # ignored by nohup; None is a handler that is not Python's
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                earlier[number] = signal.signal(number, handler)  # type: ignore[arg-type]
    return earlier


def _restore_handlers(earlier: dict[int, object]) -> None:
    while earlier:
        signal.signal(*earlier.popitem())  # type: ignore[arg-type]
