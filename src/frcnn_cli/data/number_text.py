"""Numbers as texts in annotations, with decimal commas; never silently taken for others."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from ..runtime.safe_read import number

_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
_WITH_COMMA = re.compile(r"([+-]?[0-9]*),([0-9]+)")
# A mark of thousands has up to three digits before it, the first not 0, and three after it.
_MAY_BE_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")


def has_decimal_comma(texts: Iterable[str]) -> bool:
    """Whether some of the numbers have a comma that can only be the decimal point."""
    return any(_WITH_COMMA.fullmatch(text) and not may_be_thousands(text) for text in texts)


def may_be_thousands(text: str) -> bool:
    """Whether the comma in a number may be the mark of thousands or the decimal point."""
    return _MAY_BE_THOUSANDS.fullmatch(text) is not None


def parse_number(text: str, comma_is_point: bool = False) -> float:
    """The number that a text is; NaN where it is none, or not certainly one.

    A comma is the decimal point where it cannot be a mark of thousands: 1,5 is 1.5, but 1,234 may
    be 1234. Unlike for Python, 1_000 is no number.

    Args:
        comma_is_point: every comma is the decimal point.
    """
    text = text.strip()
    if _WITH_COMMA.fullmatch(text) and (comma_is_point or not may_be_thousands(text)):
        text = text.replace(",", ".")
    return float(text) if _NUMBER.fullmatch(text) else math.nan


def number_or_text(value: object) -> float:
    """A number of JSON, or in a text there; NaN for other values, as in `number`."""
    return number(parse_number(value) if isinstance(value, str) else value)
