"""RoI max pooling without a gradient on a GPU, as a Triton kernel.

It pools maps of any floating type with their channels last, so that neighbouring threads read
neighbouring numbers, and writes the result in the order and type that the fully connected layers
take. torchvision's kernel works on float32 maps with channels first, so that its result
must be reordered. For the rounding see `ops.roi_pool`.
"""

from __future__ import annotations

import importlib.util

import torch
from torch import Tensor

if importlib.util.find_spec("triton") is not None:
    import triton
    import triton.language as tl

    @triton.jit
    def _to_cells(pixels, scale):
        """Scale a position, and round it half away from zero."""
        scaled = pixels * scale
        size = tl.abs(scaled)
        whole = tl.floor(size)
        whole += tl.where(size - whole >= 0.5, 1.0, 0.0)
        return tl.where(scaled < 0, -whole, whole)

    @triton.jit
    def _limits(first, last, bin, bins, cells):
        """The first cell of a bin along an axis, and the cell after the last."""
        step = tl.div_rn(tl.maximum(last - first + 1, 1.0), bins * 1.0)
        begin = tl.floor(bin * step) + first
        end = tl.ceil((bin + 1) * step) + first
        begin = tl.minimum(tl.maximum(begin, 0.0), cells * 1.0)
        return begin.to(tl.int32), tl.minimum(tl.maximum(end, 0.0), cells * 1.0).to(tl.int32)

    @triton.jit
    def _pool_bin(
        maps, rois, out, height, width, channels, side, scale, block: tl.constexpr
    ):  # one program for each RoI and bin, over all channels
        roi, bin = tl.program_id(0), tl.program_id(1)
        corners = rois + 5 * roi
        image = tl.load(corners).to(tl.int32)
        x1, y1 = _to_cells(tl.load(corners + 1), scale), _to_cells(tl.load(corners + 2), scale)
        x2, y2 = _to_cells(tl.load(corners + 3), scale), _to_cells(tl.load(corners + 4), scale)
        top, bottom = _limits(y1, y2, bin // side, side, height)
        left, right = _limits(x1, x2, bin % side, side, width)
        channel = tl.arange(0, block)
        inside = channel < channels
        largest = tl.full((block,), float("-inf"), tl.float32)
        for y in range(top, bottom):
            for x in range(left, right):
                cell = (image.to(tl.int64) * height + y) * width + x
                values = tl.load(maps + cell * channels + channel, mask=inside, other=0.0)
                largest = tl.maximum(largest, values.to(tl.float32))
        empty = (bottom <= top) | (right <= left)
        largest = tl.where(empty, 0.0, largest)
        place = (roi.to(tl.int64) * side * side + bin) * channels + channel
        tl.store(out + place, largest.to(out.dtype.element_ty), mask=inside)


def is_available(device: torch.device) -> bool:
    """Whether Triton can run on this GPU."""
    installed = importlib.util.find_spec("triton") is not None
    return installed and torch.cuda.get_device_capability(device) >= (7, 0)


def roi_pool_bins(maps: Tensor, rois: Tensor, side: int, spatial_scale: float) -> Tensor:
    """Max-pool RoIs, without a gradient.

    Args:
        maps: [B, H, W, C], contiguous, of any floating type.
        rois: [R, 5] float32, contiguous; see `ops.roi_pool.roi_pool`.
        side: bins per side. spatial_scale: feature cells per input pixel.
    Returns:
        [R, side * side, C], of the type of `maps`.
    """
    _, height, width, channels = maps.shape
    out = maps.new_empty((len(rois), side**2, channels))
    if len(rois):
        block = triton.next_power_of_2(channels)
        sizes = (height, width, channels, side, spatial_scale)
        _pool_bin[len(rois), side**2](maps, rois, out, *sizes, block=block)
    return out
