"""The multitask loss (Fast R-CNN, equations 1 to 3)."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from ..structures import HeadOutput, Losses, RoiTargets


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
