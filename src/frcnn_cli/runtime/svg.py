"""Line charts as SVG text: no library needed, sharp at any size, readable in any browser."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 40, 52
COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#8250df", "#bf8700", "#57606a")


@dataclass(frozen=True)
class Series:
    """Points of one line, in order of x."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Axis:
    """One axis of a chart."""

    label: str
    low: float
    high: float
    logarithmic: bool = False

    def share(self, value: float) -> float:
        """Where a value lies, 0 at the low end and 1 at the high one."""
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """About six round values."""
        if self.logarithmic:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            values = [m * 10.0**e for e in range(first, last + 1) for m in (1, 2, 5)]
        else:
            rough = (self.high - self.low) / 6
            power = 10.0 ** math.floor(math.log10(rough))
            step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
            first = math.ceil(self.low / step - 1e-9)
            values = [step * i for i in range(first, math.floor(self.high / step + 1e-9) + 1)]
        return [value for value in values if -1e-9 <= self.share(value) <= 1 + 1e-9]


def axis(label: str, values: Sequence[float], logarithmic: bool = False) -> Axis:
    """An axis that holds all these values, with some room."""
    low, high = min(values), max(values)
    if logarithmic:
        return Axis(label, low / 1.15, high * 1.15, True)
    room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return Axis(label, low - room, high + room)


def line_chart(
    title: str,
    x: Axis,
    y: Axis,
    series: Sequence[Series],
    mark: tuple[float, float, str] | None = None,
    level: tuple[float, str] | None = None,
) -> str:
    """A chart as a whole SVG file.

    Args:
        mark: a point to ring, with a text. level: a horizontal line, with a text.
    """
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(point: tuple[float, float]) -> tuple[float, float]:
        return LEFT + width * x.share(point[0]), TOP + height * (1 - y.share(point[1]))

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 22, title, size=15, anchor="start"),
        _text(LEFT + width / 2, HEIGHT - 12, x.label),
        f'<g transform="rotate(-90 16 {TOP + height / 2})">'
        + _text(16, TOP + height / 2, y.label)
        + "</g>",
    ]
    for value in x.ticks():
        position = LEFT + width * x.share(value)
        parts.append(_line(position, TOP, position, TOP + height, "#e5e7eb"))
        parts.append(_text(position, TOP + height + 18, f"{value:g}"))
    for value in y.ticks():
        position = TOP + height * (1 - y.share(value))
        parts.append(_line(LEFT, position, LEFT + width, position, "#e5e7eb"))
        parts.append(_text(LEFT - 8, position + 4, f"{value:g}", anchor="end"))
    if level is not None:
        position = TOP + height * (1 - y.share(level[0]))
        parts.append(_line(LEFT, position, LEFT + width, position, "#57606a", dashes="5 4"))
        parts.append(_text(LEFT + 6, position - 5, level[1], anchor="start"))
    for index, line in enumerate(series):
        colour = COLOURS[index % len(COLOURS)]
        corners = [at(point) for point in line.points]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in corners)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in corners]
        key = TOP + height - 14 - 18 * (len(series) - 1 - index)
        parts.append(_line(WIDTH - 215, key - 4, WIDTH - 191, key - 4, colour, stroke=3))
        parts.append(_text(WIDTH - 185, key, line.name, anchor="start"))
    if mark is not None:
        a, b = at(mark[:2])
        parts.append(
            f'<circle cx="{a:.1f}" cy="{b:.1f}" r="8" fill="none" stroke="black" stroke-width="2"/>'
        )
        below = b < TOP + 40
        parts.append(_text(a, b + 24 if below else b - 14, mark[2]))
    return "\n".join([*parts, "</svg>\n"])


def stacked(charts: Sequence[str]) -> str:
    """Charts one below the other, as one SVG file."""
    parts = [
        chart.replace("<svg ", f'<svg y="{index * HEIGHT}" width="{WIDTH}" height="{HEIGHT}" ', 1)
        for index, chart in enumerate(charts)
    ]
    size = f"0 0 {WIDTH} {HEIGHT * len(charts)}"
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}">\n{"".join(parts)}</svg>\n'


def _text(x: float, y: float, text: str, size: int = 12, anchor: str = "middle") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="#1f2328" '
        f'paint-order="stroke" stroke="white" stroke-width="3">{escape(text)}</text>'
    )


def _line(
    x1: float, y1: float, x2: float, y2: float, colour: str, stroke: int = 1, dashes: str = ""
) -> str:
    dash = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="{stroke}"{dash}/>'
    )
