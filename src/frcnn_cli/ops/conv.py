"""Convolution and max pooling that are faster than torch's.

B images, C channels, H×W cells of a feature map.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from . import fused_conv
from .winograd import weight_gradient

# The least numbers of channels for which Winograd's transforms pay off.
_MIN_INPUTS, _MIN_OUTPUTS = 64, 128
_MIN_OUTPUTS_CONTIGUOUS = 64  # for contiguous feature maps, which NNPACK takes as they are
# The least number of cells for which the transforms pay off: NNPACK transforms the weights anew for
# each image.
_MIN_CELLS = 1200
_MIN_CELLS_WEIGHT_GRADIENT = 500  # for `weight_gradient`


@cache
def _nnpack() -> bool:
    """Whether torch's NNPACK works on this machine; the call also initialises it."""
    return bool(torch._nnpack_available())


class Conv2d(nn.Conv2d):
    """A convolution that uses Winograd's algorithm where that is faster, else torch's own.

    It is faster for 3×3 kernels with many channels on the CPU, in training and in inference mode.
    NNPACK's F(6×6, 3×3) (Lavin and Gray 2016) works on tiles of 8×8 cells with a fifth of the
    multiplications; its results differ by rounding. The first layer of a network, over 3 colour
    channels, is torch's, but gives contiguous maps, which NNPACK needs in the next layer.
    """

    def forward(self, x: Tensor, relu: bool = False) -> Tensor:
        """From [B, in_channels, H, W] to [B, out_channels, H', W'].

        Args:
            relu: apply a ReLU to the result, where possible in the same pass over the memory.
        """
        if relu and x.device.type == "cuda" and not torch.compiler.is_compiling() and len(x):
            return _convolve_with_relu(self, x)
        if relu and not self._is_special(x) and fused_conv.can_fuse(x, self.weight):
            settings: Any = {"stride": self.stride, "padding": self.padding, "groups": self.groups}
            return fused_conv.convolve(x, self.weight, self.bias, "relu", **settings)
        maps = self._convolve(x)
        return maps.relu_() if relu else maps

    def _convolve(self, x: Tensor) -> Tensor:
        if not self._is_special(x):
            return super().forward(x)
        if self.in_channels == 3:  # the first layer
            return self._conv_forward(x.contiguous(), self.weight.contiguous(), self.bias)
        if torch.is_grad_enabled() and self.weight.requires_grad:
            return _WideConvolution.apply(x, self.weight, self.bias)
        return _winograd(x, self.weight, self.bias)

    def _is_special(self, x: Tensor) -> bool:
        """Whether to use Winograd's algorithm, or contiguous maps in the first layer."""
        min_outputs = _MIN_OUTPUTS_CONTIGUOUS if x.is_contiguous() else _MIN_OUTPUTS
        wide = self.in_channels >= _MIN_INPUTS and self.out_channels >= min_outputs
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
            and len(x) > 0  # NNPACK refuses to convolve nothing
            and _nnpack()
        )


def conv_relu(layer: nn.Module, x: Tensor) -> Tensor:
    """A convolution and a ReLU, in one if the layer is ours."""
    result: Tensor = layer(x, relu=True) if isinstance(layer, Conv2d) else layer(x).relu_()
    return result


class Layers(nn.Sequential):
    """Layers in a row, of which a convolution and the ReLU after it are one."""

    def forward(self, x: Tensor) -> Tensor:
        """From images or maps to maps."""
        layers = list(self)
        while layers:
            layer = layers.pop(0)
            if isinstance(layer, nn.Conv2d) and layers and isinstance(layers[0], nn.ReLU):
                x = conv_relu(layer, x)
                layers.pop(0)
            else:
                x = layer(x)
        return x


def _convolve_with_relu(layer: Conv2d, x: Tensor) -> Tensor:
    """A convolution, its bias and a ReLU in one on a GPU; under autocast in its type."""
    assert layer.bias is not None
    tensors: Any = (x, layer.weight, layer.bias)
    if torch.is_autocast_enabled("cuda"):
        tensors = [each.to(torch.get_autocast_dtype("cuda")) for each in tensors]
    settings: Any = (layer.stride, layer.padding, layer.dilation, layer.groups)
    if torch.is_grad_enabled() and any(each.requires_grad for each in tensors):
        with torch.autocast("cuda", enabled=False):
            return _ConvolutionWithReLU.apply(*tensors, *settings)
    return torch.cudnn_convolution_relu(*tensors, *settings)


class _ConvolutionWithReLU(torch.autograd.Function):
    """`torch.cudnn_convolution_relu` with gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, *settings: Any) -> Tensor:
        out = torch.cudnn_convolution_relu(x, weight, bias, *settings)
        ctx.save_for_backward(x, weight, out)
        ctx.settings = settings
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, out = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.settings
        gradients = torch.ops.aten.convolution_backward(
            torch.ops.aten.threshold_backward(gradient, out, 0), x, weight, [len(weight)],
            stride, padding, dilation, False, (0, 0), groups, ctx.needs_input_grad[:3],
        )  # fmt: skip
        return (*gradients, None, None, None, None)


def _winograd(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A 3×3 convolution of stride and padding 1, [B, C, H, W] to [B, O, H, W].

    Images are convolved one by one, since NNPACK is slower for several at once; small maps are left
    to torch.
    """
    x, weight = x.contiguous(), weight.contiguous()
    if x.shape[2] * x.shape[3] < _MIN_CELLS:
        return torch.conv2d(x, weight, bias, padding=1)
    images = torch.split(x, 1)
    maps = [torch._nnpack_spatial_convolution(image, weight, bias, 1, 1) for image in images]
    return maps[0] if len(maps) == 1 else torch.cat(maps)  # cat would copy a single one


class _WideConvolution(torch.autograd.Function):
    """A 3×3 convolution by Winograd's algorithm, which also computes the gradients.

    The gradient of the input is a convolution with the rotated weights. The gradient of the weights
    is `weight_gradient` on large maps, and oneDNN's on small ones; there the maps are made
    contiguous, because oneDNN takes four times as long over channels-last maps on processors
    without AVX-512.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        return _winograd(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        x_gradient = weights_gradient = bias_gradient = None
        if ctx.needs_input_grad[0]:
            x_gradient = _winograd(gradient, weight.flip(2, 3).transpose(0, 1), None)
        if ctx.needs_input_grad[1] and x.shape[2] * x.shape[3] >= _MIN_CELLS_WEIGHT_GRADIENT:
            weights_gradient = weight_gradient(x, gradient)
        elif ctx.needs_input_grad[1]:
            one = (1, 1)
            tensors = (each.contiguous() for each in (gradient, x, weight))
            weights_gradient = torch.ops.aten.convolution_backward(
                *tensors, None, one, one, one, False, (0, 0), 1, (False, True, False)
            )[1]
        if ctx.has_bias and ctx.needs_input_grad[2]:
            bias_gradient = gradient.sum((0, 2, 3))
        return x_gradient, weights_gradient, bias_gradient


class MaxPool2d(nn.MaxPool2d):
    """Max pooling that is faster on the CPU where 2×2 windows tile the map without a gradient.

    It then skips the indices of the maxima; the values are those of torch.
    """

    def forward(self, x: Tensor) -> Tensor:
        """From [B, C, H, W] to [B, C, H', W']."""
        tiles = (self.kernel_size, self.stride, self.padding, self.dilation) == (2, 2, 0, 1)
        needs_gradient = torch.is_grad_enabled() and x.requires_grad
        plain = needs_gradient or not tiles or self.ceil_mode or torch.compiler.is_compiling()
        if plain or x.device.type != "cpu":
            return super().forward(x)
        height, width = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
        rows = torch.maximum(x[:, :, 0:height:2], x[:, :, 1:height:2])
        return torch.maximum(rows[..., 0:width:2], rows[..., 1:width:2])
