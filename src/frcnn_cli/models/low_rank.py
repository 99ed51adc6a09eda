"""Truncated SVD of fully connected layers (Fast R-CNN, section 3.1).

W (u×v) is approximated by U Σ_t V^T; one layer of u·v weights becomes two of t·(u + v).
"""

from __future__ import annotations

import torch
from torch import nn

from ..errors import WeightsError


def break_even_rank(layer: nn.Linear) -> float:
    """The rank at which two layers have as many weights as one, u·v / (u + v)."""
    u, v = layer.weight.shape
    return u * v / (u + v)


def low_rank_layer(inputs: int, outputs: int, rank: int) -> nn.Sequential:
    """Σ_t V^T without a bias, then U with the original one; not initialised to anything useful."""
    return nn.Sequential(nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs))


@torch.no_grad()
def truncate(layer: nn.Linear, rank: int) -> nn.Sequential:
    """Replace a layer by its best approximation of that rank (Eckart-Young).

    Args:
        layer: u×v weights and a bias, float32. rank: t in 1..min(u, v).
    Raises:
        WeightsError: the rank is out of range, or a weight is not finite.
    """
    outputs, inputs = layer.weight.shape
    full = min(outputs, inputs)
    if not 1 <= rank <= full:
        raise WeightsError(
            f"rank {rank} is out of range for a {outputs}×{inputs} layer", f"1..{full}"
        )
    if not layer.weight.isfinite().all():
        raise WeightsError("a weight is NaN or infinite", "these weights are damaged: train again")
    u, s, vt = torch.linalg.svd(layer.weight.float(), full_matrices=False)
    pair = low_rank_layer(inputs, outputs, rank)
    pair.load_state_dict(
        {"0.weight": s[:rank, None] * vt[:rank], "1.weight": u[:, :rank], "1.bias": layer.bias}
    )
    return pair
