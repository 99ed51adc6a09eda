"""Training in several processes, against training in one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from frcnn_cli.checkpoints.weights import load_weights
from frcnn_cli.errors import ConfigError
from frcnn_cli.training.distributed import World
from tiny import add_tiny_backbone

TESTS = Path(__file__).parents[1]
SCRIPT = """
import sys
from pathlib import Path
import pytest
from frcnn_cli.cli.app import app
from tiny import add_tiny_backbone
add_tiny_backbone(pytest.MonkeyPatch(), Path(sys.argv.pop(1)))
app()
"""
# the second process finds an image gone at its third batch
FAILING = """
import os
from frcnn_cli.training import batches
from frcnn_cli.errors import ImageError
BatchMaker = batches.BatchMaker
class Failing(BatchMaker):
    def __call__(self, iteration):
        if os.environ["RANK"] == "1" and iteration == 2:
            raise ImageError("an image is gone", "put it back")
        return super().__call__(iteration)
from frcnn_cli.training import setup
setup.BatchMaker = Failing
"""


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


def start(
    folder: Path, data: Path, processes: int, script: str = SCRIPT
) -> tuple[Path, list[subprocess.Popen[str]]]:
    """Ten iterations of two images, by so many processes, in a folder of their own."""
    run = folder / f"of-{processes}"
    run.mkdir()
    flags = (
        f"train --data {data} --init {folder}/tiny.pth --backbone tiny --iterations 10 "
        "--scales 60,90,120 --max-size 200 --lr 0.01 --device cpu --precision fp32 "
        "--checkpoint-minutes 0 --quiet"
    ).split()
    port = str(free_port())
    workers = []
    for rank in range(processes):
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]),
            "FRCNN_HOME": str(folder / "home"),
            "OMP_NUM_THREADS": "1",
        }
        if processes > 1:  # as torchrun sets them
            environment |= {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(processes),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
            }
        command = [sys.executable, "-c", script, str(run), *flags]
        workers.append(
            subprocess.Popen(command, env=environment, cwd=run, stderr=subprocess.PIPE, text=True)
        )
    return run, workers


def train(folder: Path, data: Path, processes: int) -> Path:
    """The weights after these iterations."""
    run, workers = start(folder, data, processes)
    for worker in workers:
        _, errors = worker.communicate(timeout=200)
        assert worker.returncode == 0, errors
    assert len(list(run.rglob("state.pt"))) == 1  # one process writes
    return run / "runs" / "train" / "run" / "last.safetensors"


@pytest.mark.slow  # new processes that import torch
def test_two_processes_train_as_one(
    voc_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_tiny_backbone(monkeypatch, tmp_path)
    one, two = (
        load_weights(train(tmp_path, voc_folder, processes))[0].state_dict() for processes in (1, 2)
    )
    start = torch.load(tmp_path / "tiny.pth")
    assert not torch.allclose(one["features.2.weight"], start["features.2.weight"], atol=1e-4)
    for key, tensor in one.items():
        assert torch.allclose(tensor, two[key], rtol=0, atol=1e-5), key


@pytest.mark.slow  # new processes that import torch
def test_an_image_that_one_process_misses_ends_both_with_a_line_and_a_checkpoint(
    voc_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_tiny_backbone(monkeypatch, tmp_path)
    run, workers = start(tmp_path, voc_folder, 2, FAILING + SCRIPT)
    messages = [worker.communicate(timeout=200)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [1, 1], messages
    for errors in messages:
        assert "Traceback" not in errors
        assert [line[:7] for line in errors.splitlines()].count("error: ") == 1
    assert "another process cannot go on" in messages[0]
    assert "an image is gone" in messages[1]
    state = torch.load(next(run.rglob("state.pt")), weights_only=True)
    assert state["iteration"] == 2


def test_every_slot_belongs_to_one_process() -> None:
    parts = [World(rank, 3).slots(6) for rank in range(3)]
    assert [slot for part in parts for slot in part] == list(range(6))
    with pytest.raises(ConfigError, match="2 images in a batch cannot be shared among 3"):
        World(0, 3).slots(2)
