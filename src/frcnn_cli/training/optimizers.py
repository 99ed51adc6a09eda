"""Learning rates and optimisers of the recipes."""

from __future__ import annotations

import math

import torch
from torch import nn

from ..config import TrainConfig
from ..models.region_network import RegionNetwork


def learning_rate(config: TrainConfig, iteration: int) -> float:
    """The learning rate of an iteration, counted from 0.

    It rises linearly during the warm-up, then falls in steps or along half a cosine.
    """
    warmup = round(config.warmup * config.iterations)
    if iteration < warmup:
        return config.lr * (iteration + 1) / warmup
    if config.lr_schedule == "step":
        steps = sum(iteration >= fraction * config.iterations for fraction in config.lr_steps)
        return config.lr * 0.1**steps
    progress = (iteration - warmup) / max(config.iterations - warmup, 1)
    return config.lr * 0.5 * (1 + math.cos(math.pi * progress))


def parameter_groups(network: RegionNetwork, config: TrainConfig) -> list[dict[str, object]]:
    """The parameters that are trained, grouped for an optimiser by learning rate and decay.

    Each group has `params`, `weight_decay` and `factor`, by which its learning rate is multiplied.
    Biases do not decay (train.prototxt of the reference code).
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        factor = config.backbone_lr if name.startswith("features.") else 1.0
        decay = config.weight_decay
        if name.endswith(".bias"):
            factor, decay = factor * config.bias_lr, 0.0
        groups.setdefault((factor, decay), []).append(parameter)
    return [
        {"params": parameters, "factor": factor, "weight_decay": decay}
        for (factor, decay), parameters in groups.items()
    ]


def make_optimizer(network: RegionNetwork, config: TrainConfig) -> torch.optim.Optimizer:
    """SGD with momentum, or AdamW, over the groups of `parameter_groups`."""
    groups = parameter_groups(network, config)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, fused=True)
    return torch.optim.AdamW(groups, lr=config.lr, fused=True)
