"""Processes that are killed while they fill a cache together."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# Notes each entry behind its place, so that what was made twice is seen.
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
        images: what to propose for. seconds: between two kills, on average.
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
    """What --verify says, and how many entries were made, and how many of them again."""
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
    found = outcome([str(folder)], home)
    assert (found["damaged"], found["missing"], found["again"]) == (0, 0, 0)
    assert found["methods"][0]["entries"] == 300
    # a kill loses at most what was in flight: one image for each thread, before it was stored
    assert found["made"] <= 300
