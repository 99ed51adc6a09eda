"""RoI max pooling without a gradient, on the CPU: from the maxima over blocks of cells.

B images, C channels, H×W feature cells, R RoIs, P×Q bins; see `ops.roi_cells` for the bins. The
bins of a large RoI have many cells, and thousands of RoIs share them. So the maxima over all blocks
of 2^i × 2^j cells are computed once (a sparse table), and the maximum over a bin is that of a few
blocks inside, as large as possible, which together cover it and may overlap. The values are those
of `ops.roi_pool`, to the last bit.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .kernels import njit
from .roi_cells import bin_limits
from .threads import parallel_for

# Blocks have sides of 1, 2 and 4 cells. Few bins are longer than two of the longest ones, and more
# sizes would not stay in the processor's cache.
_LEVELS = 3
_PAYS_FROM = 64  # RoIs an image; the blocks take as long as pooling so many from single cells


class BlockMaxima:
    """Feature maps, prepared for pooling RoIs from them.

    Args:
        features: [B, C, H, W] float32, float64 or bfloat16, on the CPU.
        rois: about how many RoIs will be pooled.
    """

    def __init__(self, features: Tensor, rois: int) -> None:
        cells = features.detach().permute(0, 2, 3, 1)
        self._dtype = features.dtype
        self._signed = False
        if self._dtype == torch.bfloat16:  # numba does not know it, but can compare its bits
            cells = cells.view(torch.int16)
            self._signed = bool((cells < 0).any())  # never after a ReLU
            cells = _ordered_bits(cells) if self._signed else cells
        array = np.ascontiguousarray(cells.numpy())
        if rois < _PAYS_FROM * len(array):
            self._blocks = array[None, None]
            return
        self._blocks = np.empty((_LEVELS, _LEVELS, *array.shape), array.dtype)
        self._blocks[0, 0] = array
        rows = array.shape[0] * array.shape[1]
        for i in range(_LEVELS):
            if i:
                shorter = self._blocks[i - 1, 0]
                parallel_for(_join, (shorter, 1 << (i - 1), 0, self._blocks[i, 0]), rows)
            for j in range(1, _LEVELS):
                narrower = self._blocks[i, j - 1]
                parallel_for(_join, (narrower, 0, 1 << (j - 1), self._blocks[i, j]), rows)

    def pool_into(self, out: Tensor, rois: Tensor, spatial_scale: float) -> None:
        """Max-pool RoIs into existing memory.

        Args:
            out: [R, P, Q, C], contiguous, of the dtype of the maps; overwritten.
            rois: [R, 5], (index of the image, x1, y1, x2, y2) in input pixels.
            spatial_scale: feature cells per input pixel.
        """
        boxes = rois.numpy()
        height, width = self._blocks.shape[3:5]
        ys = bin_limits(boxes[:, 2], boxes[:, 4], spatial_scale, out.shape[1], height)
        xs = bin_limits(boxes[:, 1], boxes[:, 3], spatial_scale, out.shape[2], width)
        target = (out.view(torch.int16) if self._dtype == torch.bfloat16 else out).numpy()
        images = boxes[:, 0].astype(np.int64)
        kernel = _pool_signed if self._signed else _pool
        parallel_for(kernel, (self._blocks, images, ys, xs, target), len(boxes))


@njit(cache=True, nogil=True)
def _join(blocks, down, right, out, first, last):
    """The maximum of each block and the one `down` cells below and `right` cells beside it.

    Blocks that reach over the border are not used: they become those of the border.

    Args:
        blocks, out: [B, H, W, C]. first, last: range of rows, of all images one after the other.
    """
    height, width, channels = blocks.shape[1:]
    for row in range(first, last):
        image, y = row // height, row % height
        for x in range(width):
            block = blocks[image, y, x]
            other = blocks[image, min(y + down, height - 1), min(x + right, width - 1)]
            joined = out[image, y, x]
            for c in range(channels):
                joined[c] = block[c] if block[c] > other[c] else other[c]


@njit(cache=True, nogil=True)
def _pool(blocks, images, ys, xs, out, first, last):
    """Pool RoIs first..last-1.

    Args:
        blocks: [L, L, B, H, W, C]; [i, j, b, y, x] is the maximum over 2^i × 2^j cells of image b
            from cell (y, x) on. images: [R]. ys: [R, P, 2]. xs: [R, Q, 2]. out: [R, P, Q, C].
    """
    levels = blocks.shape[0]
    for r in range(first, last):
        for p in range(out.shape[1]):
            top, bottom = ys[r, p]
            for q in range(out.shape[2]):
                left, right = xs[r, q]
                if bottom <= top or right <= left:
                    out[r, p, q] = 0
                    continue
                i, j = 0, 0
                while i + 1 < levels and 2 << i <= bottom - top:
                    i += 1
                while j + 1 < levels and 2 << j <= right - left:
                    j += 1
                of_image = blocks[i, j, images[r]]
                _pool_bin(of_image, top, bottom, left, right, 1 << i, 1 << j, out[r, p, q])


@njit(cache=True, nogil=True)
def _pool_signed(blocks, images, ys, xs, out, first, last):
    """`_pool` with blocks of `_ordered_bits`; the result has the bits of the numbers."""
    for r in range(first, last):
        _pool(blocks, images, ys, xs, out, r, r + 1)
        bits = out[r].reshape(-1)
        for k in range(len(bits)):
            bits[k] ^= (bits[k] >> 15) & 0x7FFF


@njit(inline="always")
def _copy(source, target):
    """target[:] = source, in half the time that numba's own takes."""
    for k in range(len(target)):
        target[k] = source[k]


@njit(inline="always")
def _pool_bin(blocks, top, bottom, left, right, high, wide, out):
    """The maximum over a bin.

    Args:
        blocks: [H, W, C], the maxima over high × wide cells, which are no longer than the bin.
        top, bottom, left, right: the bin's first cells, and those after its last. out: [C].
    """
    y, x = bottom - high, right - wide  # of the last block
    if y <= top + high and x <= left + wide:  # two by two blocks cover the bin
        a, b, c, d = blocks[top, left], blocks[top, x], blocks[y, left], blocks[y, x]
        if y == top and x == left:
            _copy(a, out)
        elif y == top or x == left:
            for k in range(len(out)):
                out[k] = a[k] if a[k] > d[k] else d[k]
        else:
            for k in range(len(out)):
                upper = a[k] if a[k] > b[k] else b[k]
                lower = c[k] if c[k] > d[k] else d[k]
                out[k] = upper if upper > lower else lower
        return
    _copy(blocks[y, x], out)
    for row in range(top, bottom, high):
        for column in range(left, right, wide):
            block = blocks[min(row, y), min(column, x)]
            for k in range(len(out)):
                out[k] = out[k] if out[k] > block[k] else block[k]


def _ordered_bits(bits: Tensor) -> Tensor:
    """Turn the bits of bfloat16 numbers into int16 that sort as the numbers do; its own inverse.

    Args:
        bits: int16, of any shape.
    """
    return bits ^ ((bits >> 15) & 0x7FFF)
