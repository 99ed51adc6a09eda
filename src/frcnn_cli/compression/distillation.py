"""Distillation: training a compressed head to give the outputs of the full one.

Truncation gives the layer that is nearest to the full one in its weights or in its outputs. But the
scores and boxes count, which come after two ReLUs, and most RoIs are background and matter little
to them. So the factors of all layers are trained together, for a minute, to give the outputs of the
full head for RoIs of the calibration images. That needs no annotations.

The heads here are `RegionNetwork`s whose `heads` takes the outputs of the first layer;
`Compressor.head` builds them. N: RoIs, u: outputs of the first layer.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..models.losses import distillation_loss
from ..models.region_network import RegionNetwork
from ..structures import HeadOutput

STEPS = 300
BATCH = 512  # RoIs per step
LR = 1e-4  # peak learning rate of Adam; ten times as much diverges
_CHUNK = 4096  # RoIs that are evaluated together


@torch.no_grad()
def evaluate_head(head: RegionNetwork, rois: Tensor) -> HeadOutput:
    """The outputs of a head for RoIs [N, u]; the tensors are on the CPU."""
    device = head.device
    outputs = [head.heads(part.to(device).float()) for part in torch.split(rois, _CHUNK)]
    return HeadOutput(
        torch.cat([each.class_logits.cpu() for each in outputs]),
        torch.cat([each.box_deltas.cpu() for each in outputs]),
    )


def divergence(head: RegionNetwork, rois: Tensor, teacher: HeadOutput) -> float:
    """The distillation loss of a head over RoIs [N, u], classes and boxes together.

    Args:
        teacher: outputs of the full head for the same RoIs.
    """
    return distillation_loss(evaluate_head(head, rois), teacher).total().item()


def distil(
    head: RegionNetwork, rois: Tensor, teacher: HeadOutput, on_step: Callable[[], None]
) -> None:
    """Train the low-rank layers of a head; its other layers stay as they are.

    Args:
        rois: [N, u]. teacher: outputs of the full head for these RoIs.
        on_step: called after each of the STEPS steps.
    """
    device = head.device
    pairs = head.low_rank_layers().values()
    factors = [parameter for pair in pairs for parameter in pair.parameters()]
    optimizer = torch.optim.Adam(factors, lr=LR)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LR, total_steps=STEPS, pct_start=0.1, cycle_momentum=False
    )
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        chosen = torch.randint(len(rois), (BATCH,), generator=generator)
        output = head.heads(rois[chosen].to(device).float())
        target = HeadOutput(
            teacher.class_logits[chosen].to(device), teacher.box_deltas[chosen].to(device)
        )
        loss = distillation_loss(output, target).total()
        gradients = torch.autograd.grad(loss, factors)
        for factor, gradient in zip(factors, gradients, strict=True):
            factor.grad = gradient
        optimizer.step()
        schedule.step()
        on_step()
    optimizer.zero_grad()
