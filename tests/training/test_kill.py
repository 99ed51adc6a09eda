"""Processes that are killed while they fill a cache together, or train."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from shutil import rmtree

import numpy as np
import pytest
from PIL import Image

from tiny import add_tiny_backbone

# Logs the name of every cache entry after it is stored, so that entries made twice are counted.
WORKER = """
import sys
from frcnn_cli.cli.app import app
from frcnn_cli.proposers.cache import ProposalSource
store = ProposalSource.store
log = open(sys.argv.pop(1), "a", buffering=1)
def noted(self, content, proposals):
    store(self, content, proposals)
    log.write(self.path(content).name + "\\n")
ProposalSource.store = noted
app()
"""


def storm(images: list[str], home: Path, kills: int, seconds: float, seed: int) -> None:
    """Two processes fill one cache; one of them is killed at random moments, and starts again.

    Args:
        images: files or folders. seconds: between two kills, on average.
    """
    log = home / "made.txt"
    home.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "FRCNN_HOME": str(home)}
    rng = random.Random(seed)

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WORKER, str(log), "propose", *images, "--json", "--quiet"]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    workers = [start(), start()]
    done = 0
    while done < kills:
        time.sleep(rng.uniform(0.2, 2 * seconds))
        which = rng.randrange(2)
        if workers[which].poll() is None:
            workers[which].kill()
            done += 1
        workers[which].communicate()
        workers[which] = start()
    for worker in workers:
        worker.communicate()
        assert worker.returncode == 0


def outcome(images: list[str], home: Path) -> dict[str, object]:
    """The report of --verify, with the number of entries made, and of those made again."""
    command = [sys.executable, "-m", "frcnn_cli", "propose", *images, "--verify", "--json"]
    environment = {**os.environ, "FRCNN_HOME": str(home)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    made = (home / "made.txt").read_text().split()
    answer = json.loads(result.stdout)
    return {**answer, "made": len(made), "again": len(made) - len(set(made))}


@pytest.mark.slow
def test_kills_damage_nothing_and_nothing_is_made_twice(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(300):
        coarse = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((330, 220)).save(folder / f"{i}.png")
    home = tmp_path / "cache"
    storm([str(folder)], home, kills=6, seconds=3, seed=0)
    report = outcome([str(folder)], home)
    assert (report["damaged"], report["missing"], report["again"]) == (0, 0, 0)
    assert report["methods"][0]["entries"] == 300
    # a kill loses at most one image for each thread, whose boxes were not stored yet
    assert report["made"] <= 300


TRAINER = """
import sys
from pathlib import Path
import pytest, torch
from frcnn_cli.cli.app import app
from tiny import add_tiny_backbone
torch.set_num_threads(1)
add_tiny_backbone(pytest.MonkeyPatch(), Path(sys.argv.pop(1)))
app()
"""


def killed_training(folder: Path, flags: list[str], kills: int, seconds: float, seed: int) -> int:
    """Train in `folder`, killed at random moments and resumed each time, to the end.

    Args:
        seconds: between two kills, at most, after the first checkpoint.
    Returns:
        How often it was killed; fewer than `kills` where it ended before.
    """
    folder.mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path]),
        "FRCNN_HOME": str(folder.parent / "home"),
    }
    rng = random.Random(seed)
    state = folder / "runs" / "train" / "run" / "state.pt"
    done = 0
    while True:
        what = ["--resume"] if state.exists() else flags
        command = [sys.executable, "-c", TRAINER, str(folder.parent), "train", *what, "--quiet"]
        before = state.stat().st_mtime if state.exists() else 0.0
        worker = subprocess.Popen(command, env=environment, cwd=folder, stderr=subprocess.PIPE)
        while done < kills and worker.poll() is None:
            # a run that never reaches a checkpoint would never end
            if state.exists() and state.stat().st_mtime > before:
                time.sleep(rng.uniform(0, seconds))
                worker.kill()
                done += 1
                break
            time.sleep(0.01)
        _, errors = worker.communicate()
        if worker.returncode == 0:
            return done
        assert worker.returncode == -9, errors.decode()
        if not state.exists():
            rmtree(folder / "runs", ignore_errors=True)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_that_is_killed_ends_with_the_same_bits(
    voc_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    add_tiny_backbone(monkeypatch, tmp_path)
    flags = (
        f"--data {voc_folder} --init {tmp_path}/tiny.pth --backbone tiny --iterations 1500 "
        "--scales 60,120 --max-size 200 --lr 0.01 --device cpu --checkpoint-minutes 0.002 "
        f"--precision {precision}"
    ).split()
    weights = []
    for name, kills in (("whole", 0), ("killed", 20)):
        assert killed_training(tmp_path / name, flags, kills, 0.5, seed=1) == kills
        weights.append(tmp_path / name / "runs" / "train" / "run" / "last.safetensors")
    assert weights[0].read_bytes() == weights[1].read_bytes()
