from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from frcnn_cli.models.detectors import DETECTORS, build_network
from frcnn_cli.models.region_network import RegionNetwork
from frcnn_cli.training.target_normalization import (
    DeltaStatistics,
    denormalised,
    normalise_predictor,
)
from tiny import CLASSES, NAME, add_tiny_backbone


@pytest.fixture(params=[False, True], ids=["by class", "class-agnostic"])
def network(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> RegionNetwork:
    add_tiny_backbone(monkeypatch, tmp_path)
    spec = replace(DETECTORS["fast_rcnn"], class_agnostic=request.param)
    network = build_network(NAME, len(CLASSES), spec).eval()
    torch.nn.init.normal_(network.bbox_pred.weight)
    torch.nn.init.normal_(network.bbox_pred.bias)
    return network


@pytest.fixture
def statistics(network: RegionNetwork) -> DeltaStatistics:
    """Different ones for each class and coordinate, but for no class where all have the same."""
    rng = np.random.default_rng(0)
    shape = (len(CLASSES) + 1, 4)
    mean, std = rng.normal(size=shape), rng.uniform(0.2, 3, shape)
    if network.bbox_pred.out_features == 4:
        mean[1:], std[1:] = mean[1], std[1]
    return DeltaStatistics(mean.astype(np.float32), std.astype(np.float32))


def test_true_deltas_are_the_normalised_ones_times_deviation_plus_mean(network, statistics) -> None:
    hidden = torch.randn(5, network.bbox_pred.in_features)
    with torch.inference_mode():
        normalised = network.predict(hidden).box_deltas[:, 1:].numpy()
        with denormalised(network, statistics):
            true = network.predict(hidden).box_deltas[:, 1:].numpy()
    expected = normalised * statistics.std[1:] + statistics.mean[1:]
    np.testing.assert_allclose(true, expected, rtol=1e-4, atol=1e-4)


def test_normalising_undoes_denormalising(network, statistics) -> None:
    layer = network.bbox_pred
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    with denormalised(network, statistics):
        assert not torch.allclose(layer.bias, before["bias"])
        normalise_predictor(network, statistics)
        for key, value in layer.state_dict().items():
            torch.testing.assert_close(value, before[key], rtol=1e-5, atol=1e-5)


def test_afterwards_the_layer_has_the_same_bits(network, statistics) -> None:
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with denormalised(network, statistics):
        assert not torch.equal(network.bbox_pred.weight, before["bbox_pred.weight"])
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key]), key
