"""2-D convolution whose weight gradient does not depend on luck.

On processors with AVX2 but without AVX-512, oneDNN's gradient of the weights runs at a quarter of
its speed when the maps are channels-last, while its forward pass and its gradient of the input
run faster so. There the weight gradient alone is taken over maps in the other order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

WIDE = 128  # channels; of fewer, changing the order of the map costs more than it saves


class _PlainWeightGradient(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, ...],
        padding: tuple[int, ...],
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = stride, padding
        ctx.biased = bias is not None
        return F.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad[:3]
        stride, padding = ctx.geometry

        def part(maps: tuple[Tensor, Tensor, Tensor], wanted: tuple[bool, bool, bool]) -> Any:
            return torch.ops.aten.convolution_backward(
                *maps, [len(weight)], stride, padding, (1, 1), False, (0, 0), 1, wanted
            )

        gradient_x = gradient_weight = gradient_bias = None
        if for_x:
            gradient_x = part((gradient, x, weight), (True, False, False))[0]
        if for_weight:
            plain = gradient.contiguous(), x.contiguous(), weight.contiguous()
            gradient_weight = part(plain, (False, True, False))[1]
        if ctx.biased and for_bias:
            gradient_bias = gradient.sum((0, 2, 3))
        return gradient_x, gradient_weight, gradient_bias, None, None


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
) -> Tensor:
    """What `torch.nn.functional.conv2d` gives, with its gradients; one group, no dilation.

    Args:
        x: [B, C, H, W]. weight: [U, C, h, w]. bias: [U].
    Returns:
        [B, U, H', W'].
    """
    if (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and weight.requires_grad
        and torch.is_grad_enabled()
        and min(weight.shape[:2]) >= WIDE
        and torch.backends.cpu.get_cpu_capability() == "AVX2"
        and not torch.is_autocast_enabled("cpu")
    ):
        return _PlainWeightGradient.apply(x, weight, bias, stride, padding)
    return F.conv2d(x, weight, bias, stride, padding)
