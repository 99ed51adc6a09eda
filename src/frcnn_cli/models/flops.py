"""Counting floating-point operations; a multiply-add is two, activations and pooling are free."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from .region_network import RegionNetwork


def linear_flops(module: nn.Module) -> int:
    """Operations of the fully connected layers in a module, for one row of input."""
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    return 2 * sum(layer.weight.numel() for layer in layers)


def head_flops(network: RegionNetwork) -> int:
    """Operations of the box head and the predictor, for one RoI."""
    outputs = network.output_layers().values()
    return linear_flops(network.fc_layers) + sum(map(linear_flops, outputs))


def image_flops(network: RegionNetwork, size: tuple[int, int]) -> int:
    """Operations of the convolutions, for an image of (height, width) pixels."""
    total = 0

    def add(layer: nn.Conv2d, _: object, output: torch.Tensor) -> None:
        nonlocal total
        total += 2 * layer.weight[0].numel() * output.numel()

    layers = [layer for layer in network.features.modules() if isinstance(layer, nn.Conv2d)]
    handles = [layer.register_forward_hook(add) for layer in layers]
    try:
        with torch.inference_mode():
            image = torch.zeros((1, 3, *size), device=network.device, dtype=network.dtype)
            network.features(image)
    finally:
        for handle in handles:
            handle.remove()
    return total
