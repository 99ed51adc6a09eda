"""The heads in detection: only what can become a detection is computed to its end.

U: distinct RoIs, V: those of them that some class could keep, K: classes, P: bins a side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..models.fast_rcnn import FastRCNN
from ..ops.roi_pool import roi_pool_into
from ..structures import HeadOutput

# RoIs that go through the layers together. Pooled features of few stay in the cache between RoI
# pooling and a layer of low rank; a whole layer's weights are larger than they, and are packed anew
# for each product, so there the memory alone sets the limit.
_NARROW, _WIDE = 256, 2048
SCREEN = 0.8  # share of the score threshold that the small head must give a RoI; docs/detection.md


@dataclass(frozen=True)
class Candidates:
    """RoIs that some class wanted could keep."""

    index: Tensor  # [V], which of the U they are, ascending
    output: HeadOutput  # of V


def candidates(
    model: FastRCNN,
    features: Tensor,
    rois: Tensor,
    wanted: Tensor,
    threshold: float,
    cascade: bool,
) -> Candidates:
    """Score RoIs; regress boxes for those alone that some class could keep.

    Args:
        features: [B, C, H, W], scaled. rois: [U, 5], (image, box in pixels of the images).
        wanted: [K + 1], bool, the classes that are looked for.
        threshold: only higher softmax scores are kept.
        cascade: let the model's compressed head choose the RoIs that the full one scores.
    """
    index = torch.arange(len(rois), device=features.device)
    if cascade:
        low = SCREEN * threshold
        index = _passing(model, model.screen_hidden, features, rois, wanted, low)[0]
        rois = rois[index.to(rois.device)]
    passing, hidden, logits = _passing(model, model.hidden, features, rois, wanted, threshold)
    deltas = model.bbox_pred(hidden).float().view(len(hidden), len(wanted), 4)
    return Candidates(index[passing], HeadOutput(logits, deltas))


def _passing(
    model: FastRCNN,
    layers: Callable[[Tensor], Tensor],
    features: Tensor,
    rois: Tensor,
    wanted: Tensor,
    threshold: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The RoIs with a score above the threshold: which they are, what the last of `layers` gives
    of them, and their logits."""
    low_rank = layers == model.screen_hidden or any(
        isinstance(layer, nn.Sequential) for layer in model.fc_layers.values()
    )
    pool = Pool(model, features, min(len(rois), _NARROW if low_rank else _WIDE))
    parts = []
    for first in range(0, max(len(rois), 1), pool.count or 1):
        hidden = layers(pool(rois[first : first + pool.count]))
        logits = model.cls_score(hidden).float()
        kept = above(logits, wanted, threshold)
        parts.append((first + kept, hidden[kept], logits[kept]))
    index, last, scores = (torch.cat(each) for each in zip(*parts, strict=True))
    return index, last, scores


def above(logits: Tensor, wanted: Tensor, threshold: float) -> Tensor:
    """Rows of logits [R, K + 1] with a softmax score above the threshold for a class wanted."""
    return ((logits.softmax(dim=1) > threshold) & wanted).any(dim=1).nonzero().squeeze(1)


class Pool:
    """RoI pooling, chunk after chunk, on the CPU into the same memory."""

    def __init__(self, model: FastRCNN, features: Tensor, count: int) -> None:
        self.count = count
        self._model = model
        self._features = features
        if features.device.type == "cpu":
            dtype = model.cls_score.weight.dtype
            self._features = features.to(dtype).contiguous(memory_format=torch.channels_last)
            shape = (count, model.pooled_size, model.pooled_size, features.shape[1])
            # numpy asks for huge pages, torch does not: thousands of page faults less
            memory = np.empty(shape, np.int16 if dtype.itemsize == 2 else np.float32)
            self._memory = torch.from_numpy(memory).view(dtype)

    def __call__(self, rois: Tensor) -> Tensor:
        """[R, P * P * C], of at most `count` RoIs; overwritten by the next call."""
        if self._features.device.type != "cpu":
            pooled = self._model.pool_scaled(self._features, rois)
            return pooled.to(self._model.cls_score.weight.dtype)
        pooled = self._memory[: len(rois)]
        roi_pool_into(pooled, self._features, rois, 1 / self._model.stride)
        return pooled.flatten(1)
