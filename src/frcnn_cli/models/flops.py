"""Counts floating-point operations: two for a multiply-add, none for activations and pooling."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def linear_flops(module: nn.Module) -> int:
    """Floating-point operations of the fully connected layers in a module, for one row of input."""
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    return 2 * sum(layer.weight.numel() for layer in layers)


def convolution_flops(module: nn.Module, images: Tensor) -> int:
    """Floating-point operations of the convolutions in a module, for `images` [B, 3, H, W]."""
    total = 0

    def add(layer: nn.Conv2d, _: object, output: Tensor) -> None:
        nonlocal total
        total += 2 * layer.weight[0].numel() * output.numel()

    layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    handles = [layer.register_forward_hook(add) for layer in layers]
    try:
        with torch.inference_mode():
            module(images)
    finally:
        for handle in handles:
            handle.remove()
    return total
