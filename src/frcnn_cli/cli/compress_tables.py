"""The tables and lines that `frcnn compress` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .console import stdout

if TYPE_CHECKING:
    from ..compression.cost import Cost
    from ..compression.curve import Point
    from ..compression.report import CompressionReport, LayerReport


def show_points(points: Sequence[Point]) -> None:
    """Print the points of the curve, a line for each compressed network; the full one first."""
    from rich.table import Table

    from ..compression.report import METHODS

    table = Table("", *points[0].ranks, "mAP (VOC2007)", "MB", "ms an image")
    for column in table.columns[1:]:
        column.justify = "right"
    for point in points:
        ranks = [str(rank or "full") for rank in point.ranks.values()]
        method = METHODS[point.method] if any(point.ranks.values()) else "full rank"
        values = f"{point.mean_ap:.1%}", f"{point.megabytes:.1f}", f"{point.milliseconds:.0f}"
        table.add_row(method, *ranks, *values)
    stdout.print(table)


def show_report(report: CompressionReport, keep_full: bool, finetuned: int | None) -> None:
    """Print a line for each layer, and the method that was chosen.

    Args:
        keep_full: whether the full layers are kept too.
        finetuned: number of iterations that the result was trained for.
    """
    for layer in report.layers:
        stdout.print(_line(layer, keep_full), soft_wrap=True)
    if finetuned:
        stdout.print(f"measured before the {finetuned:,} iterations of training")
    if report.divergence:
        values = ", ".join(f"{name} {value:.2g}" for name, value in report.divergence.items())
        stdout.print(
            f"distance from the outputs of the full network: {values}; chosen: {report.method}",
            soft_wrap=True,
        )


def _line(layer: LayerReport, keep_full: bool) -> str:
    name = f"{layer.name} {layer.shape[0]}×{layer.shape[1]}"
    if layer.name in ("cls_score", "bbox_pred"):
        return f"{name}: kept at full rank, an output layer"
    if layer.rank is None:
        return f"{name}: kept at full rank; ranks below {layer.break_even:.1f} would save weights"
    error = f"squared error of the weights: {layer.weight_error:.2%}"
    if layer.output_error:
        errors = ", ".join(f"{name} {error:.2%}" for name, error in layer.output_error.items())
        error = f"squared error of the outputs: {errors}"
    sign = "+" if keep_full else "->"
    return f"{name}: rank {layer.rank}, {layer.before:,} {sign} {layer.after:,} weights; {error}"


def show_costs(before: Cost, after: Cost) -> None:
    """Print sizes and times before and after compression."""
    from rich.table import Table

    table = Table("", "before", "after", "ratio")
    for column in table.columns[1:]:
        column.justify = "right"
    for label, unit, key in (
        ("file, MB", 1e6, "bytes"),
        ("parameters, million", 1e6, "parameters"),
        ("heads, MFLOP a RoI", 1e6, "head_flops"),
        ("image of 2,000 RoIs, ms", 1, "milliseconds"),
        ("peak memory, MB", 1e6, "peak_bytes"),
    ):
        old, new = getattr(before, key), getattr(after, key)
        if old == 0 or new == 0:  # not known
            continue
        table.add_row(label, f"{old / unit:,.1f}", f"{new / unit:,.1f}", f"{old / new:.2f}")
    stdout.print(table)
