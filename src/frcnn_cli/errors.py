"""Every failure that a user can cause, as one line and a hint.

FrcnnError
├── ConfigError    a setting, a flag, a name
├── DataError      a data set, an annotation, a proposal
├── ImageError     a picture that cannot be read
└── WeightsError   a weights file or checkpoint
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FrcnnError(Exception):
    """What was expected and what came (`message`), and what to do about it (`hint`)."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(FrcnnError):
    """A setting is unknown, out of range or in conflict with another."""


class DataError(FrcnnError):
    """A data set, an annotation or a set of proposals is missing or wrong."""


class ImageError(FrcnnError):
    """A picture cannot be read."""


class WeightsError(FrcnnError):
    """A weights file is missing, damaged or made for another model."""


def reason(error: Exception) -> str:
    """The first line of what an exception says, or its kind where it says nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def out_of_memory(error: Exception) -> bool:
    """Whether Python, torch or a GPU had no memory left."""
    kind = type(error).__name__  # torch's own class; torch is not imported for it
    return (
        isinstance(error, MemoryError)
        or kind == "OutOfMemoryError"
        or "can't allocate memory" in str(error)
    )


def unknown_name(kind: str, got: str, known: Iterable[str]) -> ConfigError:
    """The error for a name that is not in a table, with the nearest one offered."""
    names = list(known)
    near = difflib.get_close_matches(got, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return ConfigError(f"unknown {kind} {got!r}", f"{hint}known: {', '.join(names)}")
