"""The request to stop a run."""

from __future__ import annotations


class InterruptedRun(Exception):  # noqa: N818 - a request, not an error
    """A run was asked to stop; it has written a checkpoint.

    Args:
        message: how many iterations are done. hint: how to continue.
    """

    def __init__(self, message: str = "stopped", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
