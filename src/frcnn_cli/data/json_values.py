"""Points, sizes and names of classes in the JSON of annotation tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .number_text import number_or_text
from .shapes import FormError

HINT = "export the annotations again"


def xy(point: Any) -> tuple[float, float]:
    """The coordinates of a point, NaN for those that are no numbers.

    Raises:
        FormError: it is not a list of two values.
    """
    if not isinstance(point, list | tuple) or len(point) != 2:
        raise FormError(f"a point is not two numbers, but {point!r:.40}")
    x, y = point
    return number_or_text(x), number_or_text(y)


def numbers_of(row: Mapping[str, Any], *keys: str) -> list[float]:
    """The numbers under some keys, NaN for values that are none.

    Raises:
        KeyError: there is no such key.
    """
    return [number_or_text(row[key]) for key in keys]


def size_of(height: Any, width: Any) -> tuple[int, int] | None:
    """(height, width) of an image; None where they are no numbers of 1 or more."""
    sides = number_or_text(height), number_or_text(width)
    return (int(sides[0]), int(sides[1])) if all(each >= 1 for each in sides) else None


def class_name(label: Any) -> str:
    """The name of a class, which may be a whole number.

    Raises:
        FormError: it is something else, or empty.
    """
    if isinstance(label, int) and not isinstance(label, bool):
        label = str(label)
    if not isinstance(label, str) or not label.strip():
        raise FormError(f"an object has no class: {label!r:.40}")
    return label.strip()
