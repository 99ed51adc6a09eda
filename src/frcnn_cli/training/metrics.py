"""What is noted of every iteration: metrics.csv, TensorBoard's events, and a picture."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

from ..runtime.files import write_atomically
from ..runtime.svg import Series, axis, line_chart

METRICS_FILE = "metrics.csv"
VALIDATION_FILE = "validation.csv"
CHART_FILE = "losses.svg"
MAP_CHART_FILE = "validation.svg"
FLUSH_EVERY = 20  # iterations
POINTS = 200  # of a curve


@dataclass(frozen=True)
class Step:
    """One finished iteration."""

    iteration: int  # counted from 1
    cls: float  # the losses, equation 1
    loc: float
    lr: float
    foreground: int  # RoIs
    background: int
    fg_accuracy: float  # share of the foreground RoIs whose class is the likeliest; 0 of none
    images_per_second: float
    waited: float  # seconds until the batch was there
    seconds: float  # all together


COLUMNS = tuple(field.name for field in fields(Step))


class MetricsLog:
    """The log of a run; rows of iterations that will be done again are dropped.

    TensorBoard's events are written where it is installed.

    Args:
        keep: iterations done already, whose rows stay.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep

    def __enter__(self) -> MetricsLog:
        rows = [row for row in read_rows(self.folder / METRICS_FILE) if row[0] <= self.keep]
        kept = [[int(row[0]), *(f"{value:.6g}" for value in row[1:])] for row in rows]
        path = self.folder / METRICS_FILE
        write_atomically(path, lambda part: _write_rows(part, [COLUMNS, *kept]))
        self._file = path.open("a", newline="")
        self._csv = csv.writer(self._file)
        self._validation = [
            row for row in read_rows(self.folder / VALIDATION_FILE) if row[0] <= self.keep
        ]
        self._events: Any = None
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(str(self.folder), purge_step=self.keep + 1)
        return self

    def write(self, step: Step) -> None:
        """Append an iteration."""
        first, *rest = astuple(step)
        self._csv.writerow([first, *(f"{value:.6g}" for value in rest)])
        if self._events is not None:
            for name, value in asdict(step).items():
                if name != "iteration":
                    self._events.add_scalar(f"train/{name}", value, step.iteration)
        if step.iteration % FLUSH_EVERY == 0:
            self._file.flush()

    def validated(self, iteration: int, mean_ap: float) -> None:
        """Append a mean average precision on the validation images, once an iteration."""
        self._validation = [row for row in self._validation if row[0] != iteration]
        self._validation.append([iteration, mean_ap])
        rows = [[int(row[0]), f"{row[1]:.6g}"] for row in self._validation]
        path = self.folder / VALIDATION_FILE
        write_atomically(path, lambda part: _write_rows(part, [("iteration", "mean_ap"), *rows]))
        if self._events is not None:
            self._events.add_scalar("val/mean_ap", mean_ap, iteration)

    def flush(self) -> None:
        """Let the file hold all that was written."""
        self._file.flush()

    def draw(self) -> None:
        """Draw the curves as they are so far."""
        self.flush()
        rows = read_rows(self.folder / METRICS_FILE)
        if len(rows) >= 2:
            lines = [Series(name, smooth(rows, COLUMNS.index(name))) for name in ("cls", "loc")]
            _draw(self.folder / CHART_FILE, "Losses", "loss", lines)
        points = [(row[0], 100 * row[1]) for row in self._validation]
        if len(points) >= 2:
            _draw(
                self.folder / MAP_CHART_FILE,
                "Validation",
                "mean average precision, %",
                [Series("mAP", points)],
            )

    def __exit__(self, *exception: object) -> None:
        self._file.close()
        if self._events is not None:
            self._events.close()


def _write_rows(path: Path, rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def read_rows(path: Path) -> list[list[float]]:
    """The rows of numbers in a CSV file; none where it is missing, and none that is cut off."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        header, *rows = [*csv.reader(file)] or [[]]
        found = []
        for row in rows:
            with contextlib.suppress(ValueError):
                found.append([float(cell) for cell in row])
        return [row for row in found if len(row) == len(header)]


def smooth(rows: Sequence[Sequence[float]], column: int) -> list[tuple[float, float]]:
    """(iteration, mean of the iterations around it), at most POINTS of them."""
    size = max(1, len(rows) // POINTS)
    groups = [rows[begin : begin + size] for begin in range(0, len(rows) - size + 1, size)]
    return [(group[-1][0], sum(row[column] for row in group) / size) for group in groups]


def _draw(path: Path, title: str, label: str, lines: Sequence[Series]) -> None:
    points = [point for line in lines for point in line.points]
    across = axis("iteration", [point[0] for point in points])
    up = axis(label, [point[1] for point in points])
    path.write_text(line_chart(title, across, up, lines), encoding="utf-8")
