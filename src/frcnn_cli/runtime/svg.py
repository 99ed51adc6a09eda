"""Writes SVG as text, without a library: elements, line charts, and sheets of several charts.

A chart is a whole SVG document. The functions take the attributes of an element as keyword
arguments: `_` in their names stands for `-`, a trailing `_` is dropped, and float values are
written with one decimal. Positions and sizes are in units of the document.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 400  # of a line chart
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 40, 52  # its margins
COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#8250df", "#bf8700", "#57606a")
_GRID_COLOUR, _LEVEL_COLOUR = "#e5e7eb", "#57606a"
# A white edge around the letters keeps them readable on top of lines.
_TEXT_STYLE = {"fill": "#1f2328", "paint_order": "stroke", "stroke": "white", "stroke_width": 3}


def element(tag: str, content: str = "", /, **attributes: object) -> str:
    """An element with its attributes.

    Args:
        tag: such as "rect". content: SVG inside the element.
    """
    start = f"<{tag}{''.join(_attribute(*each) for each in attributes.items())}"
    return f"{start}>{content}</{tag}>" if content else f"{start}/>"


def _attribute(name: str, value: object) -> str:
    text = f"{value:.1f}" if isinstance(value, float) else escape(str(value))
    return f' {name.rstrip("_").replace("_", "-")}="{text}"'


def text(x: float, y: float, content: str, **attributes: object) -> str:
    """A text element at (x, y); `content` is escaped."""
    return element("text", escape(content), x=x, y=y, **attributes)


def document(size: tuple[int, int], parts: Iterable[str], **attributes: object) -> str:
    """A whole SVG document.

    Args:
        size: (width, height). parts: its elements.
    """
    box = f"0 0 {size[0]} {size[1]}"
    content = "\n" + "\n".join(parts) + "\n"
    return element("svg", content, xmlns="http://www.w3.org/2000/svg", viewBox=box, **attributes)


def insert(svg: str, part: str) -> str:
    """Insert an element at the beginning of a document."""
    return svg.replace(">", f">{part}", 1)


def sheet(
    charts: Sequence[str],
    columns: int = 1,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    **attributes: object,
) -> str:
    """One document with charts of equal size, in rows of `columns`.

    Args:
        charts: SVG documents. size: (width, height) of each; the default is that of line charts.
    """
    width, height = size
    parts = []
    for index, chart in enumerate(charts):
        row, column = divmod(index, columns)
        place = {"x": column * width, "y": row * height, "width": width, "height": height}
        start = "<svg" + "".join(_attribute(*each) for each in place.items())
        parts.append(chart.replace("<svg", start, 1))
    rows = -(-len(charts) // columns)
    return document((width * columns, height * rows), parts, **attributes)


@dataclass(frozen=True)
class Series:
    """Points of one line, in order of x."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Axis:
    """The label and the range of values of one axis of a chart."""

    label: str
    low: float
    high: float
    logarithmic: bool = False

    def fraction(self, value: float) -> float:
        """Position of a value between `low` (0) and `high` (1)."""
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """About six round values in the range."""
        if self.logarithmic:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            values = [m * 10.0**e for e in range(first, last + 1) for m in (1, 2, 5)]
        else:
            rough = (self.high - self.low) / 6
            power = 10.0 ** math.floor(math.log10(rough))
            step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
            first = math.ceil(self.low / step - 1e-9)
            values = [step * i for i in range(first, math.floor(self.high / step + 1e-9) + 1)]
        return [value for value in values if -1e-9 <= self.fraction(value) <= 1 + 1e-9]


def axis(label: str, values: Sequence[float], logarithmic: bool = False) -> Axis:
    """An axis whose range holds all values, with a margin."""
    low, high = min(values), max(values)
    if logarithmic:
        return Axis(label, low / 1.15, high * 1.15, True)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return Axis(label, low - margin, high + margin)


@dataclass(frozen=True, kw_only=True)
class PlotArea:
    """The rectangle of a chart in which values are drawn, in the units of the document."""

    left: int
    top: int
    width: int
    height: int
    x_axis: Axis
    y_axis: Axis

    @property
    def right(self) -> int:
        """The right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> int:
        """The lower edge."""
        return self.top + self.height

    def x(self, value: float) -> float:
        """Horizontal position of a value."""
        return self.left + self.width * self.x_axis.fraction(value)

    def y(self, value: float) -> float:
        """Vertical position of a value; large values are at the top."""
        return self.top + self.height * (1 - self.y_axis.fraction(value))

    def x_labels(
        self, labels: Iterable[tuple[float, str]], distance: int, **attributes: object
    ) -> list[str]:
        """Texts `distance` below the area, each at its value of x."""
        return [
            text(self.x(value), self.bottom + distance, label, text_anchor="middle", **attributes)
            for value, label in labels
        ]

    def y_labels(
        self, labels: Iterable[tuple[float, str]], distance: int, **attributes: object
    ) -> list[str]:
        """Texts `distance` to the left of the area, each at its value of y."""
        return [
            text(self.left - distance, self.y(value), label, dy=4, text_anchor="end", **attributes)
            for value, label in labels
        ]


def line_chart(
    title: str,
    x: Axis,
    y: Axis,
    series: Sequence[Series],
    *,
    mark: tuple[float, float, str] | None = None,
    level: tuple[float, str] | None = None,
) -> str:
    """A chart with a line for each series and a dot at each point, as an SVG document.

    Args:
        mark: x, y and label of a point to put a ring around.
        level: value of y and label of a horizontal dashed line.
    """
    area = PlotArea(
        left=LEFT,
        top=TOP,
        width=WIDTH - LEFT - RIGHT,
        height=HEIGHT - TOP - BOTTOM,
        x_axis=x,
        y_axis=y,
    )
    parts = [
        element("rect", width=WIDTH, height=HEIGHT, fill="white"),
        _text(LEFT, 22, title, anchor="start", font_size=15),
        *_axes(area),
    ]
    if level is not None:
        value, label = level
        position = area.y(value)
        ends = (LEFT, position), (area.right, position)
        parts.append(_line(*ends, _LEVEL_COLOUR, stroke_dasharray="5 4"))
        parts.append(_text(LEFT + 6, position - 5, label, anchor="start"))
    for index, each in enumerate(series):
        parts += _series(area, each, COLOURS[index % len(COLOURS)])
        key = area.bottom - 14 - 18 * (len(series) - 1 - index)
        parts += _key(each.name, key, COLOURS[index % len(COLOURS)])
    if mark is not None:
        parts += _mark(area, *mark)
    style = {"font_family": "system-ui, sans-serif", "font_size": 12}
    return document((WIDTH, HEIGHT), parts, **style) + "\n"


def _axes(area: PlotArea) -> list[str]:
    """Grid lines, ticks and the labels of both axes."""
    x_ticks, y_ticks = area.x_axis.ticks(), area.y_axis.ticks()
    middle = area.top + area.height / 2
    label = _text(16, middle, area.y_axis.label)
    parts = [
        _text(area.left + area.width / 2, HEIGHT - 12, area.x_axis.label),
        element("g", label, transform=f"rotate(-90 16 {middle})"),
    ]
    for value in x_ticks:
        parts.append(_line((area.x(value), area.top), (area.x(value), area.bottom), _GRID_COLOUR))
    for value in y_ticks:
        parts.append(_line((area.left, area.y(value)), (area.right, area.y(value)), _GRID_COLOUR))
    parts += area.x_labels([(v, f"{v:g}") for v in x_ticks], 18, **_TEXT_STYLE)
    parts += area.y_labels([(v, f"{v:g}") for v in y_ticks], 8, **_TEXT_STYLE)
    return parts


def _series(area: PlotArea, series: Series, colour: str) -> list[str]:
    """A line through the points, and a dot at each."""
    points = [(area.x(x), area.y(y)) for x, y in series.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    line = element("polyline", points=path, fill="none", stroke=colour, stroke_width=2)
    return [line, *(element("circle", cx=x, cy=y, r=3, fill=colour) for x, y in points)]


def _key(name: str, y: int, colour: str) -> list[str]:
    """The entry of a line in the key of a chart."""
    line = _line((WIDTH - 215, y - 4), (WIDTH - 191, y - 4), colour, stroke_width=3)
    return [line, _text(WIDTH - 185, y, name, anchor="start")]


def _mark(area: PlotArea, x_value: float, y_value: float, label: str) -> list[str]:
    """A ring around a point, with a label above it, or below it near the top of the chart."""
    x, y = area.x(x_value), area.y(y_value)
    ring = element("circle", cx=x, cy=y, r=8, fill="none", stroke="black", stroke_width=2)
    return [ring, _text(x, y + 24 if y < TOP + 40 else y - 14, label)]


def _text(x: float, y: float, content: str, anchor: str = "middle", **attributes: object) -> str:
    return text(x, y, content, text_anchor=anchor, **_TEXT_STYLE, **attributes)


def _line(
    start: tuple[float, float], end: tuple[float, float], colour: str, **attributes: object
) -> str:
    ends = {"x1": start[0], "y1": start[1], "x2": end[0], "y2": end[1]}
    return element("line", **ends, stroke=colour, **attributes)
