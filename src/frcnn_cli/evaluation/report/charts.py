"""Charts as SVG text; colours are the page's variables, those of STYLE where one stands alone."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from ..matching import Floats, Ints

# For a file of its own: the variables that page.css sets on a page.
STYLE = """<style>
svg { --ink: #1c2330; --soft: #667085; --line: #d5dae3; --main: #2563c9; --bad: #d9622b;
  font: 11px system-ui, sans-serif; background: #fff }
@media (prefers-color-scheme: dark) { svg { --ink: #e7ebf3; --soft: #9aa5b8; --line: #343d4d;
  --main: #7aa8ff; --bad: #ff9a66; background: #12161d } }
text { fill: var(--soft) } .title { fill: var(--ink); font-weight: 600 }
.grid { stroke: var(--line); fill: none } .area { fill: var(--main); opacity: .16 }
.curve { stroke: var(--main); fill: none; stroke-width: 1.6 }
.point { fill: var(--bad) } .hits { fill: var(--main) } .false { fill: var(--bad) }
</style>"""


def alone(svg: str) -> str:
    """The chart as a file of its own."""
    return svg.replace(">", f">{STYLE}", 1)


def curve_chart(
    title: str, recall: Floats, precision: Floats, point: tuple[float, float] | None
) -> str:
    """Precision over recall, and below it the best precision at that recall or a higher one.

    Args:
        recall, precision: [M], after each detection. point: marked on the curve.
    """
    left, top, width, height = 26, 24, 176, 130

    def x(value: float) -> str:
        return f"{left + width * value:.1f}"

    def y(value: float) -> str:
        return f"{top + height * (1 - value):.1f}"

    parts = [_open(214, 184, f"precision over recall of {title}")]
    parts.append(f'<text class="title" x="{left}" y="14">{escape(title)}</text>')
    for value in (0, 0.5, 1):
        parts.append(f'<path class="grid" d="M{x(0)} {y(value)}H{x(1)}M{x(value)} {y(0)}V{y(1)}"/>')
        parts.append(
            f'<text x="{left - 4}" y="{y(value)}" dy="4" text-anchor="end">{value:g}</text>'
        )
        parts.append(
            f'<text x="{x(value)}" y="{top + height + 13}" text-anchor="middle">{value:g}</text>'
        )
    if len(recall):
        best = np.maximum.accumulate(precision[::-1])[::-1]
        steps = "".join(f"V{y(up)}H{x(across)}" for across, up in _thin(recall, best))
        parts.append(f'<path class="area" d="M{x(0)} {y(0)}{steps}V{y(0)}Z"/>')
        line = "L".join(f"{x(across)} {y(up)}" for across, up in _thin(recall, precision))
        parts.append(f'<path class="curve" d="M{line}"/>')
    if point is not None:
        parts.append(f'<circle class="point" cx="{x(point[0])}" cy="{y(point[1])}" r="3.5"/>')
    return "".join([*parts, "</svg>"])


def _thin(recall: Floats, precision: Floats) -> list[tuple[float, float]]:
    """The points without those that look like the one before."""
    cells = np.rint(np.stack([recall, precision], axis=1) * 500).astype(int)
    differs = np.ones(len(cells), np.bool_)
    differs[1:] = (cells[1:] != cells[:-1]).any(axis=1)
    return list(zip(recall[differs].tolist(), precision[differs].tolist(), strict=True))


def histogram_chart(edges: Floats, hits: Ints, false: Ints) -> str:
    """Numbers of hits and of false positives by score, side by side, on a logarithmic scale."""
    left, top, width, height = 44, 8, 560, 180
    most = int(max(hits.max(initial=1), false.max(initial=1), 1))
    decades = len(str(most))

    def up(count: float) -> float:
        # one stands above the axis, so that it can be seen
        return height * (np.log10(max(count, 0.5)) + 0.301) / (decades + 0.301)

    parts = [_open(620, 222, "hits and false positives by score")]
    for power in range(decades + 1):
        level = top + height - up(10**power)
        parts.append(f'<path class="grid" d="M{left} {level:.1f}h{width}"/>')
        parts.append(
            f'<text x="{left - 5}" y="{level:.1f}" dy="4" text-anchor="end">{10**power:,}</text>'
        )
    bins = len(hits)
    slot = width / bins
    for index in range(bins):
        for shift, (name, counts) in enumerate((("hits", hits), ("false", false))):
            tall = up(counts[index]) if counts[index] else 0.0
            across = left + slot * (index + 0.1 + 0.4 * shift)
            about = f"{counts[index]} {name}, score {edges[index]:.2f} to {edges[index + 1]:.2f}"
            parts.append(
                f'<rect class="{name}" x="{across:.1f}" y="{top + height - tall:.1f}" '
                f'width="{0.4 * slot:.1f}" height="{tall:.1f}"><title>{about}</title></rect>'
            )
    for index in range(0, bins + 1, max(bins // 5, 1)):
        parts.append(
            f'<text x="{left + slot * index:.1f}" y="{top + height + 15}" '
            f'text-anchor="middle">{edges[index]:.1f}</text>'
        )
    parts.append(
        f'<text x="{left + width / 2}" y="{top + height + 30}" text-anchor="middle">score</text>'
    )
    return "".join([*parts, "</svg>"])


def _open(width: int, height: int, label: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(label)}">'
    )


def sheet(charts: Sequence[str], columns: int) -> str:
    """Charts of one size in rows, as one file."""
    rows = -(-len(charts) // columns)
    parts = [_open(214 * columns, 184 * rows, "precision over recall of every class"), STYLE]
    for index, chart in enumerate(charts):
        across, down = 214 * (index % columns), 184 * (index // columns)
        parts.append(f'<g transform="translate({across} {down})">')
        parts.append(chart[chart.index(">") + 1 : -len("</svg>")])
        parts.append("</g>")
    return "".join([*parts, "</svg>"])
