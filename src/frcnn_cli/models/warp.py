"""The warping of R-CNN: every region becomes an image of its own, of one size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..ops.roi_cells import distinct_rows
from ..ops.warp import warp_regions

MAX_SIDE = 400  # pixels; the time for 2,000 regions grows with its square


@dataclass(frozen=True)
class Warp:
    """How regions are cut out of the image; see `ops.warp.warp_regions`."""

    side: int = 224  # pixels: the input that the backbones' ImageNet weights were trained with
    context: int = 16  # pixels on each side (Girshick et al. 2014, section 2.3)

    @property
    def is_valid(self) -> bool:
        """Whether the square is large enough for the convolutions, and holds part of the region."""
        whole = isinstance(self.side, int) and isinstance(self.context, int)
        return whole and 32 <= self.side <= MAX_SIDE and 0 <= 2 * self.context < self.side

    def __call__(self, images: Tensor, rois: Tensor) -> Tensor:
        """Squares [R, 3, side, side] of RoIs [R, 5] in images [B, 3, H, W]."""
        return warp_regions(images, rois, self.side, self.context)

    def distinct(self, rois: Tensor) -> tuple[Tensor, Tensor]:
        """Find RoIs that are equal; see `RegionOperator.distinct`."""
        return distinct_rows(rois.numpy())


def whole_maps(maps: Tensor, stride: int) -> Tensor:
    """RoIs that cover every cell of maps, one for each.

    Args:
        maps: [R, C, H, W]. stride: input pixels per cell.
    Returns:
        [R, 5]; RoI r is in map r.
    """
    height, width = maps.shape[2:]
    # the last cell that a RoI touches belongs to it
    box = maps.new_tensor([0.0, 0.0, (width - 1) * stride, (height - 1) * stride])
    index = torch.arange(maps.shape[0], device=maps.device, dtype=maps.dtype)
    return torch.cat([index[:, None], box.expand(maps.shape[0], 4)], dim=1)


def stack_maps(maps: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Put maps below each other, for an operator that knows one map only.

    Args:
        maps: [R, C, H, W]. stride: input pixels per cell.
    Returns:
        [1, C, R * H, W], and boxes [R, 4] that cover every cell of one map each.
    """
    count, channels, height, width = maps.shape
    stacked = maps.transpose(0, 1).reshape(1, channels, count * height, width)
    rois = whole_maps(maps, stride)
    top = rois[:, :1] * (height * stride)
    return stacked, rois[:, 1:] + torch.cat([0 * top, top, 0 * top, top], dim=1)
