"""Stopping a run on SIGINT, SIGTERM or SIGHUP without losing what it has done."""

from __future__ import annotations

import signal
import threading
from types import FrameType

STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class InterruptedRun(Exception):  # noqa: N818 - a request, not an error
    """A run was asked to stop; it has written a checkpoint.

    Args:
        message: how many iterations are done. hint: how to continue.
    """

    def __init__(self, message: str = "stopped", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class StopSignal:
    """A context manager in which STOPPING signals set `requested` instead of ending the program.

    A second signal has its usual effect. Outside the main thread, where Python allows no handlers,
    nothing is changed.
    """

    def __init__(self) -> None:
        self.requested = False
        self._earlier_handlers: dict[int, object] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                if signal.getsignal(number) == signal.SIG_IGN:  # by nohup
                    continue
                self._earlier_handlers[number] = signal.signal(number, self._request)

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore_handlers()

    def _restore_handlers(self) -> None:
        while self._earlier_handlers:
            signal.signal(*self._earlier_handlers.popitem())  # type: ignore[arg-type]

    def __exit__(self, *exception: object) -> None:
        self._restore_handlers()
