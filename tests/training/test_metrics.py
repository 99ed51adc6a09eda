from __future__ import annotations

import csv
import os
from dataclasses import replace
from pathlib import Path

import pytest

from frcnn_cli.errors import DataError
from frcnn_cli.training.metrics import (
    COLUMNS,
    MetricsLog,
    MetricsSummary,
    StepMetrics,
    read_rows,
    smooth_curve,
    write_class_row,
)

STEP = StepMetrics(
    iteration=1,
    cls=0.5,
    loc=0.25,
    lr=0.001,
    foreground=30,
    background=90,
    fg_accuracy=0.75,
    images_per_second=4.0,
    waited=0.01,
    seconds=0.5,
)


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_one_row_an_iteration(tmp_path) -> None:
    with MetricsLog(tmp_path, 0) as log:
        for iteration in range(1, 4):
            log.write(replace(STEP, iteration=iteration))
    header, *body = rows(tmp_path / "metrics.csv")
    assert tuple(header) == COLUMNS
    assert [row[0] for row in body] == ["1", "2", "3"]
    assert body[0][1:] == ["0.5", "0.25", "0.001", "30", "90", "0.75", "4", "0.01", "0.5"]


def test_rows_that_will_be_done_again_are_dropped(tmp_path) -> None:
    with MetricsLog(tmp_path, 0) as log:
        for iteration in range(1, 9):
            log.write(replace(STEP, iteration=iteration))
        log.write_validation(4, 0.3)
        log.write_validation(8, 0.4)
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("9,0.5,0.")  # killed while it wrote
    with MetricsLog(tmp_path, 5) as log:
        log.write(replace(STEP, iteration=6))
        log.write_validation(6, 0.35)
    assert [row[0] for row in rows(tmp_path / "metrics.csv")[1:]] == list("123456")
    assert rows(tmp_path / "validation.csv")[1:] == [["4", "0.3"], ["6", "0.35"]]


def test_the_curves_are_drawn(tmp_path) -> None:
    with MetricsLog(tmp_path, 0) as log:
        log.draw_curves()
        assert not (tmp_path / "losses.svg").exists()  # of nothing
        for iteration in range(1, 500):
            log.write(replace(STEP, iteration=iteration, cls=10 / iteration))
        log.write_validation(100, 0.3)
        log.write_validation(200, 0.4)
        log.draw_curves()
    losses = (tmp_path / "losses.svg").read_text()
    assert ">cls<" in losses
    assert ">loc<" in losses
    assert "mean average precision" in (tmp_path / "validation.svg").read_text()


def test_curves_are_means_of_neighbours() -> None:
    points = smooth_curve([[float(i), float(i % 2)] for i in range(1, 1001)], 1)
    assert len(points) == 200
    assert points[0] == (5.0, 0.6)
    assert points[-1] == (1000.0, pytest.approx(0.4))
    assert smooth_curve([[1.0, 3.0]], 1) == [(1.0, 3.0)]


def test_tensorboard_reads_the_events(tmp_path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with MetricsLog(tmp_path, 0) as log:
        log.write(STEP)
        log.write(replace(STEP, iteration=2, cls=0.4))
        log.write_validation(2, 0.3)
    events = reader.EventAccumulator(str(tmp_path)).Reload()
    values = [(each.step, round(each.value, 4)) for each in events.Scalars("train/cls")]
    assert values == [(1, 0.5), (2, 0.4)]
    assert events.Scalars("val/mean_ap")[0].value == pytest.approx(0.3)


def test_rows_that_hold_no_finite_numbers_are_left_out(tmp_path) -> None:
    path = tmp_path / "metrics.csv"
    header = ",".join(COLUMNS).encode()
    good = b"1,0.5,0.25,0.001,30,90,0.75,4,0.01,0.5"
    bad = (
        good.replace(b"0.25", each) for each in (b"nan", b"inf", b"-1e999", b"\xff\0", b"", b'"')
    )
    path.write_bytes(b"\r\n".join([header, good, *bad, b"x" * 200_000, good[:-9]]))
    assert len(read_rows(path)) == 1
    with MetricsLog(tmp_path, 5) as log:
        assert log.validations_since_best == 0
    assert len(rows(path)) == 2
    path.write_bytes(b"\xff\xfe")
    assert read_rows(path) == []
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match="a pipe or a device"):
        read_rows(path)


def test_rows_of_other_files_are_dropped(tmp_path) -> None:
    """Otherwise a forged log would make every checkpoint slow."""
    good = "1,0.5,0.25,0.001,30,90,0.75,4,0.01,0.5\n"
    (tmp_path / "metrics.csv").write_text("iteration,cls\n" + "1,2\n" * 9 + good * 9)
    (tmp_path / "validation.csv").write_text("iteration,mean_ap\n-3,7\n0.5,1\n" + "1,0.5\n" * 9)
    (tmp_path / "validation_classes.csv").write_text('iteration,"a\n' * 9)
    with MetricsLog(tmp_path, 5) as log:
        log.write_validation(2, 0.5)
    write_class_row(tmp_path, 2, {"a": 0.5})
    assert rows(tmp_path / "metrics.csv") == [[*COLUMNS], good.strip().split(",")]
    assert rows(tmp_path / "validation.csv")[1:] == [["1", "0.5"], ["2", "0.5"]]
    assert rows(tmp_path / "validation_classes.csv") == [["iteration", "a"], ["2", "0.5"]]


@pytest.mark.parametrize("content", ["", "iteration,cls\n", "iteration,cls\nx,y\n1\n1,\n"])
def test_a_log_without_rows(tmp_path, content) -> None:
    (tmp_path / "metrics.csv").write_text(content)
    assert read_rows(tmp_path / "metrics.csv") == []


def test_the_summary_is_of_the_last_hundred_iterations() -> None:
    summary = MetricsSummary()
    assert (summary.cls, summary.loc, summary.waited) == (None, None, 0.0)
    for iteration in range(1, 301):
        waited = 0.1 if iteration <= 150 else 0.0
        summary.add(replace(STEP, iteration=iteration, cls=float(iteration), waited=waited))
    assert summary.cls == pytest.approx(250.5)
    assert summary.loc == pytest.approx(0.25)
    assert summary.waited == pytest.approx(0.1)
