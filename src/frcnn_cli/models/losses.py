"""The multitask loss (Fast R-CNN, equations 1 to 3), and the same with a network as the teacher."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from ..structures import HeadOutput, Losses, RoiTargets

# Usual spread of (dx, dy, dw, dh), as in py-faster-rcnn's BBOX_NORMALIZE_STDS: the deltas of a
# finished network are not normalised, and a loss would hardly see them.
DELTA_SPREAD = (0.1, 0.1, 0.2, 0.2)


def fast_rcnn_loss(output: HeadOutput, targets: RoiTargets, count: float | None = None) -> Losses:
    """L_cls = -log p_u, and L_loc = sum of smooth L1 over (x, y, w, h) where u >= 1.

    Both are sums over the RoIs divided by their number R, as in the original: also L_loc, whose
    sum is over the foreground alone. Smooth L1 turns linear at 1. In float32 whatever the input.

    Args:
        count: divides the sums in the place of R, where these RoIs are a part of a batch.
    """
    logits, deltas = output.class_logits.float(), output.box_deltas.float()
    count = max(len(targets.labels), 1) if count is None else count
    cls = F.cross_entropy(logits, targets.labels, reduction="sum") / count
    foreground = torch.nonzero(targets.labels).squeeze(1)
    predicted = deltas[foreground, targets.labels[foreground]]  # [foreground, 4]
    wanted = targets.deltas[foreground].float()
    loc = F.smooth_l1_loss(predicted, wanted, reduction="sum", beta=1.0)
    return Losses(cls, loc / count)


def distillation_loss(output: HeadOutput, teacher: HeadOutput) -> Losses:
    """The multitask loss with the answers of another network as the annotations.

    cls is the divergence of the class probabilities, KL(teacher || output), in nats (Hinton et al.,
    "Distilling the knowledge in a neural network", 2015, at temperature 1). loc is smooth L1 of
    every object class's deltas, in units of DELTA_SPREAD, weighted by the teacher's probability of
    the class. Both are means over the RoIs, and zero where the two agree.
    """
    logs, known = output.class_logits.log_softmax(1), teacher.class_logits.log_softmax(1)
    probabilities = known.exp()
    cls = (probabilities * (known - logs)).sum(dim=1).mean()
    spread = output.box_deltas.new_tensor(DELTA_SPREAD)
    off = F.smooth_l1_loss(
        output.box_deltas / spread, teacher.box_deltas / spread, reduction="none"
    ).sum(dim=2)  # [R, K + 1]
    return Losses(cls, (probabilities[:, 1:] * off[:, 1:]).sum(dim=1).mean())
