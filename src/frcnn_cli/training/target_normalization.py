"""The normalisation of the regression targets, folded into bbox_pred and out of it again."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..models.region_network import RegionNetwork


@dataclass(frozen=True)
class DeltaStatistics:
    """Mean and standard deviation of the regression targets, [K + 1, 4] each, by class."""

    mean: NDArray[np.float32]
    std: NDArray[np.float32]


def _flat(deltas: DeltaStatistics, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation in the order of the outputs of bbox_pred."""
    mean, std = (
        torch.from_numpy(each.reshape(-1)).to(device) for each in (deltas.mean, deltas.std)
    )
    return mean, std


@torch.no_grad()
def normalise(model: RegionNetwork, deltas: DeltaStatistics) -> None:
    """Make a bbox_pred that predicts true deltas predict normalised ones."""
    layer = model.bbox_pred
    mean, std = _flat(deltas, layer.weight.device)
    layer.weight.div_(std[:, None])
    layer.bias.sub_(mean).div_(std)


@contextmanager
def denormalised(model: RegionNetwork, deltas: DeltaStatistics) -> Iterator[None]:
    """Within the block, bbox_pred predicts true deltas instead of normalised ones."""
    layer = model.bbox_pred
    mean, std = _flat(deltas, layer.weight.device)
    before = copy.deepcopy(layer.state_dict())
    with torch.no_grad():
        layer.weight.mul_(std[:, None])
        layer.bias.mul_(std).add_(mean)
    try:
        yield
    finally:
        layer.load_state_dict(before)  # the very bits: resuming must not drift
