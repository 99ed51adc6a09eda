"""Online hard example mining (OHEM, Shrivastava et al. 2016): training on RoIs of large loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config import TrainConfig
from ..models.losses import roi_losses
from ..models.region_network import RegionNetwork
from ..ops.boxes import Boxes
from ..ops.nms import nms
from ..runtime.device import Download, upload
from ..structures import Batch, RoiTargets

_SAME_OBJECT = 0.7  # IoU above which two RoIs are the same example, as in the paper


class HardExampleMiner:
    """Chooses the RoIs of a batch that are trained on; the `choose` of a RegionNetwork.

    Args:
        batch: with all RoIs that may be chosen.
        keep: for each of its images, the number of RoIs that are chosen.
        class_weights: see `fast_rcnn_loss`.
    Attributes:
        targets: of the chosen RoIs, on the CPU.
    """

    def __init__(
        self,
        network: RegionNetwork,
        batch: Batch,
        keep: Sequence[int],
        config: TrainConfig,
        class_weights: Tensor | None = None,
    ) -> None:
        assert batch.targets is not None
        self.targets = batch.targets
        self._network, self._batch, self._keep, self._config = network, batch, keep, config
        self._class_weights = class_weights

    @torch.no_grad()
    def __call__(self, maps: Tensor, rois: Tensor) -> Tensor:
        """The indices of the chosen RoIs, from the maps [B, C, H, W] and all RoIs [R, 5]."""
        dropout, config = self._network.dropout.eval(), self._config
        device = maps.device
        # without the cache, which would keep weights without gradients for the pass that follows
        with torch.autocast(
            device.type,
            torch.get_autocast_dtype(device.type),
            torch.is_autocast_enabled(device.type),
            cache_enabled=False,
        ):
            output = self._network.score_regions(maps, rois)
        dropout.train()
        losses = roi_losses(
            output,
            self.targets.to(device),
            config.trained_loc_weight,
            config.loc_loss,
            self._class_weights,
        )
        boxes = self._batch.rois[:, 1:].numpy()
        chosen = _hardest_of_images(
            boxes, Download(losses).wait().numpy(), self._batch.roi_counts, self._keep
        )
        index = torch.from_numpy(chosen)
        self.targets = RoiTargets.of(self.targets.labels[index], self.targets.deltas[index])
        return upload(index, device)


def _hardest_of_images(
    boxes: Boxes, losses: NDArray[np.float32], counts: Sequence[int], keep: Sequence[int]
) -> NDArray[np.intp]:
    """`hardest` of each image, whose RoIs follow each other."""
    ends = np.cumsum(counts)
    return np.concatenate(
        [
            first + hardest(boxes[first:end], losses[first:end], number)
            for first, end, number in zip(ends - counts, ends, keep, strict=True)
        ]
    )


def hardest(boxes: Boxes, losses: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Choose the RoIs of the largest loss in one image.

    Of RoIs that overlap each other by more than 0.7 (IoU) only the one of the largest loss is
    chosen, unless there are too few others.

    Args:
        boxes: [R, 4]. losses: [R]. count: number of RoIs to choose, at most R.
    Returns:
        Their indices, [count], ascending.
    """
    kept = nms(boxes, losses, np.zeros(len(boxes), np.int64), _SAME_OBJECT)
    order = np.argsort(-losses, kind="stable")
    others = order[~np.isin(order, kept)]
    return np.sort(np.concatenate([kept, others])[:count])
