"""The interface through which a long computation reports its progress to its caller."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Progress(Protocol):
    """Shows the progress of stages that follow one another."""

    def __call__(
        self, stage: str, total: int, unit: str
    ) -> AbstractContextManager[Callable[[str], None]]:
        """Begin a stage; it ends with the context.

        Args:
            stage: what is done, such as "calibrating". total: number of units in the stage.
            unit: such as "images".
        Returns:
            A context whose value is a function to call after each unit, with a note to show (such
            as a loss; it may be empty).
        """


@contextmanager
def silent(stage: str, total: int, unit: str) -> Iterator[Callable[[str], None]]:
    """A Progress that shows nothing."""
    yield lambda note: None
