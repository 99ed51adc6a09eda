"""Convolution and max pooling, quicker on the CPU when no gradient is wanted."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

_INPUTS, _OUTPUTS = 64, 128  # channels from which on Winograd's transforms pay


@cache
def _nnpack() -> bool:
    """Whether NNPACK, which torch brings along, works here; it has to be asked before its use."""
    return bool(torch._nnpack_available())


class Conv2d(nn.Conv2d):
    """A convolution whose inference on the CPU, where it is 3×3 and wide, is Winograd's.

    NNPACK's F(6×6, 3×3) (Lavin and Gray 2016) takes a fifth of the multiplications in tiles of
    8×8, and differs by rounding. Everything else is torch's own convolution.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H', W']."""
        if torch.is_inference_mode_enabled() and self._winograd(x):
            weight = self.weight.contiguous()
            return torch._nnpack_spatial_convolution(x.contiguous(), weight, self.bias, 1, 1)
        return super().forward(x)

    def _winograd(self, x: Tensor) -> bool:
        return (
            x.device.type == "cpu"
            and x.dtype == torch.float32
            and self.kernel_size == (3, 3)
            and self.stride == self.padding == self.dilation == (1, 1)
            and self.groups == 1
            and self.in_channels >= _INPUTS
            and self.out_channels >= _OUTPUTS
            and _nnpack()
        )


class MaxPool2d(nn.MaxPool2d):
    """Max pooling whose inference, where windows of 2×2 tile the map, looks for no indices.

    The values are the same.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C, H', W']."""
        halves = (self.kernel_size, self.stride, self.padding, self.dilation) == (2, 2, 0, 1)
        if not (torch.is_inference_mode_enabled() and halves) or self.ceil_mode:
            return super().forward(x)
        height, width = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
        rows = torch.maximum(x[:, :, 0:height:2], x[:, :, 1:height:2])
        return torch.maximum(rows[..., 0:width:2], rows[..., 1:width:2])
