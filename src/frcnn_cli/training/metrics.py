"""The metrics of every iteration: metrics.csv, TensorBoard's events, curves, and their summary."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import io
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from math import isnan
from pathlib import Path
from statistics import fmean
from typing import Any

from ..runtime.files import write_atomically, write_text
from ..runtime.safe_read import MAX_TEXT_BYTES, read_bytes
from ..runtime.svg import Series, axis, line_chart

METRICS_FILE = "metrics.csv"
VALIDATION_FILE = "validation.csv"
CLASSES_FILE = "validation_classes.csv"
CHART_FILE = "losses.svg"
MAP_CHART_FILE = "validation.svg"
FLUSH_EVERY = 20  # iterations
MAX_POINTS = 200  # of a curve
RECENT = 100  # iterations over which the losses of a summary are averaged


@dataclass(frozen=True, kw_only=True)
class StepMetrics:
    """The metrics of one iteration; the fields are the columns of metrics.csv."""

    iteration: int  # counted from 1
    cls: float  # classification loss, equation 1
    loc: float  # box loss, without its weight
    lr: float
    foreground: int  # RoIs in the batch
    background: int
    fg_accuracy: float  # fraction of the foreground RoIs that are classified correctly
    images_per_second: float
    waited: float  # seconds until the batch was ready
    seconds: float  # of the whole iteration


COLUMNS = tuple(field.name for field in fields(StepMetrics))


class MetricsSummary:
    """Mean losses of the last RECENT iterations, and the fraction of time spent waiting."""

    def __init__(self) -> None:
        self._recent: deque[StepMetrics] = deque(maxlen=RECENT)
        self._waited = self._seconds = 0.0

    def add(self, metrics: StepMetrics) -> None:
        """Add the metrics of an iteration."""
        self._recent.append(metrics)
        self._waited += metrics.waited
        self._seconds += metrics.seconds

    @property
    def cls(self) -> float | None:
        """Mean classification loss; None without iterations."""
        return fmean(each.cls for each in self._recent) if self._recent else None

    @property
    def loc(self) -> float | None:
        """Mean box loss; None without iterations."""
        return fmean(each.loc for each in self._recent) if self._recent else None

    @property
    def waited(self) -> float:
        """Fraction of the time, 0..1, in which training waited for batches."""
        return self._waited / self._seconds if self._seconds else 0.0


class MetricsLog:
    """The log of a run, open as a context manager; TensorBoard's events where it is installed.

    Args:
        keep: number of iterations done; rows of later ones, which will be repeated, are dropped.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep

    def __enter__(self) -> MetricsLog:
        rows = {  # by iteration, so that a damaged file does not make every later step slow
            int(row[0]): row
            for row in read_rows(self.folder / METRICS_FILE, len(COLUMNS))
            if 1 <= row[0] <= self.keep
        }
        kept = [[at, *(f"{value:.6g}" for value in row[1:])] for at, row in rows.items()]
        path = self.folder / METRICS_FILE
        write_atomically(path, lambda part: _write_rows(part, [COLUMNS, *kept]))
        self._file = path.open("a", newline="")
        self._csv = csv.writer(self._file)
        validations = {
            int(row[0]): row
            for row in read_rows(self.folder / VALIDATION_FILE, 2)
            if 1 <= row[0] <= self.keep
        }
        self._validations = list(validations.values())
        self._events: Any = None
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(str(self.folder), purge_step=self.keep + 1)
        return self

    def write(self, metrics: StepMetrics) -> None:
        """Append the metrics of an iteration."""
        iteration, *rest = astuple(metrics)
        self._csv.writerow([iteration, *(f"{value:.6g}" for value in rest)])
        if self._events is not None:
            for name, value in asdict(metrics).items():
                if name != "iteration":
                    self._events.add_scalar(f"train/{name}", value, metrics.iteration)
        if metrics.iteration % FLUSH_EVERY == 0:
            self._file.flush()

    def write_validation(self, iteration: int, mean_ap: float) -> None:
        """Append a mean average precision, 0..1; it replaces an earlier one of the iteration."""
        self._validations = [row for row in self._validations if row[0] != iteration]
        self._validations.append([iteration, mean_ap])
        rows = [[int(row[0]), f"{row[1]:.6g}"] for row in self._validations]
        path = self.folder / VALIDATION_FILE
        write_atomically(path, lambda part: _write_rows(part, [("iteration", "mean_ap"), *rows]))
        if self._events is not None:
            self._events.add_scalar("val/mean_ap", mean_ap, iteration)

    @property
    def validations_since_best(self) -> int:
        """The number of validations after the first one with the highest mean average precision."""
        values = [row[1] for row in self._validations]
        return len(values) - 1 - values.index(max(values)) if values else 0

    def flush(self) -> None:
        """Write the buffered rows to metrics.csv."""
        self._file.flush()

    def draw_curves(self) -> None:
        """Draw the losses and the validations so far as SVG files."""
        self.flush()
        rows = read_rows(self.folder / METRICS_FILE)
        if len(rows) >= 2:
            lines = [
                Series(name, smooth_curve(rows, COLUMNS.index(name))) for name in ("cls", "loc")
            ]
            _draw(self.folder / CHART_FILE, "Losses", "loss", lines)
        points = [(row[0], 100 * row[1]) for row in self._validations]
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


def write_class_row(folder: Path, iteration: int, ap: Mapping[str, float]) -> None:
    """Append the average precision of each class, 0..1, to the validations of a run by class.

    Rows of this iteration and of later ones, which a resumed run repeats, are dropped.

    Args:
        ap: NaN for a class without objects, whose cell stays empty.
    """
    earlier = [(at, own) for at, own in read_class_rows(folder) if at < iteration]
    rows: list[list[str]] = [["iteration", *ap]]
    for at, own in (*earlier, (iteration, ap)):
        if list(own) == list(ap):
            rows.append(
                [str(at), *("" if isnan(value) else f"{value:.6g}" for value in own.values())]
            )
    write_atomically(folder / CLASSES_FILE, lambda part: _write_rows(part, rows))


def read_class_rows(folder: Path) -> list[tuple[int, dict[str, float]]]:
    """The validations of a run by class: iterations, and the AP of each class.

    Rows that were cut off are left out; without the file there are none.

    Returns:
        AP is 0..1, NaN for a class without objects.
    Raises:
        DataError: the file cannot be read.
    """
    path = folder / CLASSES_FILE
    if not path.exists():
        return []
    text = read_bytes(path, "remove the file", MAX_TEXT_BYTES).decode("utf-8", "replace")
    lines: list[list[str]] = []
    with contextlib.suppress(csv.Error):  # a damaged file is begun anew
        lines = [*csv.reader(io.StringIO(text, newline=""))]
    rows = []
    for line in lines[1:]:
        with contextlib.suppress(ValueError):
            values = [float(cell) if cell else math.nan for cell in line[1:]]
            if len(line) == len(lines[0]):
                rows.append((int(line[0]), dict(zip(lines[0][1:], values, strict=True))))
    return rows


def read_rows(path: Path, columns: int | None = None) -> list[list[float]]:
    """The rows of numbers in a CSV file with a header.

    A missing file has no rows. Rows that were cut off when a process was killed, and others that
    are not finite numbers, are left out.

    Args:
        columns: that a row has; None for as many as the header.
    Raises:
        DataError: the file cannot be read.
    """
    if not path.exists():
        return []
    content = read_bytes(path, "remove the file", MAX_TEXT_BYTES).decode("utf-8", "replace")
    lines = content.splitlines()
    commas = lines[0].count(",") if columns is None and lines else (columns or 1) - 1
    rows = []
    for line in lines[1:]:
        if line.count(",") == commas:
            with contextlib.suppress(ValueError):
                rows.append([float(cell) for cell in line.split(",")])
    return [row for row in rows if all(map(math.isfinite, row))]


def smooth_curve(rows: Sequence[Sequence[float]], column: int) -> list[tuple[float, float]]:
    """Average a column over groups of as many rows as give about MAX_POINTS points.

    Returns:
        (iteration of the group's last row, mean of the column) of each group.
    """
    size = max(1, len(rows) // MAX_POINTS)
    groups = [rows[begin : begin + size] for begin in range(0, len(rows) - size + 1, size)]
    return [(group[-1][0], sum(row[column] for row in group) / size) for group in groups]


def _draw(path: Path, title: str, label: str, lines: Sequence[Series]) -> None:
    points = [point for line in lines for point in line.points]
    across = axis("iteration", [point[0] for point in points])
    up = axis(label, [point[1] for point in points])
    write_text(path, line_chart(title, across, up, lines))
