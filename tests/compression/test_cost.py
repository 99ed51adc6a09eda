from __future__ import annotations

import pytest
import torch

from frcnn_cli.checkpoints.weights import load_weights
from frcnn_cli.compression.cost import HeadTimer, measure_weights
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
