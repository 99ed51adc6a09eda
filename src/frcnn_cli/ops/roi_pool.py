"""RoI max pooling (Fast R-CNN, section 2.1), with the rounding of Caffe and torchvision.

B images, C channels, H×W feature cells, R RoIs, P×Q bins; see `ops.roi_cells` for the bins. An
empty bin is 0.

On the CPU the kernels run over channels-last maps with the inner loop over channels, which the
compiler vectorises. The forward pass divides the RoIs among threads, the backward pass the
channels, so that no two threads write to the same cell and sums keep their order. Where no gradient
is needed, `ops.block_roi_pool` is used. Other devices use torchvision's kernels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .block_roi_pool import BlockMaxima
from .kernels import njit
from .roi_cells import bin_limits
from .threads import parallel_for


@njit(inline="always")
def _larger_with_index(cell, index, largest, where, new_largest, new_where):
    """The larger value for each channel, and the index of the cell that it comes from.

    It reads one buffer and writes another. LLVM would compile it in place to masked stores, which
    take five times as long on AMD processors.
    """
    for c in range(len(cell)):
        value, best, best_index = cell[c], largest[c], where[c]
        better = value > best
        new_largest[c] = value if better else best
        new_where[c] = index if better else best_index


@njit(cache=True, nogil=True)
def _forward(features, images, ys, xs, out, argmax, first, last):
    """Pool RoIs first..last-1.

    Args:
        features: [B, H, W, C]. images: [R], the image of each RoI. ys: [R, P, 2]. xs: [R, Q, 2].
        out: [R, P, Q, C].
        argmax: int32 of the shape of `out`, the index of the chosen cell, or -1 for an empty bin.
    """
    width, channels = features.shape[2:]
    largest, spare = np.empty(channels, features.dtype), np.empty(channels, features.dtype)
    where, spare_where = np.empty(channels, np.int32), np.empty(channels, np.int32)
    for r in range(first, last):
        image = features[images[r]]
        for p in range(out.shape[1]):
            for q in range(out.shape[2]):
                empty = ys[r, p, 1] <= ys[r, p, 0] or xs[r, q, 1] <= xs[r, q, 0]
                largest[:] = 0 if empty else -np.inf
                where[:] = -1
                for y in range(ys[r, p, 0], ys[r, p, 1]):
                    for x in range(xs[r, q, 0], xs[r, q, 1]):
                        index = np.int32(y * width + x)
                        _larger_with_index(image[y, x], index, largest, where, spare, spare_where)
                        where, spare_where = spare_where, where
                        largest, spare = spare, largest
                out[r, p, q] = largest
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


class _RoIPoolCPU(torch.autograd.Function):
    """RoI max pooling by the kernels above."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, rois: Tensor, size: tuple[int, int], scale: float
    ) -> Tensor:
        boxes = rois.to(features.dtype)
        out = torch.empty((len(rois), *size, features.shape[1]), dtype=features.dtype)
        if not ctx.needs_input_grad[0]:
            BlockMaxima(features, len(rois)).pool_into(out, boxes, scale)
            return out.permute(0, 3, 1, 2)
        cells, corners = features.permute(0, 2, 3, 1).contiguous().numpy(), boxes.numpy()
        images = corners[:, 0].astype(np.int64)
        ys = bin_limits(corners[:, 2], corners[:, 4], scale, size[0], cells.shape[1])
        xs = bin_limits(corners[:, 1], corners[:, 3], scale, size[1], cells.shape[2])
        argmax = torch.empty(out.shape, dtype=torch.int32)
        arguments = (cells, images, ys, xs, out.numpy(), argmax.numpy())
        parallel_for(_forward, arguments, len(rois))
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
