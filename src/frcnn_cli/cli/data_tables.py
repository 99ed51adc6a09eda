"""The tables that `frcnn data check` and `frcnn train --dry-run` print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from ..errors import counted
from .console import stdout

if TYPE_CHECKING:
    from ..data.check_data import DataCheck
    from ..data.inspection import Inspection

_SHOWN_CLASSES = 30  # the most frequent ones


def show_check(found: DataCheck, console: Console = stdout) -> None:
    """Print what was found in a data set: its splits, classes and what is unusual."""
    for each in found.splits:
        console.print(_describe(each), soft_wrap=True)
    console.print(_class_table(found.splits))
    for remark in found.remarks:
        console.print(f"note: {remark}", soft_wrap=True)
    for problem in found.problems:
        console.print(f"problem: {problem}", soft_wrap=True)
    if not found.problems:
        console.print("nothing that training would suffer from was found")


def _describe(split: Inspection) -> str:
    """A line on the images and objects of a split."""
    empty = split.flaws.get("empty", 0)
    parts = [
        f"{counted(split.images, 'image', 'images')}{_range_of_sizes(split.sizes)}",
        f"{empty} without objects" if empty else "",
        f"{counted(sum(split.objects), 'object', 'objects')}{_range(split.sides)}",
        f"{split.difficult} of them difficult" if split.difficult else "",
    ]
    return f"{split.name} {split.split}: {', '.join(filter(None, parts))}"


def _class_table(splits: Sequence[Inspection]) -> Table:
    """Objects of each class in each split, the most frequent class first."""
    table = Table("class", *(each.split for each in splits))
    for column in table.columns[1:]:
        column.justify = "right"
    counts: dict[str, list[int]] = {}
    for place, each in enumerate(splits):
        for name, count in zip(each.classes, each.objects, strict=True):
            counts.setdefault(name, [0] * len(splits))[place] = count
    ranked = sorted(counts.items(), key=lambda item: -sum(item[1]))
    shown = [(name, row) for name, row in ranked if sum(row)][:_SHOWN_CLASSES]
    for name, row in shown:
        table.add_row(name, *map(str, row))
    others = [row for _, row in ranked[len(shown) :]]
    if others:
        sums = (str(sum(column)) for column in zip(*others, strict=True))
        table.add_row(counted(len(others), "other class", "other classes"), *sums)
    return table


def _range_of_sizes(sizes: Sequence[tuple[int, int]]) -> str:
    """The smallest and the largest image by their areas."""
    if not sizes:
        return ""
    low, high = (pick(sizes, key=lambda size: size[0] * size[1]) for pick in (min, max))
    to = "" if low == high else f" to {high[1]}×{high[0]}"
    return f" of {low[1]}×{low[0]}{to} pixels"


def _range(sides: Sequence[float]) -> str:
    """The least, the median and the largest of some lengths, in pixels."""
    if not sides:
        return ""
    ranked = sorted(sides)
    low, middle, high = ranked[0], ranked[len(ranked) // 2], ranked[-1]
    return f" whose longest side is {low:.0f} to {high:.0f} pixels (median {middle:.0f})"
