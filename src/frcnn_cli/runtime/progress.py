"""How a long computation reports its progress to whoever called it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Progress(Protocol):
    """Shows the progress of one stage after the other."""

    def __call__(
        self, stage: str, total: int, unit: str
    ) -> AbstractContextManager[Callable[[str], None]]:
        """Begin a stage; it ends with the context.

        Args:
            stage: what is done, such as "calibrating". total: how many units it has.
            unit: such as "images".
        Returns:
            A context that gives a function to call after each unit, with a note on how it goes
            (which may be empty).
        """


@contextmanager
def silent(stage: str, total: int, unit: str) -> Iterator[Callable[[str], None]]:
    """The Progress that shows nothing."""
    yield lambda note: None
