"""The head in detection: only RoIs that can become detections are computed to the end.

U: RoIs with different features, V: those of them that some class could keep, K: classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..models.flops import linear_flops
from ..models.region_network import RegionNetwork
from ..runtime.timing import StageHook, Work, untimed
from ..structures import HeadOutput

# RoIs that go through the layers together. RoI features of a few stay in the processor's cache
# between pooling and a layer of low rank. The weights of a whole layer are larger than they are,
# and are packed anew for each product, so there only memory limits the number.
_LOW_RANK_CHUNK, _FULL_RANK_CHUNK = 256, 2048
# The prefilter head must give a RoI this part of the score threshold; see docs/detection.md.
PREFILTER_FACTOR = 0.8


@dataclass(frozen=True)
class Candidates:
    """RoIs that some wanted class could keep."""

    index: Tensor  # [V], which of the U RoIs they are, ascending
    output: HeadOutput  # of these V


def score_rois(
    network: RegionNetwork,
    maps: Tensor,
    rois: Tensor,
    wanted: Tensor,
    threshold: float,
    cascade: bool,
    stage: StageHook = untimed,
) -> Candidates:
    """Score RoIs, and regress the boxes of those that some class could keep.

    Args:
        maps: [B, C, H, W], from `image_features`. rois: [U, 5], (image, box in input pixels).
        wanted: [K + 1], bool, the classes that are looked for.
        threshold: only RoIs with a higher score are kept.
        cascade: let the network's prefilter head choose the RoIs that the full head scores.
    """
    index = torch.arange(len(rois), device=maps.device)
    if cascade:
        least = PREFILTER_FACTOR * threshold
        index = _passing(network, network.prefilter_head, maps, rois, wanted, least, stage)[0]
        rois = rois[index.to(rois.device)]
    passing, h, logits = _passing(network, network.box_head, maps, rois, wanted, threshold, stage)
    with stage("heads", lambda: Work(flops=len(h) * linear_flops(network.bbox_pred))):
        deltas = network.predict_boxes(h).float()
    return Candidates(index[passing], HeadOutput(logits, deltas))


def _passing(
    network: RegionNetwork,
    head: Callable[[Tensor, StageHook], Tensor],
    maps: Tensor,
    rois: Tensor,
    wanted: Tensor,
    threshold: float,
    stage: StageHook,
) -> tuple[Tensor, Tensor, Tensor]:
    """The RoIs with a score above the threshold: which they are, [V]; what the head's last layer
    gives of them, [V, U]; and their logits, [V, K + 1]."""
    prefilters = head == network.prefilter_head
    low_rank = prefilters or network.low_rank_layers()
    size = min(len(rois), _LOW_RANK_CHUNK if low_rank else _FULL_RANK_CHUNK)
    with stage("RoI pool", lambda: Work(bytes=maps.numel() * network.dtype.itemsize)):
        pool = network.region_operator.in_chunks(maps, size, network.dtype)
    row_bytes = network.region_operator.bins * maps.shape[1] * network.dtype.itemsize
    classify = "prefilter" if prefilters else "heads"
    parts = []
    for first in range(0, max(len(rois), 1), size or 1):
        chunk = rois[first : first + size]
        with stage("RoI pool", lambda: Work(bytes=len(chunk) * row_bytes)):  # noqa: B023
            x = pool(chunk)
        h = head(x, stage)
        with stage(classify, lambda: Work(flops=len(h) * linear_flops(network.cls_score))):  # noqa: B023
            logits = network.cls_score(h).float()
            kept = above(network.scores(logits), wanted, threshold)
            parts.append((first + kept, h[kept], logits[kept]))
    index, last, scored = (torch.cat(each) for each in zip(*parts, strict=True))
    return index, last, scored


def above(scores: Tensor, wanted: Tensor, threshold: float) -> Tensor:
    """Rows of scores [R, K + 1] that are above the threshold for a class that is wanted."""
    return ((scores > threshold) & wanted).any(dim=1).nonzero().squeeze(1)
