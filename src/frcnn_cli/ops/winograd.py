"""The gradient of the weights of a 3×3 convolution by Winograd's algorithm, on the CPU.

F(4×4, 3×3) (Lavin and Gray 2016, section 4.3) convolves an input tile d of 6×6 cells with weights g
to an output tile Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A of 4×4 cells. So the gradient of g is
Gᵀ[Σ (A dY Aᵀ) ⊙ (Bᵀ d B)]G, summed over the tiles: 36 matrix products, with a quarter of the
multiplications of the direct sum.

B images, C input channels, O output channels, H×W cells.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .kernels import njit
from .threads import parallel_for

_G = torch.tensor(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
_G_TWICE = torch.kron(_G, _G)  # [36, 9]: G along both sides
_TILE = 4  # cells per side of an output tile


@njit(inline="always")
def _transform_six(d0, d1, d2, d3, d4, d5, out):
    """Bᵀ d along one axis: out [6, C] from six rows [C]."""
    for c in range(len(d0)):
        a0, a1, a2, a3, a4, a5 = d0[c], d1[c], d2[c], d3[c], d4[c], d5[c]
        even, odd = a4 - 4 * a2, a3 - 4 * a1
        out[0, c] = 4 * a0 - 5 * a2 + a4
        out[1, c] = even + odd
        out[2, c] = even - odd
        even, odd = a4 - a2, 2 * (a3 - a1)
        out[3, c] = even + odd
        out[4, c] = even - odd
        out[5, c] = 4 * a1 - 5 * a3 + a5


@njit(inline="always")
def _transform_four(d0, d1, d2, d3, out):
    """A dY along one axis: out [6, O] from four rows [O]."""
    for c in range(len(d0)):
        a0, a1, a2, a3 = d0[c], d1[c], d2[c], d3[c]
        even, odd = a0 + a2, a1 + a3
        out[0, c] = a0
        out[1, c] = even + odd
        out[2, c] = even - odd
        even, odd = a0 + 4 * a2, 2 * a1 + 8 * a3
        out[3, c] = even + odd
        out[4, c] = even - odd
        out[5, c] = a3


@njit(cache=True, nogil=True)
def _transform_inputs(maps, out, first, last):
    """Bᵀ d B for the rows of tiles first..last-1.

    Args:
        maps: [H, W, C]. out: [6, 6, rows of tiles, columns of tiles, C].
    """
    height, width, channels = maps.shape
    outside = np.zeros(channels, maps.dtype)  # a cell of the padding
    down, across = np.empty((6, 6, channels), maps.dtype), np.empty((6, channels), maps.dtype)
    for row in range(first, last):
        top = row * 4 - 1  # one cell of padding
        for column in range(out.shape[3]):
            left = column * 4 - 1
            for j in range(6):
                x = left + j
                inside = 0 <= x < width
                _transform_six(
                    maps[top, x] if inside and top >= 0 else outside,
                    maps[top + 1, x] if inside and top + 1 < height else outside,
                    maps[top + 2, x] if inside and top + 2 < height else outside,
                    maps[top + 3, x] if inside and top + 3 < height else outside,
                    maps[top + 4, x] if inside and top + 4 < height else outside,
                    maps[top + 5, x] if inside and top + 5 < height else outside,
                    down[j],
                )
            for i in range(6):
                _transform_six(
                    down[0, i], down[1, i], down[2, i], down[3, i], down[4, i], down[5, i], across
                )
                for j in range(6):
                    out[i, j, row, column] = across[j]


@njit(cache=True, nogil=True)
def _transform_gradients(maps, out, first, last):
    """A dY Aᵀ for the rows of tiles first..last-1.

    Args:
        maps: [H, W, O]. out: [6, 6, rows of tiles, columns of tiles, O].
    """
    height, width, channels = maps.shape
    outside = np.zeros(channels, maps.dtype)  # a cell of the padding
    down, across = np.empty((4, 6, channels), maps.dtype), np.empty((6, channels), maps.dtype)
    for row in range(first, last):
        top = row * 4
        for column in range(out.shape[3]):
            for j in range(4):
                x = column * 4 + j
                inside = x < width
                _transform_four(
                    maps[top, x] if inside else outside,
                    maps[top + 1, x] if inside and top + 1 < height else outside,
                    maps[top + 2, x] if inside and top + 2 < height else outside,
                    maps[top + 3, x] if inside and top + 3 < height else outside,
                    down[j],
                )
            for i in range(6):
                _transform_four(down[0, i], down[1, i], down[2, i], down[3, i], across)
                for j in range(6):
                    out[i, j, row, column] = across[j]


def weight_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of the weights of a 3×3 convolution of stride and padding 1.

    Differs from the direct sum by rounding. Images are processed one by one to limit the memory.

    Args:
        x: [B, C, H, W] float32 on the CPU, the input; fastest if channels-last.
        gradient: [B, O, H, W], the gradient of the output, in the same format.
    Returns:
        [O, C, 3, 3].
    """
    channels, outputs = x.shape[1], gradient.shape[1]
    rows, columns = (-(-side // _TILE) for side in x.shape[2:])
    shape = (6, 6, rows, columns)
    inputs, gradients = torch.empty((*shape, channels)), torch.empty((*shape, outputs))
    total = torch.zeros((36, outputs, channels))
    for image, image_gradient in zip(_channels_last(x), _channels_last(gradient), strict=True):
        parallel_for(_transform_inputs, (image, inputs.numpy()), rows)
        parallel_for(_transform_gradients, (image_gradient, gradients.numpy()), rows)
        total.baddbmm_(
            gradients.view(36, rows * columns, outputs).transpose(1, 2),
            inputs.view(36, rows * columns, channels),
        )
    weights = _G_TWICE.T @ total.view(36, -1)  # einsum takes seven times as long
    return weights.view(3, 3, outputs, channels).permute(2, 3, 0, 1).contiguous()


def _channels_last(maps: Tensor) -> Any:
    """[B, C, H, W] as an array [B, H, W, C]."""
    return maps.permute(0, 2, 3, 1).contiguous().numpy()
