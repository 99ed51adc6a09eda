"""A convolution and the activation after it in one pass over the memory, by oneDNN on a CPU.

B images, C channels, H×W cells of a feature map. The values are those of the two operations, to the
last bit; up to rounding where torch convolves without oneDNN: maps of a few thousand numbers, and
1×1 kernels in a single thread.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import torch
from torch import Tensor

Activation = Literal["relu", "relu6"]
# oneDNN's name of an activation, and its arguments
_ONEDNN: dict[Activation, tuple[str, list[float]]] = {
    "relu": ("relu", []),
    "relu6": ("hardtanh", [0.0, 6.0]),
}


def can_fuse(x: Tensor, weight: Tensor) -> bool:
    """Whether `convolve` takes these maps and weights.

    It takes channels-last maps on a CPU, where no gradient is needed; of other maps, oneDNN would
    compute the same up to rounding.
    """
    return (
        x.device.type == "cpu"
        and x.numel() > 0
        and x.is_contiguous(memory_format=torch.channels_last)
        and x.dtype == weight.dtype
        and _has_kernels(x.dtype)
        and not (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad))
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


@cache
def _has_kernels(dtype: torch.dtype) -> bool:
    """Whether oneDNN computes in this type on this processor."""
    return torch._C._has_mkldnn and (
        dtype == torch.float32
        or (dtype == torch.bfloat16 and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))
    )


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: Activation,
    *,
    stride: tuple[int, ...] = (1, 1),
    padding: tuple[int, ...] = (0, 0),
    groups: int = 1,
) -> Tensor:
    """Convolve and activate, where `can_fuse` says so.

    Args:
        x: [B, C, H, W], channels-last. weight: [O, C / groups, h, w]. bias: [O].
        stride, padding: in (rows, columns); the same on both sides.
    Returns:
        [B, O, H', W'], channels-last.
    """
    name, arguments = _ONEDNN[activation]
    result: Tensor = torch.ops.mkldnn._convolution_pointwise(
        x, weight, bias, padding, stride, (1, 1), groups, name, arguments, ""
    )
    return result
