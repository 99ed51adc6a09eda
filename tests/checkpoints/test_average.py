"""The average of weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from frcnn_cli.checkpoints.average import average_weights
from frcnn_cli.checkpoints.weights import WeightsHeader, load_weights, save_weights
from frcnn_cli.errors import ConfigError, WeightsError
from frcnn_cli.structures import PixelStatistics
from small_network import CLASSES, add_small_backbone, small_network

HEADER = WeightsHeader(
    backbone="tiny",
    classes=CLASSES,
    pixels=PixelStatistics((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)),
    scale=60,
    max_size=100,
    provenance={"data": "synthetic"},
)


@pytest.fixture(autouse=True)
def backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    add_small_backbone(monkeypatch)


def trained(folder: Path, name: str, header: WeightsHeader = HEADER) -> Path:
    """A file of random weights."""
    torch.manual_seed(sum(map(ord, name)))
    network = small_network()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_(-2, 2)
    path = folder / f"{name}.safetensors"
    save_weights(path, network, header)
    return path


@pytest.mark.parametrize("names", ["ab", "abc", "aa"])
def test_every_weight_is_the_mean(tmp_path: Path, names: str) -> None:
    files = [trained(tmp_path, name) for name in names]
    average_weights(files, tmp_path / "mean.safetensors")
    mean, header = load_weights(tmp_path / "mean.safetensors")
    states = [load_weights(file)[0].state_dict() for file in files]
    for name, tensor in mean.state_dict().items():
        expected = sum(state[name].double() for state in states) / len(states)
        torch.testing.assert_close(tensor.double(), expected, atol=1e-3, rtol=1e-3)  # of float16
    provenance = {"data": "synthetic", "averaged": list(names)}
    assert header == replace(HEADER, provenance=provenance)


@pytest.mark.parametrize(
    "changes", [{"classes": CLASSES[::-1]}, {"scale": 61}, {"geometry": "caffe"}]
)
def test_other_networks_are_refused(tmp_path: Path, changes) -> None:
    files = [trained(tmp_path, "a"), trained(tmp_path, "b", replace(HEADER, **changes))]
    with pytest.raises(WeightsError, match=rf"have another {next(iter(changes))}: "):
        average_weights(files, tmp_path / "mean.safetensors")
    assert not (tmp_path / "mean.safetensors").exists()


def test_one_file_is_no_average(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="two weights files or more"):
        average_weights([trained(tmp_path, "a")], tmp_path / "mean.safetensors")
