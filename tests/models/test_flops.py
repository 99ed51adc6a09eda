from __future__ import annotations

import torch
from torch import nn

from frcnn_cli.models.flops import convolution_flops, linear_flops


def test_linear_layers_count_a_multiply_add_as_two() -> None:
    layers = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Sequential(nn.Linear(5, 2, bias=False)))
    assert linear_flops(layers) == 2 * (3 * 5 + 5 * 2)
    assert linear_flops(nn.ReLU()) == 0


def test_convolutions_count_every_output_cell() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 1, groups=2)
    )
    found = convolution_flops(network, torch.zeros(2, 3, 8, 10))
    first = 2 * 2 * 4 * (4 * 5) * (3 * 9)  # two images of 4×5 cells
    second = 2 * 2 * 6 * (4 * 5) * 2  # each output reads two channels of its group
    assert found == first + second
    assert not any(layer._forward_hooks for layer in network)
