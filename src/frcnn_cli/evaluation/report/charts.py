"""Charts of precision over recall and of scores.

Elements have the classes of page.css, which gives them their colours; a chart in a file of its own
contains STYLE instead.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...runtime.svg import Axis, PlotArea, document, element, insert, sheet, text
from ..matching import Floats, Ints
from ..reliability import Reliability

STYLE = """<style>
svg { --ink: #1c2330; --soft: #667085; --line: #d5dae3; --main: #2563c9; --bad: #d9622b;
  font: 11px system-ui, sans-serif; background: #fff }
@media (prefers-color-scheme: dark) { svg { --ink: #e7ebf3; --soft: #9aa5b8; --line: #343d4d;
  --main: #7aa8ff; --bad: #ff9a66; background: #12161d } }
text { fill: var(--soft) } .title { fill: var(--ink); font-weight: 600 }
.grid { stroke: var(--line); fill: none } .area { fill: var(--main); opacity: .16 }
.curve { stroke: var(--main); fill: none; stroke-width: 1.6 }
.point { fill: var(--bad) } .true { fill: var(--main) } .false { fill: var(--bad) }
</style>"""
_CURVE_SIZE = (214, 184)  # (width, height) of a chart
_HISTOGRAM_SIZE = (620, 222)
_RELIABILITY_SIZE = (284, 222)
_LEAST_COUNT = 10**-0.301  # of the histogram's scale: below 1, so that a bar of 1 has a height


def with_style(svg: str) -> str:
    """The chart with its colours, for a file of its own."""
    return insert(svg, STYLE)


def curve_sheet(charts: Sequence[str], columns: int) -> str:
    """Precision-recall charts in rows, for a file of their own."""
    label = "precision over recall of every class"
    return with_style(sheet(charts, columns, _CURVE_SIZE, role="img", aria_label=label))


def curve_chart(
    title: str, recall: Floats, precision: Floats, point: tuple[float, float] | None
) -> str:
    """Precision over recall as a line, and the best precision at or above each recall as an area.

    Args:
        recall, precision: [M], after each detection.
        point: (recall, precision) of a dot; None for no dot.
    """
    plot = PlotArea(
        left=26,
        top=24,
        width=176,
        height=130,
        x_axis=Axis("recall", 0, 1),
        y_axis=Axis("precision", 0, 1),
    )

    def x(value: float) -> str:
        return f"{plot.x(value):.1f}"

    def y(value: float) -> str:
        return f"{plot.y(value):.1f}"

    ticks = [(value, f"{value:g}") for value in (0, 0.5, 1)]
    parts = [text(plot.left, 14, title, class_="title")]
    for value, _ in ticks:
        grid = f"M{x(0)} {y(value)}H{x(1)}M{x(value)} {y(0)}V{y(1)}"
        parts.append(element("path", class_="grid", d=grid))
    parts += [*plot.y_labels(ticks, 4), *plot.x_labels(ticks, 13)]
    if len(recall):
        best = np.maximum.accumulate(precision[::-1])[::-1]
        steps = "".join(f"V{y(up)}H{x(right)}" for right, up in _visible_points(recall, best))
        parts.append(element("path", class_="area", d=f"M{x(0)} {y(0)}{steps}V{y(0)}Z"))
        points = (f"{x(right)} {y(up)}" for right, up in _visible_points(recall, precision))
        parts.append(element("path", class_="curve", d=f"M{'L'.join(points)}"))
    if point is not None:
        parts.append(element("circle", class_="point", cx=x(point[0]), cy=y(point[1]), r=3.5))
    return document(_CURVE_SIZE, parts, role="img", aria_label=f"precision over recall of {title}")


def _visible_points(recall: Floats, precision: Floats) -> list[tuple[float, float]]:
    """The points of a curve, without points that are drawn at the same place as the one before."""
    cells = np.rint(np.stack([recall, precision], axis=1) * 500).astype(int)
    differs = np.ones(len(cells), np.bool_)
    differs[1:] = (cells[1:] != cells[:-1]).any(axis=1)
    return list(zip(recall[differs].tolist(), precision[differs].tolist(), strict=True))


def reliability_chart(reliability: Reliability) -> str:
    """Precision over score, a dot for each bin, beside the diagonal of scores that are right."""
    plot = PlotArea(
        left=34,
        top=8,
        width=240,
        height=180,
        x_axis=Axis("score", 0, 1),
        y_axis=Axis("precision", 0, 1),
    )
    ticks = [(value, f"{value:g}") for value in (0, 0.25, 0.5, 0.75, 1)]
    diagonal = f"M{plot.left} {plot.bottom}L{plot.right} {plot.top}"
    parts = [element("path", class_="grid", d=diagonal)]
    parts += [*plot.y_labels(ticks, 5), *plot.x_labels(ticks, 15)]
    parts += plot.x_labels([(0.5, "score")], 30)
    bins = zip(reliability.scores, reliability.precision, reliability.counts, strict=True)
    dots = [each for each in bins if each[2]]
    points = "L".join(f"{plot.x(score):.1f} {plot.y(right):.1f}" for score, right, _ in dots)
    if dots:
        parts.append(element("path", class_="curve", d=f"M{points}"))
    parts += [
        element(
            "circle",
            element("title", f"{count:,} detections, score {score:.2f}, precision {right:.2f}"),
            class_="point",
            cx=plot.x(score),
            cy=plot.y(right),
            r=3.5,
        )
        for score, right, count in dots
    ]
    label = "precision of the detections by score"
    return document(_RELIABILITY_SIZE, parts, role="img", aria_label=label)


def histogram_chart(edges: Floats, true_positives: Ints, false_positives: Ints) -> str:
    """True and false positives by score, side by side, on a logarithmic scale.

    Args:
        edges: of the bins, [bins + 1].
        true_positives, false_positives: number in each bin, [bins].
    """
    most = int(max(true_positives.max(initial=1), false_positives.max(initial=1), 1))
    decades = len(str(most))
    bins = len(edges) - 1
    plot = PlotArea(
        left=44,
        top=8,
        width=560,
        height=180,
        x_axis=Axis("score", 0, bins),  # positions are numbers of bins
        y_axis=Axis("detections", _LEAST_COUNT, 10**decades, logarithmic=True),
    )
    powers = [10**power for power in range(decades + 1)]
    parts = [
        element("path", class_="grid", d=f"M{plot.left} {plot.y(count):.1f}h{plot.width}")
        for count in powers
    ]
    parts += plot.y_labels([(count, f"{count:,}") for count in powers], 5)
    for index in range(bins):
        scores = f"score {edges[index]:.2f} to {edges[index + 1]:.2f}"
        bars = (("true", true_positives[index]), ("false", false_positives[index]))
        for shift, (outcome, count) in enumerate(bars):
            top = plot.y(count) if count else float(plot.bottom)
            parts.append(
                element(
                    "rect",
                    element("title", f"{count} {outcome} positives, {scores}"),
                    class_=outcome,
                    x=plot.x(index + 0.1 + 0.4 * shift),
                    y=top,
                    width=0.4 * plot.width / bins,
                    height=plot.bottom - top,
                )
            )
    marked = range(0, bins + 1, max(bins // 5, 1))
    parts += plot.x_labels([(index, f"{edges[index]:.1f}") for index in marked], 15)
    parts += plot.x_labels([(bins / 2, "score")], 30)
    label = "true and false positives by score"
    return document(_HISTOGRAM_SIZE, parts, role="img", aria_label=label)
