"""Region operators: they compute a feature vector of fixed length for every RoI.

The one of Fast R-CNN is RoI max pooling, that of SPPnet spatial pyramid pooling.

B: images, R: RoIs, C: channels, D: length of the vector of a RoI, P: bins per side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..ops.block_roi_pool import BlockMaxima
from ..ops.roi_cells import distinct_cells
from ..ops.roi_pool import roi_pool
from ..ops.window_roi_pool import levels_for, window_roi_pool
from .backbones import BackboneSpec


class RegionOperator(Protocol):
    """The interface of region operators, for training, detection, and weights import and export."""

    @property
    def bins(self) -> int:
        """Number of bins of a RoI, so that D = bins * C."""

    def __call__(self, maps: Tensor, rois: Tensor) -> Tensor:
        """Features of every RoI, differentiable in `maps`.

        Args:
            maps: [B, C, H, W]. rois: [R, 5], (image, x1, y1, x2, y2) in input pixels.
        Returns:
            [R, D].
        """

    def distinct(self, rois: Tensor) -> tuple[Tensor, Tensor]:
        """Find RoIs with equal features, which then need to be computed only once.

        Args:
            rois: [R, 5], on the CPU.
        Returns:
            chosen: [U], indices of RoIs with different features.
            inverse: [R]; RoI r has the features of RoI chosen[inverse[r]].
        """

    def in_chunks(self, maps: Tensor, size: int, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """The same operator for detection, which processes many RoIs in chunks.

        Args:
            maps: [B, C, H, W], the same for all chunks. size: largest number of RoIs in a chunk.
            dtype: of the result.
        Returns:
            A function from RoIs [r, 5], r <= size, to [r, D], which the next call may overwrite.
        """

    def for_export(self, max_side: int) -> Callable[[Tensor, Tensor], Tensor]:
        """The same operator for one image, from operations that ONNX has.

        Args:
            max_side: the longest side of an image, in pixels.
        Returns:
            A function from maps [1, C, H, W] and boxes [R, 4] to [R, D].
        """

    def from_channels_first(self, weight: Tensor) -> Tensor:
        """Arrange the inputs of a fully connected layer of torchvision or Caffe for this operator.

        Args:
            weight: [U, C * P * P], for the P × P bins of the backbone's `pooled_size`, one channel
                after the other.
        Returns:
            [U, D], for RoI vectors in the order of this operator.
        """


@dataclass(frozen=True)
class RoIMaxPool:
    """RoI max pooling (Fast R-CNN, section 2.1).

    The vector of a RoI holds bin after bin, each with all its channels: (P, P, C), which is the
    order in which the CPU kernel writes them.
    """

    side: int  # P
    stride: int  # input pixels per feature cell

    @property
    def bins(self) -> int:
        """P * P."""
        return self.side**2

    def __call__(self, maps: Tensor, rois: Tensor) -> Tensor:
        """See `RegionOperator`."""
        pooled = roi_pool(maps, rois, (self.side, self.side), 1 / self.stride)  # [R, C, P, P]
        return pooled.permute(0, 2, 3, 1).flatten(1)

    def distinct(self, rois: Tensor) -> tuple[Tensor, Tensor]:
        """RoIs that fall on the same feature cells have equal features."""
        return distinct_cells(rois, 1 / self.stride)

    def in_chunks(self, maps: Tensor, size: int, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """See `RegionOperator`; on the CPU, all chunks use the same memory, which stays cached."""
        if maps.device.type == "cuda":
            from ..ops import roi_pool_gpu  # it loads Triton: 70 MB that a CPU does not need

            if roi_pool_gpu.is_available(maps.device):
                cells = maps.permute(0, 2, 3, 1).to(dtype, memory_format=torch.contiguous_format)
                arguments = (self.side, 1 / self.stride)
                return lambda rois: roi_pool_gpu.roi_pool_bins(cells, rois, *arguments).flatten(1)
        if maps.device.type != "cpu":
            return lambda rois: self(maps, rois).to(dtype)
        prepared = BlockMaxima(maps.to(dtype), size)
        shape = (size, self.side, self.side, maps.shape[1])
        # numpy asks the system for huge pages and torch does not: thousands fewer page faults
        memory = np.empty(shape, np.int16 if dtype.itemsize == 2 else np.float32)
        buffer = torch.from_numpy(memory).view(dtype)

        def pool(rois: Tensor) -> Tensor:
            pooled = buffer[: len(rois)]
            prepared.pool_into(pooled, rois, 1 / self.stride)
            return pooled.flatten(1)

        return pool

    def for_export(self, max_side: int) -> Callable[[Tensor, Tensor], Tensor]:
        """See `ops.window_roi_pool`."""
        levels = levels_for(max_side, self.side, self.stride)

        def pool(maps: Tensor, boxes: Tensor) -> Tensor:
            return window_roi_pool(maps, boxes, self.side, 1 / self.stride, levels).flatten(1)

        return pool

    def from_channels_first(self, weight: Tensor) -> Tensor:
        """From (C, P, P) to (P, P, C)."""
        by_channel = weight.view(len(weight), -1, self.side, self.side)
        return by_channel.permute(0, 2, 3, 1).reshape(weight.shape)


# Bins per side of SPPnet's levels (He et al. 2014, section 4.1): 50 bins.
SPP_SIDES = (6, 3, 2, 1)


@dataclass(frozen=True)
class PyramidMaxPool:
    """Spatial pyramid pooling: max pooling on several grids, the finest first (He et al. 2014).

    The vector of a RoI holds level after level, each as `RoIMaxPool` gives it. All levels use that
    operator's rounding of RoIs to feature cells.
    """

    levels: tuple[RoIMaxPool, ...]
    pooled_size: int  # P of the layers that `from_channels_first` takes

    @property
    def bins(self) -> int:
        """The sum of P * P over the levels."""
        return sum(level.bins for level in self.levels)

    def __call__(self, maps: Tensor, rois: Tensor) -> Tensor:
        """See `RegionOperator`."""
        return torch.cat([level(maps, rois) for level in self.levels], dim=1)

    def distinct(self, rois: Tensor) -> tuple[Tensor, Tensor]:
        """RoIs that fall on the same feature cells have equal features, at every level."""
        return self.levels[0].distinct(rois)

    def in_chunks(self, maps: Tensor, size: int, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """See `RegionOperator`."""
        pools = [level.in_chunks(maps, size, dtype) for level in self.levels]
        return lambda rois: torch.cat([pool(rois) for pool in pools], dim=1)

    def for_export(self, max_side: int) -> Callable[[Tensor, Tensor], Tensor]:
        """See `RegionOperator`."""
        pools = [level.for_export(max_side) for level in self.levels]
        return lambda maps, boxes: torch.cat([pool(maps, boxes) for pool in pools], dim=1)

    def from_channels_first(self, weight: Tensor) -> Tensor:
        """The weights for the finest level, and zeros for the others.

        So the layer begins as one that sees the finest level alone. Where that has another grid
        than the layer was trained with, the weights are interpolated, and their sum is kept.
        """
        side, outputs = self.levels[0].side, len(weight)
        grids = weight.view(outputs, -1, self.pooled_size, self.pooled_size)
        if side != self.pooled_size:
            factor = (self.pooled_size / side) ** 2
            grids = F.interpolate(grids, (side, side), mode="bilinear") * factor
        finest = self.levels[0].from_channels_first(grids.flatten(1))
        return F.pad(finest, (0, grids.shape[1] * self.bins - finest.shape[1]))


def spatial_pyramid(backbone: BackboneSpec, sides: Sequence[int] = SPP_SIDES) -> PyramidMaxPool:
    """Spatial pyramid pooling of the maps of a backbone.

    Args:
        sides: bins per side of every level, the finest first.
    """
    levels = tuple(RoIMaxPool(side, backbone.stride) for side in sides)
    return PyramidMaxPool(levels, backbone.pooled_size)


REGION_OPERATORS: dict[str, Callable[[BackboneSpec], RegionOperator]] = {
    "roi_max_pool": lambda backbone: RoIMaxPool(backbone.pooled_size, backbone.stride),
    "spatial_pyramid": spatial_pyramid,
}
