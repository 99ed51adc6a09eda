"""Learning rates and optimisers of the recipes."""

from __future__ import annotations

import math

import torch
from torch import nn

from ..config import TrainConfig
from ..models.region_network import RegionNetwork


def learning_rate(config: TrainConfig, iteration: int) -> float:
    """The learning rate of iteration 0, 1, ...: linear warm-up, then steps or half a cosine."""
    warmup = round(config.warmup * config.iterations)
    if iteration < warmup:
        return config.lr * (iteration + 1) / warmup
    if config.lr_schedule == "step":
        passed = sum(iteration >= share * config.iterations for share in config.lr_steps)
        return config.lr * 0.1**passed
    progress = (iteration - warmup) / max(config.iterations - warmup, 1)
    return config.lr * 0.5 * (1 + math.cos(math.pi * progress))


def parameter_groups(network: RegionNetwork, config: TrainConfig) -> list[dict[str, object]]:
    """Trainable parameters by learning-rate factor and decay; `factor` scales the learning rate."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for role in network.parameter_roles():
        factor = config.backbone_lr if role.is_backbone else 1.0
        decay = config.weight_decay
        if role.is_bias:
            factor, decay = factor * config.bias_lr, 0.0
        groups.setdefault((factor, decay), []).append(role.parameter)
    return [
        {"params": parameters, "factor": factor, "weight_decay": decay}
        for (factor, decay), parameters in groups.items()
    ]


def make_optimizer(network: RegionNetwork, config: TrainConfig) -> torch.optim.Optimizer:
    """SGD with momentum, or AdamW."""
    groups = parameter_groups(network, config)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, fused=True)
    return torch.optim.AdamW(groups, lr=config.lr, fused=True)
