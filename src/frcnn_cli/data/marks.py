"""Marks by which a file is recognised: functions of the text at its beginning."""

from __future__ import annotations

import re
from collections.abc import Callable

BEGINNING = 2**16  # bytes of a file that are looked at
NUMBER = r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?"  # for patterns

Mark = Callable[[str], bool]


def has(*texts: str, start: str = "") -> Mark:
    """Whether all texts are in the beginning of a file; of several with | between them, one.

    Args:
        start: the first letter that is no blank.
    """
    return lambda beginning: (
        beginning.lstrip("\ufeff \t\r\n").startswith(start)
        and all(any(each in beginning for each in text.split("|")) for text in texts)
    )


def fits(pattern: str) -> Mark:
    """Whether a file begins with a pattern, after blanks; capitals are as small letters."""
    compiled = re.compile(pattern, re.IGNORECASE)
    return lambda beginning: compiled.match(beginning.lstrip("\ufeff \t\r\n")) is not None


def either(*marks: Mark) -> Mark:
    """Whether a file has one of several marks."""
    return lambda beginning: any(mark(beginning) for mark in marks)
