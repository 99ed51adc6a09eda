"""The normalisation of the regression targets to mean 0 and variance 1 (Fast R-CNN, section 2.3).

While training, bbox_pred predicts normalised deltas. In weights files the normalisation is folded
into the layer, which then predicts true deltas. K classes; row 0 is the background.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..models.region_network import RegionNetwork


@dataclass(frozen=True)
class DeltaStatistics:
    """Mean and standard deviation of the regression targets, by class and coordinate."""

    mean: NDArray[np.float32]  # [K + 1, 4]
    std: NDArray[np.float32]  # [K + 1, 4]


def _as_outputs(statistics: DeltaStatistics, layer: nn.Linear) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every output of bbox_pred, in their order.

    Of a class-agnostic layer, they are those of any class, which are all the same.
    """
    mean, std = (
        torch.from_numpy(each.reshape(-1)[-layer.out_features :]).to(layer.weight.device)
        for each in (statistics.mean, statistics.std)
    )
    return mean, std


@torch.no_grad()
def normalise_predictor(network: RegionNetwork, statistics: DeltaStatistics) -> None:
    """Change a bbox_pred that predicts true deltas into one that predicts normalised deltas."""
    layer = network.bbox_pred
    mean, std = _as_outputs(statistics, layer)
    layer.weight.div_(std[:, None])
    layer.bias.sub_(mean).div_(std)


@contextmanager
def denormalised(network: RegionNetwork, statistics: DeltaStatistics) -> Iterator[None]:
    """A context in which bbox_pred predicts true deltas instead of normalised ones.

    Afterwards the layer has the same bits as before.
    """
    layer = network.bbox_pred
    mean, std = _as_outputs(statistics, layer)
    normalised_layer = copy.deepcopy(layer.state_dict())
    with torch.no_grad():
        layer.weight.mul_(std[:, None])
        layer.bias.mul_(std).add_(mean)
    try:
        yield
    finally:
        # dividing again would round, and a resumed run would differ from one that was not stopped
        layer.load_state_dict(normalised_layer)
