"""The n-th write fails, for every n: the old files stay as they were, and no half-written ones."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from commands import failure, run
from frcnn_cli.checkpoints.weights import WeightsHeader, save_weights
from frcnn_cli.compression import cost
from frcnn_cli.compression.cost import measure_here
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
from full_disk import Countdown, check_every_write, contents, full_disk, full_memory
from synthetic import write_voc
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


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a data set, a picture, weights of a tiny network and some for --init."""
    monkeypatch.chdir(tmp_path)
    add_tiny_backbone(monkeypatch, tmp_path)
    monkeypatch.setattr(cost, "measure_weights", lambda path, device: measure_here(path, device, 1))
    write_voc(Path("voc"), count=8, seed=7)
    torch.manual_seed(1)
    network = build_network(NAME, len(CLASSES))
    torch.nn.init.normal_(network.cls_score.weight, std=0.5)
    header = WeightsHeader(
        backbone=NAME, classes=CLASSES, pixels=CAFFE_PIXELS, scale=60, max_size=100
    )
    save_weights(Path("w.safetensors"), network, header)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save("a.png")
    return tmp_path


class Command(NamedTuple):
    """A command, and what it leaves."""

    words: str
    again: Callable[[], str]  # after a failure
    results: Callable[[], dict[str, object]]  # reads them; the same in the end
    in_steps: bool = False  # earlier ones are of an earlier step


RUN = Path("runs/train/run")
TRAIN = (
    f"train voc --data voc --split train --eval-split val --backbone {NAME} --init tiny.pth "
    "--iterations 3 --rois-per-batch 16 --scales 60 --max-size 100 --eval-every 2 --eval-limit 1 "
    "--device cpu --jobs 1 --quiet --name run"
)
EVAL = "eval voc --data voc --split val -w w.safetensors --save d.jsonl --quiet --jobs 1"
COMPRESS = (
    "compress -w w.safetensors --rank 4 --calibrate voc/JPEGImages --out c.safetensors --quiet"
)


def train_again() -> str:
    if (RUN / "state.pt").exists():
        return f"train --resume {RUN} --quiet"
    shutil.rmtree(RUN, ignore_errors=True)
    return TRAIN


def tensors(pattern: str) -> Callable[[], dict[str, object]]:
    """The tensors of weights files; their headers tell measured times too."""

    def read() -> dict[str, object]:
        found = {str(path): load_file(path) for path in Path().glob(pattern)}
        return {
            f"{path} {key}": tensor.numpy().tobytes()
            for path, each in found.items()
            for key, tensor in each.items()
        }

    return read


def evaluated() -> dict[str, object]:
    """The pictures and tables of the report; its page tells a speed."""
    return {str(path): path.read_bytes() for path in Path("report").rglob("*.[sc]*v*")}


COMMANDS = {
    "eval": Command(
        f"{EVAL} --report report", lambda: f"{EVAL} --report report --overwrite", evaluated
    ),
    "train": Command(TRAIN, train_again, tensors("runs/train/run/*.safetensors"), in_steps=True),
    "compress": Command(COMPRESS, lambda: f"{COMPRESS} --overwrite", tensors("c.safetensors")),
}


def clean() -> None:
    for name in ("runs", "report"):
        shutil.rmtree(name, ignore_errors=True)
    for name in ("d.jsonl", "c.safetensors"):
        Path(name).unlink(missing_ok=True)


def check_failures(
    command: Command, failing: Callable[[int], AbstractContextManager[Countdown]], said: str
) -> int:
    """Let the n-th call fail, for every n: one line, nothing half-written, and the command ends
    with the results of an undisturbed one when it is started again.

    Returns:
        How often it failed.
    """
    first = run(command.words)
    assert first.exit_code == 0, first.output
    whole = command.results()
    assert whole
    n, failures = 1, 0
    while n < 5000:
        clean()
        with failing(n) as countdown:
            result = run(command.words)
        if not countdown.failed:
            return failures
        assert not active_children()  # the program would wait for them at its end
        assert not list(Path().rglob("*.part"))
        assert command.results().items() <= whole.items() or command.in_steps
        if result.exit_code:
            failures += 1
            assert said in failure(result)
            again = run(command.again())
            assert again.exit_code == 0, (n, again.output)
        assert command.results() == whole, n
        n += 1 + n // 4  # the first ones, and fewer of the later ones
    raise AssertionError("it never ends")


SLOW_COMMANDS = [
    name if name == "eval" else pytest.param(name, marks=pytest.mark.slow) for name in COMMANDS
]


@pytest.mark.parametrize("name", SLOW_COMMANDS)
def test_the_nth_write_of_a_command_fails(workshop: Path, name: str) -> None:
    assert check_failures(COMMANDS[name], full_disk, "No space left") > 3


@pytest.mark.parametrize("name", SLOW_COMMANDS)
def test_the_nth_allocation_of_a_command_fails(workshop: Path, name: str) -> None:
    assert check_failures(COMMANDS[name], full_memory, "memory") > 5


def test_a_report_that_cannot_be_written_leaves_the_whole_earlier_one(
    workshop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files get their names when the content of all of them is on the disk."""
    command = f"{EVAL} --report report --overwrite"
    assert run(command).exit_code == 0
    earlier = contents(Path("report"))
    assert len(earlier) == 3 + len(CLASSES)
    named: list[Path] = []
    replace_file = os.replace
    monkeypatch.setattr(
        os, "replace", lambda part, path: (named.append(path), replace_file(part, path))
    )
    for n in range(1, 500):
        with full_disk(n):
            result = run(f"{command} --score 0.3")
        if named:
            return
        assert "No space left" in failure(result)
        assert contents(Path("report")) == earlier
    raise AssertionError("it never ends")


@pytest.mark.parametrize("words", ["detect", "propose"])
def test_the_nth_allocation_fails(workshop: Path, words: str) -> None:
    """One clear line, no half-written file, and the results of before stay."""
    command = {
        "detect": "detect a.png -w w.safetensors --out out --format csv,picture,yolo --overwrite",
        "propose": "propose a.png --export out/b.json --overwrite",
    }[words]
    assert run(command).exit_code == 0
    before = contents(Path("out"))
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
            assert contents(Path("out")) == before
        n += 1 + n // 4  # the first ones, and fewer of the later ones
    raise AssertionError("it never ends")
