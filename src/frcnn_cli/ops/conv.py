"""Convolution and max pooling, quicker on the CPU."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .winograd import weight_gradient

_INPUTS, _OUTPUTS = 64, 128  # channels from which on Winograd's transforms pay
_OUTPUTS_BY_CHANNEL = 64  # where the maps lie by channel already, as NNPACK wants them
# Cells of a map from which on they pay: NNPACK transforms the weights anew for each image
_CELLS = 1200
_CELLS_FOR_WEIGHTS = 500  # for the gradient of the weights, which is ours


@cache
def _nnpack() -> bool:
    """Whether NNPACK, which torch brings along, works here; it has to be asked before its use."""
    return bool(torch._nnpack_available())


class Conv2d(nn.Conv2d):
    """A convolution that in training and inference mode on the CPU, where it is 3×3 and wide, is
    Winograd's.

    NNPACK's F(6×6, 3×3) (Lavin and Gray 2016) takes a fifth of the multiplications in tiles of
    8×8, and differs by rounding. Everything else is torch's own convolution; that of a picture, 3×3
    too, leaves its maps by channel, as NNPACK wants them.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H', W']."""
        if not self._suits(x):
            return super().forward(x)
        if self.in_channels == 3:  # a picture: what comes next will want its maps by channel
            return self._conv_forward(x.contiguous(), self.weight.contiguous(), self.bias)
        if torch.is_grad_enabled() and self.weight.requires_grad:
            return _WideConvolution.apply(x, self.weight, self.bias)
        return _winograd(x, self.weight, self.bias)

    def _suits(self, x: Tensor) -> bool:
        least = _OUTPUTS_BY_CHANNEL if x.is_contiguous() else _OUTPUTS
        wide = self.in_channels >= _INPUTS and self.out_channels >= least
        return (
            (wide or self.in_channels == 3)
            and x.device.type == "cpu"
            and x.dtype == torch.float32
            and (torch.is_inference_mode_enabled() or self.training)
            and not torch.is_autocast_enabled("cpu")
            and not torch.compiler.is_compiling()
            and self.kernel_size == (3, 3)
            and self.stride == self.padding == self.dilation == (1, 1)
            and self.groups == 1
            and _nnpack()
        )


def _winograd(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """3×3, image by image: for more of them NNPACK takes a slower way. Small maps are torch's."""
    x, weight = x.contiguous(), weight.contiguous()
    if x.shape[2] * x.shape[3] < _CELLS:
        return torch.conv2d(x, weight, bias, padding=1)
    images = torch.split(x, 1)
    maps = [torch._nnpack_spatial_convolution(image, weight, bias, 1, 1) for image in images]
    return maps[0] if len(maps) == 1 else torch.cat(maps)  # cat would copy the one


class _WideConvolution(torch.autograd.Function):
    """Winograd's also for the gradient of the input, which is a convolution with the weights
    turned around, and for that of the weights where the map is large. Where it is small that one is
    oneDNN's, over maps that are not channels-last: on processors without AVX-512 those take it four
    times as long."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        return _winograd(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        for_x = for_weight = for_bias = None
        if ctx.needs_input_grad[0]:
            for_x = _winograd(gradient, weight.flip(2, 3).transpose(0, 1), None)
        if ctx.needs_input_grad[1] and x.shape[2] * x.shape[3] >= _CELLS_FOR_WEIGHTS:
            for_weight = weight_gradient(x, gradient)
        elif ctx.needs_input_grad[1]:
            one = (1, 1)
            tensors = (each.contiguous() for each in (gradient, x, weight))
            for_weight = torch.ops.aten.convolution_backward(
                *tensors, None, one, one, one, False, (0, 0), 1, (False, True, False)
            )[1]
        if ctx.biased and ctx.needs_input_grad[2]:
            for_bias = gradient.sum((0, 2, 3))
        return for_x, for_weight, for_bias


class MaxPool2d(nn.MaxPool2d):
    """Max pooling that looks for no indices where windows of 2×2 tile the map and no gradient is
    wanted.

    The values are the same.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C, H', W']."""
        halves = (self.kernel_size, self.stride, self.padding, self.dilation) == (2, 2, 0, 1)
        learned = torch.is_grad_enabled() and x.requires_grad
        if learned or not halves or self.ceil_mode or torch.compiler.is_compiling():
            return super().forward(x)
        height, width = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
        rows = torch.maximum(x[:, :, 0:height:2], x[:, :, 1:height:2])
        return torch.maximum(rows[..., 0:width:2], rows[..., 1:width:2])
