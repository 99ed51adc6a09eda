"""The n-th write fails, for every n: the old files stay as they were, and no half-written ones."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import failure, run
from frcnn_cli.checkpoints.weights import WeightsHeader, save_weights
from frcnn_cli.compression.curve import Point, write_curve
from frcnn_cli.errors import FrcnnError
from frcnn_cli.evaluation.detection_log import DetectionLog, Header
from frcnn_cli.inference.result import Result
from frcnn_cli.inference.writers import WRITERS, Output
from frcnn_cli.models.backbones import CAFFE_PIXELS
from frcnn_cli.models.detectors import build_network
from frcnn_cli.proposers.cache import ProposalSource
from frcnn_cli.proposers.exchange.exporter import export_boxes
from frcnn_cli.proposers.method import Method
from frcnn_cli.runtime.paths import proposals_dir
from frcnn_cli.structures import Detections, Proposals
from frcnn_cli.training.metrics import METRICS_FILE, MetricsLog, StepMetrics, read_rows
from full_disk import check_every_write, contents, full_disk, full_memory
from tiny import CLASSES, NAME, add_tiny_backbone

BOXES = np.array([[1, 2, 30, 40]], np.float32)


STEP = StepMetrics(
    iteration=1, cls=0.5, loc=0.25, lr=0.001, foreground=30, background=90, fg_accuracy=0.75,
    images_per_second=4.0, waited=0.01, seconds=0.5,
)  # fmt: skip


def export(folder: Path) -> None:
    export_boxes(folder / "old.json", [Path("a.png")], {0: BOXES}, "json")


def store(folder: Path) -> None:
    method = Method("x", lambda image: Proposals(BOXES, (50, 60)), {})
    ProposalSource(method, folder)(b"content", np.zeros((50, 60, 3), np.uint8))


def output(name: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        ones = np.ones(1, np.int64)
        result = Result(
            name="a.png",
            stem="a",
            image=np.zeros((50, 60, 3), np.uint8),
            detections=Detections(
                boxes=BOXES, scores=ones.astype(np.float32), labels=ones, image_size=(50, 60)
            ),
            classes=("ball",),
            proposals=1,
            seconds=0.0,
        )
        with Output(folder, [name], ("ball",), (), overwrite=True) as each:
            each.add(result)

    return write


def curve(folder: Path) -> None:
    points = [
        Point(method="plain", ranks={"fc6": rank}, mean_ap=0.5, weights=9, megabytes=1.0,
              milliseconds=2.0)
        for rank in (None, 4, 2)
    ]  # fmt: skip
    write_curve(folder / "a.safetensors", points, "plain", {"fc6": 4})


COMMITS = {
    "export": export,
    "cache": store,
    "curve": curve,
    **{name: output(name) for name in WRITERS},
}


@pytest.mark.parametrize("commit", COMMITS.values(), ids=COMMITS)
def test_the_nth_write_fails(tmp_path: Path, commit: Callable[[Path], None]) -> None:
    # a cache writes these once
    assert check_every_write(tmp_path, commit, kept={"claims.lock", "method.json"})


def test_the_nth_write_of_a_log_fails(tmp_path: Path) -> None:
    """What was logged before stays, and the log is continued to the bytes of an undisturbed one."""
    header = Header(("ball",), {"weights": "w"})
    found = Detections(
        boxes=BOXES, scores=np.ones(1, np.float32), labels=np.ones(1, np.int64),
        image_size=(50, 60),
    )  # fmt: skip

    def evaluate(path: Path) -> None:
        with DetectionLog(path, header) as log:
            for name in ("a", "b", "c"):
                if name not in log.logged:
                    log.add(name, 5, found)

    evaluate(tmp_path / "whole.jsonl")
    whole = (tmp_path / "whole.jsonl").read_bytes()
    for n in range(1, 20):
        path = tmp_path / f"{n}.jsonl"
        with full_disk(n) as disk, contextlib.suppress(FrcnnError):
            evaluate(path)
        begun = path.read_bytes() if path.exists() else b""
        assert whole.startswith(begun)
        evaluate(path)
        assert path.read_bytes() == whole
        if not disk.failed:
            return
    raise AssertionError("it never ends")


def test_the_nth_write_of_the_metrics_fails(tmp_path: Path) -> None:
    def train(folder: Path, first: int) -> None:
        folder.mkdir(exist_ok=True)
        with MetricsLog(folder, first - 1) as log:
            for iteration in range(first, 4):
                log.write(replace(STEP, iteration=iteration))
            log.write_validation(3, 0.5)
            log.flush()

    train(tmp_path / "whole", 1)
    whole = {path: path.read_bytes() for path in (tmp_path / "whole").glob("*.csv")}
    for n in range(1, 40):
        folder = tmp_path / str(n)
        with full_disk(n) as disk, contextlib.suppress(FrcnnError, OSError):
            train(folder, 1)
        folder.mkdir(exist_ok=True)
        assert not list(folder.glob(".*.part"))
        train(folder, len(read_rows(folder / METRICS_FILE)) + 1)  # from the last whole iteration
        for path, content in whole.items():
            assert (folder / path.name).read_bytes() == content
        if not disk.failed:
            return
    raise AssertionError("it never ends")


@pytest.mark.parametrize("words", ["detect", "propose"])
def test_the_nth_allocation_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """One clear line, no half-written file, and the results of before stay."""
    monkeypatch.chdir(tmp_path)
    add_tiny_backbone(monkeypatch, tmp_path)
    network = build_network(NAME, len(CLASSES))
    header = WeightsHeader(
        backbone=NAME, classes=CLASSES, pixels=CAFFE_PIXELS, scale=60, max_size=100
    )
    save_weights(Path("w.safetensors"), network, header)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save("a.png")
    command = {
        "detect": "detect a.png -w w.safetensors --out out --format csv,picture,yolo --overwrite",
        "propose": "propose a.png --export out/b.json --overwrite",
    }[words]
    assert run(command).exit_code == 0
    before = contents(tmp_path / "out")
    n, failures = 1, 0
    while n < 5000:
        shutil.rmtree(proposals_dir(), ignore_errors=True)
        with full_memory(n) as memory:
            result = run(command)
        if not memory.failed:
            assert failures > 5
            return
        if result.exit_code:
            failures += 1
            assert "memory" in failure(result)
            assert contents(tmp_path / "out") == before
        n += 1 + n // 4  # the first ones, and fewer of the later ones
    raise AssertionError("it never ends")
