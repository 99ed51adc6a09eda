"""The normalisation of the regression targets, folded into bbox_pred and out of it again."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ..data.batching import DeltaStatistics
from ..models.fast_rcnn import FastRCNN


def _flat(deltas: DeltaStatistics, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation in the order of the outputs of bbox_pred."""
    mean, std = (
        torch.from_numpy(each.reshape(-1)).to(device) for each in (deltas.mean, deltas.std)
    )
    return mean, std


@torch.no_grad()
def unfold(model: FastRCNN, deltas: DeltaStatistics) -> None:
    """Make a bbox_pred that predicts true deltas predict normalised ones."""
    layer = model.bbox_pred
    mean, std = _flat(deltas, layer.weight.device)
    layer.weight.div_(std[:, None])
    layer.bias.sub_(mean).div_(std)


@contextmanager
def folded(model: FastRCNN, deltas: DeltaStatistics) -> Iterator[None]:
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
