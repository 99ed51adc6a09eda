"""Mutated files for every reader, in a process with limits; see harness.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from frcnn_cli.data.registry import TOOL_KEYS

HARNESS = Path(__file__).with_name("harness.py")
READERS = {
    "mat", "pickle", "npz", "proposals in JSON", "picture", "weights", "pth", "training state",
    "caffemodel", "COCO", "CSV", "VOC", "YAML", "TOML", "cache", "detections", "npy", "metrics",
    "via 3", "labelstudio csv", *TOOL_KEYS,
}  # fmt: skip
NO_ERRORS = {"cache", "npy", "metrics"}  # what is damaged there is made again, or left out
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limits are those of Linux")


def fuzz(count: int, seed: int) -> None:
    command = [sys.executable, str(HARNESS), str(count), str(seed)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    results = json.loads(result.stdout.splitlines()[-1])
    assert results.keys() == READERS
    for name, counts in results.items():
        print(f"{name}: {counts}")
        assert counts["read"] + counts["refused"] == count
        assert counts["refused"] or name in NO_ERRORS
        assert counts["longest"] < 10
        assert counts["bytes"] < 2**30


def test_a_hundred_files_for_every_reader() -> None:
    fuzz(100, 1)


@pytest.mark.slow
def test_eighteen_thousand_files() -> None:
    fuzz(1000, 2)
