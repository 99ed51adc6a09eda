"""What `frcnn eval` prints."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rich.table import Table

from .console import stdout

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..evaluation.compare import Comparison
    from ..evaluation.evaluate import Evaluation


def number(value: float) -> float | None:
    """For JSON, which has no NaN."""
    return None if math.isnan(value) else round(float(value), 6)


def by_class(names: Sequence[str], values: Iterable[float]) -> dict[str, float | None]:
    """For JSON."""
    return {name: number(value) for name, value in zip(names, values, strict=True)}


def class_table(
    only_weights: tuple[str, ...], only_data: tuple[str, ...], weights: str, data: str
) -> Table:
    """The classes that one side knows and the other does not."""
    table = Table(f"only in {weights}: without objects", f"only in {data}: left out")
    for index in range(max(len(only_weights), len(only_data))):
        table.add_row(
            *(names[index] if index < len(names) else "" for names in (only_weights, only_data))
        )
    return table


def _share(value: float, digits: int = 3) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def _table(*columns: str) -> Table:
    table = Table(*columns)
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def show_evaluation(result: Evaluation, answer: dict[str, Any]) -> None:
    """A row for each class, the mean, and by which rules."""
    table = _table("class", "AP", "objects", "recall", "precision")
    columns = (result.ap, result.objects, result.recall, result.precision)
    for name, ap, objects, recall, precision in zip(result.classes, *columns, strict=True):
        shown = "no objects" if math.isnan(ap) else f"{ap:.3f}"
        table.add_row(name, shown, str(objects), _share(recall), _share(precision))
    table.add_section()
    table.add_row("mean", _share(result.mean_ap, 4), str(answer["objects"]), style="bold")
    stdout.print(table)
    if result.figures:
        figures = (f"{name} {_share(value)}" for name, value in result.figures.items())
        stdout.print("   ".join(figures), soft_wrap=True)
    pace = f"; {answer['images_per_second']} images/s" if "images_per_second" in answer else ""
    stdout.print(
        f"{answer['metric']}; {answer['images']} images of {answer['dataset']} {answer['split']}, "
        f"{answer['objects']} objects (difficult ones ignored, second finds false); "
        f"recall and precision from score {result.score:g} on{pace}",
        soft_wrap=True,
    )
    if "detections" in answer:
        stdout.print(f"detections: {answer['detections']}", soft_wrap=True)
    if "report" in answer:
        stdout.print(f"report: {answer['report']}", soft_wrap=True)


def comparison_rows(names: Sequence[str], result: Comparison) -> list[dict[str, Any]]:
    """For JSON: a row for each class, the mean last."""
    columns = (result.a, result.b, result.difference, result.low, result.high)
    return [
        {
            "class": name,
            **dict(zip(("a", "b", "difference", "low", "high"), map(number, row), strict=True)),
            "certain": bool(certain),
        }
        for name, *row, certain in zip(
            [*names, "mean"], *columns, result.certain.tolist(), strict=True
        )
    ]


def show_comparison(names: Sequence[str], result: Comparison, rules: str) -> None:
    """A row for each class; what may be chance is said to be."""
    table = _table("class", "A", "B", "B - A", "95 % interval", "")
    columns = (result.a, result.b, result.difference, result.low, result.high)
    rows = zip([*names, "mean"], *columns, result.certain.tolist(), strict=True)
    for name, a, b, difference, low, high, certain in rows:
        if name == "mean":
            table.add_section()
        verdict = (
            ("B is better" if difference > 0 else "A is better") if certain else "may be chance"
        )
        signed = ("–" if math.isnan(v) else f"{v:+.3f}" for v in (difference, low, high))
        middle, *ends = signed
        table.add_row(name, _share(a), _share(b), middle, " … ".join(ends), verdict)
    stdout.print(table)
    stdout.print(rules, soft_wrap=True)
