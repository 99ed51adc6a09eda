"""benchmarks/on_gpu.py, which is for a GPU, runs on the CPU with a tiny network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from frcnn_cli.checkpoints.weights import save_weights
from frcnn_cli.compression import cost
from tiny import NAME, tiny_detector

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def setting(tmp_path, voc_folder, monkeypatch):
    """The CPU as the device."""
    if not BENCHMARKS.is_dir():
        pytest.skip("the benchmarks are not here")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import detect_speed
    from gpu import training
    from gpu.setting import Setting

    for module in (detect_speed, training):
        monkeypatch.setattr(module, "RANK", 8)
    monkeypatch.setattr(  # another process would not know the backbone
        cost, "measure_weights", lambda path, device: cost.measure_here(path, device, 1)
    )
    detector = tiny_detector(monkeypatch, tmp_path)
    weights = tmp_path / "tiny.safetensors"
    save_weights(weights, detector.network, detector.header)
    return Setting(
        device=torch.device("cpu"),
        data=voc_folder,
        init=None,
        weights=str(weights),
        out=tmp_path / "out",
        work=tmp_path / "work",
        tiny=True,
        iterations=2,
        images=3,
        light_backbone=NAME,
    )


def test_every_phase_runs_and_the_cpu_agrees_with_itself(setting, capsys) -> None:
    import on_gpu

    args = on_gpu.parser().parse_args(["--seconds", "0.1"])
    jobs = on_gpu.jobs_of(["checks", "speed", "train"], args)
    del jobs["faster_rcnn_speed"]  # a ResNet-50
    on_gpu.run(jobs, setting)
    results = json.loads((setting.out / "results.json").read_text())
    assert results.keys() == {"machine", *jobs}
    assert not [name for name, found in results.items() if "failed" in found]
    checks = [check for name in jobs for check in results[name].values() if isinstance(check, dict)]
    assert len(checks) > 10
    assert all(check["ok"] for check in checks if "ok" in check)
    assert [c["value"] for c in checks if c.get("limit")] == [0.0] * 9
    assert results["compiled_speed"] == {"torch.compile": "needs a GPU"}
    assert "ten losses: 0 (at most 0.001)" in capsys.readouterr().out
    parts = [setting.out / name for name in results["train"]["parts"]]
    joined = on_gpu.join_parts(parts[0])
    assert joined.read_bytes() == b"".join(part.read_bytes() for part in parts)


def test_a_job_that_fails_does_not_stop_the_others(setting) -> None:
    import on_gpu

    def broken(setting):
        raise RuntimeError("no kernel image")

    results = on_gpu.run({"first": broken, "second": lambda setting: {"speed": 1.0}}, setting)
    assert results["first"] == {"failed": "RuntimeError: no kernel image"}
    assert results["second"] == {"speed": 1.0}
