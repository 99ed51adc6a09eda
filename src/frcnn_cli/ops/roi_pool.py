"""RoI max pooling (Fast R-CNN, section 2.1), with the rounding of Caffe and torchvision.

B images, C channels, H×W feature cells, R RoIs, P×Q bins. A RoI is (image, x1, y1, x2, y2) in input
pixels. Its corners are multiplied by the spatial scale and rounded half away from zero to cells,
both ends included. In a RoI of h cells, bin p covers the rows floor(p·h/P) .. ceil((p+1)·h/P) - 1.
An empty bin is 0.

On the CPU the kernels run over channels-last maps with the inner loop over channels, which the
compiler vectorises. The forward pass divides the RoIs among threads, the backward pass the
channels, so that no two threads write to the same cell and sums keep their order. Other devices use
torchvision's kernels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from .kernels import njit
from .threads import parallel_for


def to_cells(pixels: NDArray[Any], scale: float) -> NDArray[Any]:
    """Convert positions in pixels to cells, rounded half away from zero, in the dtype of `pixels`.

    Args:
        pixels: any shape. scale: feature cells per pixel.
    Returns:
        Whole numbers, of the shape of `pixels`.
    """
    scaled = pixels * pixels.dtype.type(scale)
    size = np.abs(scaled)
    whole = np.floor(size)  # size + 0.5 would itself be rounded
    return np.copysign(whole + (size - whole >= 0.5), scaled)


def distinct_cells(rois: Tensor, spatial_scale: float) -> tuple[Tensor, Tensor]:
    """Find RoIs that fall on the same feature cells, whose pooled features are therefore equal.

    Args:
        rois: [R, 5] float32. spatial_scale: feature cells per input pixel.
    Returns:
        chosen: [U], the index of one RoI for each set of cells.
        inverse: [R]; RoI r falls on the same cells as RoI chosen[inverse[r]].
    """
    array = rois.numpy()
    cells = to_cells(array[:, 1:], spatial_scale).astype(np.int64)
    return distinct_rows(np.concatenate([array[:, :1].astype(np.int64), cells], axis=1))


def distinct_rows(table: NDArray[Any]) -> tuple[Tensor, Tensor]:
    """Find the rows of a table that are equal.

    Args:
        table: [R, columns].
    Returns:
        chosen: [U], the index of one row of each kind.
        inverse: [R]; row r is equal to row chosen[inverse[r]].
    """
    order = np.lexsort(table.T[::-1])  # many times faster than np.unique over rows
    rows = table[order]
    first = np.ones(len(rows), np.bool_)
    first[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    inverse = np.empty(len(rows), np.int64)
    inverse[order] = first.cumsum() - 1
    return torch.from_numpy(order[first]), torch.from_numpy(inverse)


def bin_limits(
    starts: NDArray[Any], ends: NDArray[Any], scale: float, bins: int, cells: int
) -> NDArray[np.int32]:
    """The first cell of each bin along one axis, and the cell after the last.

    Computed in the dtype of `starts`, as torchvision computes in the dtype of the features.

    Args:
        starts, ends: [R], the first and last coordinates of the RoIs in input pixels.
        scale: feature cells per input pixel. bins: P. cells: length of the feature map.
    Returns:
        [R, P, 2], in 0..cells.
    """
    first, last = to_cells(starts, scale), to_cells(ends, scale)
    step = (np.maximum(last - first + 1, 1) / starts.dtype.type(bins))[:, None]
    edges = np.arange(bins + 1, dtype=starts.dtype)
    limits = np.stack([np.floor(edges[:-1] * step), np.ceil(edges[1:] * step)], axis=2)
    return np.clip(limits + first[:, None, None], 0, cells).astype(np.int32)


# The two loops below read one buffer and write another. LLVM would compile them in place to masked
# stores, which take five times as long on AMD processors.


@njit(inline="always")
def _larger(cell, largest, new_largest):
    """new_largest = max(cell, largest), for each channel."""
    for c in range(len(cell)):
        new_largest[c] = cell[c] if cell[c] > largest[c] else largest[c]


@njit(inline="always")
def _larger_with_index(cell, index, largest, where, new_largest, new_where):
    """Like `_larger`, with the index of the cell that each maximum comes from."""
    for c in range(len(cell)):
        value, best, best_index = cell[c], largest[c], where[c]
        better = value > best
        new_largest[c] = value if better else best
        new_where[c] = index if better else best_index


@njit(cache=True, nogil=True)
def _forward(features, lowest, images, ys, xs, out, argmax, first, last):
    """Pool RoIs first..last-1.

    Args:
        features: [B, H, W, C]. lowest: the least number of their dtype.
        images: [R], the image of each RoI. ys: [R, P, 2]. xs: [R, Q, 2]. out: [R, P, Q, C].
        argmax: int32 of the shape of `out`, the index of the chosen cell, or -1 for an empty bin;
            an empty array if no gradient is needed.
    """
    width, channels = features.shape[2:]
    largest, spare = np.empty(channels, features.dtype), np.empty(channels, features.dtype)
    where, spare_where = np.empty(channels, np.int32), np.empty(channels, np.int32)
    for r in range(first, last):
        image = features[images[r]]
        for p in range(out.shape[1]):
            for q in range(out.shape[2]):
                empty = ys[r, p, 1] <= ys[r, p, 0] or xs[r, q, 1] <= xs[r, q, 0]
                largest[:] = 0 if empty else lowest
                where[:] = -1
                for y in range(ys[r, p, 0], ys[r, p, 1]):
                    for x in range(xs[r, q, 0], xs[r, q, 1]):
                        if argmax.size:
                            index = np.int32(y * width + x)
                            _larger_with_index(
                                image[y, x], index, largest, where, spare, spare_where
                            )
                            where, spare_where = spare_where, where
                        else:
                            _larger(image[y, x], largest, spare)
                        largest, spare = spare, largest
                out[r, p, q] = largest
                if argmax.size:
                    argmax[r, p, q] = where


@njit(cache=True, nogil=True)
def _backward(grad_out, argmax, images, grad, first, last):
    """Add the gradient of each bin to the cell that it chose, for channels first..last-1.

    Args:
        grad_out, argmax: [R, P, Q, C]. images: [R], the image of each RoI.
        grad: [B, H * W, C], which starts as zeros.
    """
    count, rows, columns, _ = grad_out.shape
    for r in range(count):
        image = grad[images[r]]
        for p in range(rows):
            for q in range(columns):
                cells, gradient = argmax[r, p, q], grad_out[r, p, q]
                for c in range(first, last):
                    if cells[c] >= 0:
                        image[cells[c], c] += gradient[c]


def roi_pool_into(out: Tensor, features: Tensor, rois: Tensor, spatial_scale: float) -> None:
    """Max-pool RoIs into existing memory, on the CPU and without a gradient.

    Args:
        out: [R, P, Q, C], contiguous; overwritten.
        features: [B, C, H, W], channels-last in memory, of the dtype of `out`: float32, float64 or
            bfloat16.
        rois, spatial_scale: see `roi_pool`.
    """
    height, width = features.shape[2:]
    boxes = rois.numpy()
    rows, columns = out.shape[1:3]
    ys = bin_limits(boxes[:, 2], boxes[:, 4], spatial_scale, rows, height)
    xs = bin_limits(boxes[:, 1], boxes[:, 3], spatial_scale, columns, width)
    cells, lowest, signed = features.permute(0, 2, 3, 1), -np.inf, False
    if features.dtype == torch.bfloat16:  # numba does not know it, but can compare its bits
        cells, out, lowest = cells.view(torch.int16), out.view(torch.int16), -(2**15)
        signed = bool((cells < 0).any())  # never after a ReLU
        cells = _ordered_bits(cells) if signed else cells
    array = cells.numpy()
    images, no_argmax = boxes[:, 0].astype(np.int64), np.empty((0, 0, 0, 0), np.int32)
    arguments = (array, array.dtype.type(lowest), images, ys, xs, out.numpy(), no_argmax)
    parallel_for(_forward, arguments, len(boxes))
    if signed:
        out.copy_(_ordered_bits(out))


def _ordered_bits(bits: Tensor) -> Tensor:
    """Turn the bits of bfloat16 numbers into int16 that sort as the numbers do, or back.

    Args:
        bits: int16, of any shape.
    """
    return bits ^ ((bits >> 15) & 0x7FFF)


class _RoIPoolCPU(torch.autograd.Function):
    """RoI max pooling by the kernels above."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, rois: Tensor, size: tuple[int, int], scale: float
    ) -> Tensor:
        height, width = features.shape[2:]
        channels_last = features.permute(0, 2, 3, 1).contiguous().numpy()
        boxes = rois.to(features.dtype).numpy()
        images = boxes[:, 0].astype(np.int64)
        ys = bin_limits(boxes[:, 2], boxes[:, 4], scale, size[0], height)
        xs = bin_limits(boxes[:, 1], boxes[:, 3], scale, size[1], width)
        out = torch.empty((len(rois), *size, features.shape[1]), dtype=features.dtype)
        needs_gradient = ctx.needs_input_grad[0]
        argmax = torch.empty(out.shape if needs_gradient else (0, 0, 0, 0), dtype=torch.int32)
        lowest = channels_last.dtype.type(-np.inf)
        arguments = (channels_last, lowest, images, ys, xs, out.numpy(), argmax.numpy())
        parallel_for(_forward, arguments, len(rois))
        if needs_gradient:
            ctx.save_for_backward(argmax)
            ctx.images, ctx.feature_shape = images, features.shape
        return out.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        (argmax,) = ctx.saved_tensors
        count, channels, height, width = ctx.feature_shape
        grad = torch.zeros((count, height * width, channels), dtype=grad_out.dtype)
        gradient = grad_out.permute(0, 2, 3, 1).contiguous().numpy()
        parallel_for(_backward, (gradient, argmax.numpy(), ctx.images, grad.numpy()), channels)
        return grad.view(count, height, width, channels).permute(0, 3, 1, 2), None, None, None


def roi_pool(features: Tensor, rois: Tensor, size: tuple[int, int], spatial_scale: float) -> Tensor:
    """Max-pool every RoI to the same number of bins (Fast R-CNN, section 2.1).

    Differentiable in `features`: the gradient of a cell is the sum over all RoIs and bins that
    chose it (equation 4).

    Args:
        features: [B, C, H, W], float32 or float64 on the CPU.
        rois: [R, 5], (index of the image, x1, y1, x2, y2) in input pixels.
        size: (P, Q), the numbers of rows and columns of bins.
        spatial_scale: feature cells per input pixel (1/16 for a stride of 16).
    Returns:
        [R, C, P, Q]; channels-last in memory on the CPU.
    Raises:
        ValueError: a RoI names an image that is not in the batch. On a GPU this is not checked, as
            the program would have to wait for it; `data.collate` makes RoIs that are right.
    """
    if features.device.type == "cpu":
        if len(rois) and not 0 <= int(rois[:, 0].min()) <= int(rois[:, 0].max()) < len(features):
            raise ValueError(
                f"roi_pool: the first column of rois must be in 0..{len(features) - 1}"
            )
        return _RoIPoolCPU.apply(features, rois, size, spatial_scale)
    from torchvision.ops import roi_pool as torchvision_roi_pool

    return torchvision_roi_pool(features, rois.to(features.dtype), size, spatial_scale)
