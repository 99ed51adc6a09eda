from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from frcnn_cli.checkpoints.weights import load_weights, save_weights
from frcnn_cli.compression import cost as costs
from frcnn_cli.compression.cost import HeadTimer, measure_weights
from frcnn_cli.errors import FrcnnError
from frcnn_cli.runtime.paths import DEFAULT_WEIGHTS, find_weights


def test_timer_takes_full_and_low_rank_layers(network) -> None:
    timer = HeadTimer(network, torch.device("cpu"))
    assert timer({"fc6": None, "fc7": 5}) > 0


@pytest.mark.slow
def test_measured_in_a_process_of_its_own() -> None:
    weights = find_weights(DEFAULT_WEIGHTS)
    cost = measure_weights(weights, "cpu")
    assert cost.bytes == weights.stat().st_size
    network, _ = load_weights(weights)
    assert cost.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert cost.milliseconds > 1
    assert 100e6 < cost.peak_bytes < 8e9


@pytest.mark.slow
def test_the_script_that_measures_runs_once(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(  # without the guard that multiprocessing asks for
        "print('begun')\n"
        "from frcnn_cli.compression.cost import measure_weights\n"
        "from frcnn_cli.runtime.paths import DEFAULT_WEIGHTS, find_weights\n"
        "print(measure_weights(find_weights(DEFAULT_WEIGHTS), 'cpu').peak_bytes > 0)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (done.stdout.splitlines(), done.stderr) == (["begun", "True"], "")


def answers(monkeypatch: pytest.MonkeyPatch, status: int, stderr: str = "") -> None:
    """Let the process that measures end in this way."""
    monkeypatch.setattr(
        subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], status, "", stderr)
    )


def test_a_backbone_of_the_script_is_measured_here(detector, tmp_path, monkeypatch) -> None:
    path = tmp_path / "tiny.safetensors"
    save_weights(path, detector.network, detector.header)
    answers(monkeypatch, costs._UNKNOWN)
    cost = measure_weights(path, "cpu")
    assert cost.bytes == path.stat().st_size
    assert cost.peak_bytes == 0  # that of this process says nothing


@pytest.mark.parametrize(
    ("status", "stderr", "message"),
    [
        (-signal.SIGKILL, "", "was killed by signal 9"),
        (1, "Traceback\nImportError: no numpy\n", "failed: ImportError: no numpy"),
        (2, "", "failed: exit status 2"),
    ],
)
def test_only_a_killed_process_may_have_lacked_memory(monkeypatch, status, stderr, message) -> None:
    answers(monkeypatch, status, stderr)
    with pytest.raises(FrcnnError, match=message) as error:
        measure_weights(Path("w.safetensors"), "cpu")
    assert ("memory" in error.value.hint) == (status < 0)
