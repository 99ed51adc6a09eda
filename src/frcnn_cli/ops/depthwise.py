"""Depthwise convolutions, each channel with a kernel of its own, with gradients that are fast.

B images, C channels, k×k kernels, H×W cells of a feature map.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .kernels import njit
from .threads import parallel_for

_ONEDNN_KERNEL = 3  # the largest for which oneDNN's gradient of the weights is fast


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution by `depthwise_convolution`."""

    def forward(self, x: Tensor) -> Tensor:
        """From [B, C, H, W] to [B, C, H', W']."""
        return depthwise_convolution(self, x)


def speed_up(network: nn.Module) -> None:
    """Make a `DepthwiseConv2d` of each depthwise convolution of a network that can be one."""
    for module in network.modules():
        if type(module) is not nn.Conv2d or module.padding_mode != "zeros":
            continue
        is_depthwise = 1 < module.groups == module.in_channels == module.out_channels
        shapes = (module.kernel_size, module.stride, module.padding)
        if (
            is_depthwise
            and module.dilation == (1, 1)
            and all(each[0] == each[-1] for each in shapes)
        ):
            module.__class__ = DepthwiseConv2d  # the parameters, and their identities, stay


def depthwise_convolution(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """A depthwise convolution, [B, C, H, W] to [B, C, H', W']; under autocast in its type.

    Args:
        layer: of any stride and padding; without dilation.
    """
    if x.device.type == "cuda":
        return _DepthwiseOnGpu.apply(*_in_autocast_type(layer, x), *_settings(layer))
    if (
        torch.is_grad_enabled()
        and layer.weight.requires_grad
        and layer.kernel_size[0] > _ONEDNN_KERNEL
        and not torch.compiler.is_compiling()
    ):
        tensors = _in_autocast_type(layer, x)
        if tensors[0].dtype in (torch.float32, torch.bfloat16):
            with torch.autocast("cpu", enabled=False):
                return _DepthwiseOnCpu.apply(*tensors, *_settings(layer))
    return layer._conv_forward(x, layer.weight, layer.bias)


def _settings(layer: nn.Conv2d) -> Any:
    return layer.stride, layer.padding, layer.groups


def _in_autocast_type(layer: nn.Conv2d, x: Tensor) -> Any:
    tensors = (x, layer.weight, layer.bias)
    device = x.device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(None if each is None else each.to(dtype) for each in tensors)


class _DepthwiseOnGpu(torch.autograd.Function):
    """A convolution by torch's own kernels in both directions.

    cuDNN prepares itself for every new shape of the maps: in EfficientNet that takes seconds for an
    image of a new size.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: Any, padding: Any, groups: int
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.settings = stride, padding, groups
        with torch.autocast("cuda", enabled=False), torch.backends.cudnn.flags(enabled=False):
            return torch.conv2d(x, weight, bias, stride, padding, 1, groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        with torch.backends.cudnn.flags(enabled=False):
            tensors = (gradient, *ctx.saved_tensors)
            gradients = _gradients(ctx, tensors, ctx.needs_input_grad[:3])
        return (*gradients, None, None, None)


class _DepthwiseOnCpu(torch.autograd.Function):
    """A convolution by oneDNN, and the gradient of its weights by `weight_gradient`.

    oneDNN takes 4 to 50 times as long for that gradient as for the convolution, and in bfloat16
    with strides also for the gradient of the input, which is computed in float32 then.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: Any, padding: Any, groups: int
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.settings = stride, padding, groups
        return torch.conv2d(x, weight, bias, stride, padding, 1, groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, padding, _ = ctx.settings
        x_gradient = bias_gradient = None
        if ctx.needs_input_grad[0]:
            dtype = x.dtype if stride == (1, 1) else torch.float32
            in_dtype = [each.to(dtype) for each in (gradient, x, weight)]
            x_gradient = _gradients(ctx, in_dtype, (True, False, False))[0].to(x.dtype)
        if ctx.needs_input_grad[2]:
            bias_gradient = gradient.sum((0, 2, 3), dtype=torch.float32).to(weight.dtype)
        weights = weight_gradient(x, gradient, weight.shape[2], stride[0], padding[0])
        return x_gradient, weights.to(weight.dtype), bias_gradient, None, None, None


def _gradients(ctx: Any, tensors: Sequence[Tensor], wanted: tuple[bool, ...]) -> Any:
    """torch's gradients of the input, the weights and the bias.

    Args:
        tensors: the gradient of the output, the input and the weights.
    """
    stride, padding, groups = ctx.settings
    return torch.ops.aten.convolution_backward(
        *tensors, [groups], stride, padding, (1, 1), False, (0, 0), groups, wanted
    )


def weight_gradient(x: Tensor, gradient: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """The gradient of the weights of a depthwise convolution, on the CPU, in float32.

    Differs from the direct sum by rounding. Every channel is laid out as a plane with the padding
    around it, the gradient in rows as long. So a weight is a scalar product of two long vectors, of
    which one is shifted. At a stride, every `stride`-th row and column makes a plane of its own,
    which holds all that some of the weights are multiplied with.

    Args:
        x: [B, C, H, W], the input; float32 or bfloat16.
        gradient: [B, C, H', W'], the gradient of the output.
    Returns:
        [C, 1, kernel, kernel].
    """
    images, channels = x.shape[:2]
    rows, columns = (-(-(side + 2 * padding) // stride) for side in x.shape[2:])
    gradients = torch.zeros(images, channels, gradient.shape[2], columns)
    gradients[..., : gradient.shape[3]] = gradient
    # a shift by part of a row ends behind the last row
    inputs = torch.empty(images, channels, rows * columns + kernel)
    planes = inputs[..., : rows * columns].view(images, channels, rows, columns)
    weights = torch.empty(channels, 1, kernel, kernel)
    for i, j in product(range(stride), repeat=2):
        # the first row and column that are not padding
        top, left = (max(0, -((first - padding) // stride)) for first in (i, j))
        part = x[:, :, top * stride + i - padding :: stride, left * stride + j - padding :: stride]
        inputs.zero_()
        planes[..., top : top + part.shape[2], left : left + part.shape[3]] = part
        result = weights[:, 0, i::stride, j::stride].numpy()
        arrays = inputs.numpy(), gradients.flatten(2).numpy(), result
        parallel_for(_correlate, (*arrays, columns), channels)
    return weights


# "reassoc" lets the compiler sum in several lanes
@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _correlate(inputs, gradients, weights, columns, first, last):
    """The weights of the channels first..last-1.

    Args:
        inputs: [B, C, rows * columns + k]. gradients: [B, C, cells].
        weights: [C, k, k], the result. columns: cells in a row.
    """
    for channel in range(first, last):
        for i in range(weights.shape[1]):
            for j in range(weights.shape[2]):
                total = np.float32(0)
                for image in range(len(inputs)):
                    shifted = inputs[image, channel, i * columns + j :]
                    gradient = gradients[image, channel]
                    product = np.float32(0)
                    for cell in range(len(gradient)):
                        product += gradient[cell] * shifted[cell]
                    total += product
                weights[channel, i, j] = total
