"""Boxes around the shapes that annotation tools draw, and what a tool says of one image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .table import Box

Corners = tuple[float, float, float, float]


class Annotated(NamedTuple):
    """The objects of one image in the file of an annotation tool."""

    name: str  # of the image, as the file gives it
    size: tuple[int, int] | None  # (height, width), where the file gives it
    boxes: list[Box]
    left_out: int = 0  # shapes without an area: points and lines
    split: str = ""  # of the image, where the file gives it
    others: int = 0  # further annotations of the whole image, which are left out
    is_unseen: bool = False  # it is not annotated yet, so it is no background


class FormError(ValueError):
    """A file is not as its program writes it; the message says what it is instead."""


def enclose(points: Iterable[Sequence[float]]) -> Corners:
    """The box around points (x, y).

    Raises:
        FormError: there are none, or one has a coordinate that is no number.
    """
    pairs = [(x, y) for x, y in points]
    if not pairs:
        raise FormError("a shape has no points")
    xs, ys = zip(*pairs, strict=True)
    if any(map(math.isnan, (*xs, *ys))):
        raise FormError("a coordinate is no number")
    return min(xs), min(ys), max(xs), max(ys)


def enclose_rotated(x: float, y: float, width: float, height: float, angle: float) -> Corners:
    """The box around a rectangle that is turned around its centre.

    Args:
        angle: radians.
    Raises:
        FormError: see `enclose`; or a side is negative.
    """
    if min(width, height) < 0:
        raise FormError("a side is negative")
    cosine, sine = abs(math.cos(angle)), abs(math.sin(angle))
    across = (width * cosine + height * sine) / 2
    down = (width * sine + height * cosine) / 2
    return enclose_ellipse(x, y, across, down)


def enclose_turned(corner: Sequence[float], size: Sequence[float], degrees: float) -> Corners:
    """The box around a rectangle that is turned clockwise around its upper left corner.

    Args:
        corner: x, y. size: width, height.
    Raises:
        FormError: see `enclose`.
    """
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    (x, y), (width, height) = corner, size
    ends = ((0.0, 0.0), (width, 0.0), (0.0, height), (width, height))
    return enclose((x + u * cosine - v * sine, y + u * sine + v * cosine) for u, v in ends)


def enclose_ellipse(
    x: float, y: float, x_radius: float, y_radius: float, degrees: float = 0
) -> Corners:
    """The box around an ellipse with axes along x and y, or turned from there around its centre.

    Raises:
        FormError: see `enclose`.
    """
    if degrees:
        cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        x_radius, y_radius = (
            math.hypot(x_radius * cosine, y_radius * sine),
            math.hypot(x_radius * sine, y_radius * cosine),
        )
    return enclose([(x - x_radius, y - y_radius), (x + x_radius, y + y_radius)])
