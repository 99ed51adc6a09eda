"""Reports on a compression: the size of every layer, and how well the outputs are preserved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ..models.region_network import RegionNetwork
from .ranks import Ranks

Method = Literal["plain", "aware"]
METHODS: dict[Method, str] = {
    "plain": "truncated SVD",
    "aware": "activation-aware, distilled",
}


@dataclass(frozen=True, kw_only=True)
class LayerReport:
    """How compression changes one layer."""

    name: str
    shape: tuple[int, int]  # outputs × inputs
    break_even: float  # the rank at which the pair has as many weights as the layer
    rank: int | None  # None: full
    before: int  # weights, without biases
    after: int  # weights, without biases
    weight_error: float | None  # ‖W − W'‖² / ‖W‖²; None at full rank
    output_error: dict[Method, float]  # relative squared error on held-out RoIs; may be empty


@dataclass(frozen=True, kw_only=True)
class CompressionReport:
    """How compression changes a network."""

    ranks: Ranks
    method: Method  # the one that is used
    layers: list[LayerReport]  # the output layers included
    divergence: dict[Method, float]  # distillation loss on held-out RoIs; may be empty


@torch.no_grad()
def weight_error(layer: nn.Linear, pair: nn.Sequential) -> float:
    """‖W − W'‖² / ‖W‖² of a layer and the pair that replaces it."""
    first, second, _ = (each.double() for each in pair.parameters())
    weight = layer.weight.double()
    size = weight.square().sum().clamp(min=1e-300)
    return float((weight - second @ first).square().sum() / size)


@torch.no_grad()
def output_errors(
    layers: Mapping[str, nn.Linear], head: RegionNetwork, rois: Tensor
) -> dict[str, float]:
    """E‖y − y'‖² over the variance of y, for each low-rank layer of a head.

    Every low-rank layer gets the inputs that it has in the full network.

    Args:
        layers: the full layers. head: see `Compressor`. rois: [N, u], outputs of the first layer.
    """
    x = y = rois
    errors = {}
    for index, (name, layer) in enumerate(layers.items()):
        if index:
            x = y.relu()
            y = layer(x)
        pair = head.fc_layers[name]
        if isinstance(pair, nn.Sequential):
            variance = (y - y.mean(dim=0)).square().sum().clamp(min=1e-30)
            errors[name] = float((y - pair(x)).square().sum() / variance)
    return errors
