"""Training a compressed head to answer as the whole one does.

A truncated layer is the nearest to the whole one in its weights or in its outputs. What counts are
the scores and boxes, behind two ReLUs; most RoIs are background and say little about them. So the
factors of all layers are trained together, for a minute, on what the whole network answers for
RoIs of the calibration images. That needs no annotations.

A head here is a `RegionNetwork` whose `heads` begins with the outputs of the first layer.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..models.losses import distillation_loss
from ..models.region_network import RegionNetwork
from ..structures import HeadOutput

STEPS = 300
BATCH = 512  # RoIs
LR = 1e-4  # of Adam, at its highest; ten times as much diverges
_AT_ONCE = 4096  # RoIs, when nothing is trained


@torch.no_grad()
def head_outputs(head: RegionNetwork, rois: Tensor) -> HeadOutput:
    """What a head says of RoIs, [N, u]; on the CPU."""
    device = head.device
    found = [head.heads(part.to(device).float()) for part in torch.split(rois, _AT_ONCE)]
    return HeadOutput(
        torch.cat([each.class_logits.cpu() for each in found]),
        torch.cat([each.box_deltas.cpu() for each in found]),
    )


def divergence(head: RegionNetwork, rois: Tensor, wanted: HeadOutput) -> float:
    """The distillation loss of a head over RoIs [N, u], cls and loc together."""
    return distillation_loss(head_outputs(head, rois), wanted).total().item()


def distil(
    head: RegionNetwork, rois: Tensor, wanted: HeadOutput, on_step: Callable[[], None]
) -> None:
    """Train the factors of a head; layers that are whole stay as they are.

    Args:
        rois: [N, u], outputs of the first layer. wanted: the whole head's answers to them.
        on_step: called STEPS times.
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
            wanted.class_logits[chosen].to(device), wanted.box_deltas[chosen].to(device)
        )
        loss = distillation_loss(output, target).total()
        gradients = torch.autograd.grad(loss, factors)
        for factor, gradient in zip(factors, gradients, strict=True):
            factor.grad = gradient
        optimizer.step()
        schedule.step()
        on_step()
    optimizer.zero_grad()
