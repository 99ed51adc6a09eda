"""The multitask loss (Fast R-CNN, equations 1 to 3), and a distillation loss of the same form."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from ..structures import HeadOutput, Losses, RoiTargets

# Usual standard deviations of (dx, dy, dw, dh): py-faster-rcnn's BBOX_NORMALIZE_STDS. The deltas of
# a trained network are not normalised, and without this scaling are too small to matter in a loss.
DELTA_STD = (0.1, 0.1, 0.2, 0.2)


# Name -> loss of predicted and expected deltas, for a reduction of torch ("sum", "none"). Smooth L1
# becomes linear at 1; below that both are the same.
LOC_LOSSES: dict[str, Callable[[Tensor, Tensor, str], Tensor]] = {
    "smooth_l1": lambda predicted, expected, reduction: F.smooth_l1_loss(
        predicted, expected, reduction=reduction, beta=1.0
    ),
    "l2": lambda predicted, expected, reduction: (
        0.5 * F.mse_loss(predicted, expected, reduction=reduction)
    ),
}


def fast_rcnn_loss(
    output: HeadOutput,
    targets: RoiTargets,
    count: float | None = None,
    loc_loss: str = "smooth_l1",
    class_weights: Tensor | None = None,
) -> Losses:
    """The multitask loss of RoIs with the labels u.

    L_cls is -log p_u; L_loc is smooth L1 of the deltas of class u, summed over (x, y, w, h), where
    u >= 1. Both are summed over the RoIs and divided by their number R, as in the original code,
    although only foreground RoIs contribute to L_loc. Computed in float32.

    Args:
        output: of R RoIs. targets: of the same RoIs.
        count: divides the sums instead of R, where these RoIs are only a part of the batch.
        loc_loss: key of LOC_LOSSES.
        class_weights: [K + 1], by which L_cls of a RoI is multiplied, by its label; None: all 1.
    """
    count = max(len(targets.labels), 1) if count is None else count
    cls, loc = _losses(output, targets, loc_loss, class_weights, "sum")
    return Losses(cls / count, loc / count)


def roi_losses(
    output: HeadOutput,
    targets: RoiTargets,
    loc_weight: float,
    loc_loss: str = "smooth_l1",
    class_weights: Tensor | None = None,
) -> Tensor:
    """The multitask loss of each RoI by itself, [R]; see `fast_rcnn_loss`."""
    cls, loc = _losses(output, targets, loc_loss, class_weights, "none")
    return cls.index_add(0, targets.foreground, loc_weight * loc.sum(dim=1))


def _losses(
    output: HeadOutput,
    targets: RoiTargets,
    loc_loss: str,
    class_weights: Tensor | None,
    reduction: str,
) -> tuple[Tensor, Tensor]:
    """L_cls of all R RoIs, and L_loc of the foreground ones; summed, or [R] and [foreground, 4]."""
    logits, deltas = output.class_logits.float(), output.box_deltas.float()
    cls = F.cross_entropy(logits, targets.labels, class_weights, reduction=reduction)
    foreground = targets.foreground
    rows = foreground * deltas.shape[1] + targets.labels[foreground]  # of deltas as [R (K+1), 4]
    predicted = deltas.flatten(0, 1).index_select(0, rows)  # [foreground, 4]
    expected = targets.deltas[foreground].float()
    return cls, LOC_LOSSES[loc_loss](predicted, expected, reduction)


def distillation_loss(output: HeadOutput, teacher: HeadOutput) -> Losses:
    """The distance of the outputs of a network from those of its teacher for the same R RoIs.

    cls is the divergence of the class probabilities, KL(teacher || output), in nats (Hinton et al.,
    "Distilling the knowledge in a neural network", 2015, at temperature 1). loc is smooth L1 of
    the deltas of every object class, in units of DELTA_STD, weighted by the teacher's probability
    of the class. Both are means over the RoIs.
    """
    log_p, teacher_log_p = output.class_logits.log_softmax(1), teacher.class_logits.log_softmax(1)
    teacher_p = teacher_log_p.exp()
    cls = (teacher_p * (teacher_log_p - log_p)).sum(dim=1).mean()
    std = output.box_deltas.new_tensor(DELTA_STD)
    distance = F.smooth_l1_loss(
        output.box_deltas / std, teacher.box_deltas / std, reduction="none"
    ).sum(dim=2)  # [R, K + 1]
    return Losses(cls, (teacher_p[:, 1:] * distance[:, 1:]).sum(dim=1).mean())
