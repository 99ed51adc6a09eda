"""The errors that a user can cause, each with one line of message and a hint.

FrcnnError
├── ConfigError    a setting, a flag, a name
├── DataError      a data set, an annotation, a proposal
│   ├── SplitError     a split that a data set lacks
│   └── UnlabelledError    a split with images but no objects
├── ImageError     an image that cannot be read
└── WeightsError   a weights file or checkpoint
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_MAX_NAME, _MAX_GOT = 60, 200  # letters of a name that an error shows
_MAX_WORD = 250  # letters; a file name may have 255, and a path 4096


class FrcnnError(Exception):
    """An error to show to the user.

    Args:
        message: one line that says what is wrong. hint: what to do about it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(FrcnnError):
    """A setting is unknown, out of range or in conflict with another."""


class DataError(FrcnnError):
    """A data set, an annotation or a set of proposals is missing or wrong."""


class SplitError(DataError):
    """A data set lacks the split that is asked for.

    Args:
        available: the splits that it has.
    """

    def __init__(self, message: str, hint: str = "", available: Iterable[str] = ()) -> None:
        super().__init__(message, hint)
        self.available = tuple(available)


class UnlabelledError(DataError):
    """A split has images, but nothing says what is in them."""


class ImageError(FrcnnError):
    """An image cannot be read."""


class WeightsError(FrcnnError):
    """A weights file is missing, damaged or made for another model."""


class Notice(UserWarning):
    """Something that the user should know, which is no error."""


def printable(text: str) -> str:
    """The text as one line, with ? for control characters: names in files may hold commands for a
    terminal, and lines that look like ours."""
    return "".join(c if c.isprintable() else "?" for c in text)


def shortened(text: str) -> str:
    """The text with the middle left out of words, such as paths, of hundreds of letters."""
    return re.sub(rf"\S{{{_MAX_WORD},}}", lambda word: f"{word[0][:100]}…{word[0][-60:]}", text)


def reason(error: Exception) -> str:
    """The first line of an exception's message, or its type where it has none."""
    line = next(iter(str(error).splitlines()), type(error).__name__)
    return re.sub(r"^\[Errno -?\d+\] ", "", line)


def out_of_memory(error: Exception) -> bool:
    """Whether an error means that Python, torch or a GPU had no memory left."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"  # torch's, without importing torch
        or "can't allocate memory" in str(error)
    )


def with_image(error: FrcnnError, name: object) -> str:
    """The message of an error, with the name of the image that it is about."""
    return error.message if str(name) in error.message else f"{name}: {error.message}"


def counted(count: int, singular: str, plural: str) -> str:
    """A number and what it counts, such as 1 image or 2 images."""
    return f"{count} {singular if count == 1 else plural}"


def short_list(names: Iterable[str], count: int = 20) -> str:
    """Names separated by commas; of more than `count`, the first ones and the number of others."""
    listed = [name if len(name) <= _MAX_NAME else f"{name[:_MAX_NAME]}…" for name in names]
    if len(listed) <= count:
        return ", ".join(listed)
    return f"{', '.join(listed[: count // 2])} and {len(listed) - count // 2} others"


def unknown_name(what: str, got: str, known: Iterable[str]) -> ConfigError:
    """The error for a name that is in no registry; its hint offers the nearest known name.

    Args:
        what: what the name is for, such as "backbone". got: the name. known: all valid names.
    """
    names = list(known)
    near = difflib.get_close_matches(got[:_MAX_GOT], names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    shown = got if len(got) <= _MAX_GOT else f"{got[:_MAX_GOT]}…"
    return ConfigError(f"unknown {what} {shown!r}", f"{hint}known: {short_list(names)}")
