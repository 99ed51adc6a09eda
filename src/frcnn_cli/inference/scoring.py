"""The heads in detection, which compute the boxes only of RoIs that can become detections.

U: RoIs with different features, V: those with a high enough score for some class, K: classes,
H: outputs of the box head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import FrcnnError
from ..models.flops import linear_flops
from ..models.region_network import RegionNetwork
from ..runtime.timing import StageHook, Work, untimed
from ..structures import HeadOutput

# RoIs that go through the layers together. The features of a small chunk stay in the processor's
# cache between pooling and a low-rank layer. The weights of a full-rank layer are larger than these
# features and are packed anew for each product, so chunks are as large as memory allows.
_LOW_RANK_CHUNK, _FULL_RANK_CHUNK = 256, 2048
_GPU_CHUNK = 4096  # whose features take 200 MB with VGG16 in bfloat16, and twice that while pooled
# The prefilter keeps RoIs with a score above this fraction of the threshold; see docs/detection.md.
PREFILTER_FACTOR = 0.8


@dataclass(frozen=True)
class Candidates:
    """RoIs that can become detections."""

    index: Tensor  # [V], their indices among the U RoIs, ascending
    output: HeadOutput  # of the V RoIs

    def pack(self) -> Tensor:
        """Everything in one float32 tensor [V, 1 + 5 (K + 1)], for a single copy from a GPU."""
        deltas = self.output.box_deltas.flatten(1)
        return torch.cat([self.index[:, None].float(), self.output.class_logits, deltas], dim=1)

    @staticmethod
    def unpack(packed: Tensor) -> Candidates:
        """The candidates of `pack`; their indices are exact below 2**24.

        Raises:
            FrcnnError: one is not finite.
        """
        classes = packed.shape[1] // 5  # with the background
        index, logits, deltas = torch.split(packed, [1, classes, 4 * classes], dim=1)
        _check_finite(packed)
        output = HeadOutput(logits, deltas.view(-1, classes, 4))
        return Candidates(index[:, 0].long(), output)


def score_rois(
    network: RegionNetwork,
    maps: Tensor,
    rois: Tensor,
    wanted: Tensor,
    threshold: float,
    cascade: bool,
    stage: StageHook = untimed,
) -> Candidates:
    """Score RoIs, and regress the boxes of those with a score above the threshold for some class.

    On a GPU the boxes of all RoIs are regressed: it has computed them before the program could know
    which ones to choose.

    Args:
        maps: [B, C, H, W], from `image_features`.
        rois: [U, 5], (index of the image, x1, y1, x2, y2) in input pixels.
        wanted: [K + 1], bool, the classes that are to be detected.
        threshold: only RoIs with a higher score are kept, on a GPU by the prefilter alone.
        cascade: let the network's prefilter head choose the RoIs that the full head scores.
    Raises:
        FrcnnError: an output of the network is not finite.
    """
    index = torch.arange(len(rois), device=maps.device)
    if cascade:
        least = PREFILTER_FACTOR * threshold
        index = _passing(network, network.prefilter_head, maps, rois, wanted, least, stage)[0]
        rois = rois[index.to(rois.device)]
    least = threshold if maps.device.type == "cpu" else -1.0
    passing, h, logits = _passing(network, network.box_head, maps, rois, wanted, least, stage)
    with stage("heads", lambda: Work(flops=len(h) * linear_flops(network.bbox_pred))):
        deltas = network.predict_boxes(h).float()
        if deltas.device.type == "cpu":
            _check_finite(deltas)
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
    """Find the RoIs with a score above the threshold; below 0 it is not compared with any score.

    Returns:
        Their indices [V], the outputs of the box head for them [V, H], and their logits [V, K + 1].
    """
    prefilters = head == network.prefilter_head
    low_rank = prefilters or network.low_rank_layers()
    size = _LOW_RANK_CHUNK if low_rank else _FULL_RANK_CHUNK
    size = min(len(rois), size if maps.device.type == "cpu" else _GPU_CHUNK)
    region_features = network.features_in_chunks(maps, size, stage)
    classify = "prefilter" if prefilters else "heads"
    parts = []
    for first in range(0, max(len(rois), 1), size or 1):
        chunk = rois[first : first + size]
        h = head(region_features(chunk), stage)
        with stage(classify, lambda: Work(flops=len(h) * linear_flops(network.cls_score))):  # noqa: B023
            logits = network.cls_score(h).float()
            if logits.device.type == "cpu":  # for a GPU, the program would wait: see `unpack`
                _check_finite(logits)
            kept = torch.arange(len(logits), device=maps.device)
            if threshold >= 0:
                kept = above(network.scores(logits), wanted, threshold)
                h, logits = h[kept], logits[kept]
            parts.append((first + kept, h, logits))
    index, last, scored = (torch.cat(each) for each in zip(*parts, strict=True))
    return index, last, scored


def _check_finite(outputs: Tensor) -> None:
    """Check outputs on the CPU; those that are not numbers would be dropped as too low.

    Raises:
        FrcnnError: one is not finite.
    """
    if not outputs.sum().isfinite():
        raise FrcnnError(
            "the network's outputs are not finite",
            "try --precision fp32; if that does not help, the weights are damaged",
        )


def above(scores: Tensor, wanted: Tensor, threshold: float) -> Tensor:
    """The indices of the rows of scores [R, K + 1] with one above the threshold for a wanted class.

    Args:
        wanted: [K + 1], bool.
    """
    return ((scores > threshold) & wanted).any(dim=1).nonzero().squeeze(1)
