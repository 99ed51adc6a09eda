"""The gradient of the weights of a 3×3 convolution by Winograd's method, on the CPU.

The convolution of a tile is Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A with F(4×4, 3×3) (Lavin and Gray 2016,
section 4.3), d of 6×6, Y of 4×4. So the gradient of g is Gᵀ[Σ (A dY Aᵀ) ⊙ (Bᵀ d B)]G, summed over
the tiles: 36 products of matrices, with a quarter of the multiplications of the plain way.

C: channels of the input, O: of the output, T: tiles.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from .threads import share

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
_G_TWICE = torch.kron(_G, _G)  # [36, 9], along both sides
_TILE = 4  # outputs a side


@njit(inline="always")
def _six_of_six(d0, d1, d2, d3, d4, d5, out):
    """Bᵀ d: six rows of channels to six."""
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
def _six_of_four(d0, d1, d2, d3, out):
    """A dY: four rows of channels to six."""
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
    """Bᵀ d B of the rows of tiles first..last-1. maps: [H, W, C]. out: [6, 6, rows, columns, C]."""
    height, width, channels = maps.shape
    nothing = np.zeros(channels, maps.dtype)
    down, across = np.empty((6, 6, channels), maps.dtype), np.empty((6, channels), maps.dtype)
    for row in range(first, last):
        top = row * 4 - 1  # a border of one
        for column in range(out.shape[3]):
            left = column * 4 - 1
            for j in range(6):
                x = left + j
                inside = 0 <= x < width
                _six_of_six(
                    maps[top, x] if inside and top >= 0 else nothing,
                    maps[top + 1, x] if inside and top + 1 < height else nothing,
                    maps[top + 2, x] if inside and top + 2 < height else nothing,
                    maps[top + 3, x] if inside and top + 3 < height else nothing,
                    maps[top + 4, x] if inside and top + 4 < height else nothing,
                    maps[top + 5, x] if inside and top + 5 < height else nothing,
                    down[j],
                )
            for i in range(6):
                _six_of_six(
                    down[0, i], down[1, i], down[2, i], down[3, i], down[4, i], down[5, i], across
                )
                for j in range(6):
                    out[i, j, row, column] = across[j]


@njit(cache=True, nogil=True)
def _transform_gradients(maps, out, first, last):
    """A dY Aᵀ of the rows of tiles first..last-1. maps: [H, W, O], out as for the inputs, of O."""
    height, width, channels = maps.shape
    nothing = np.zeros(channels, maps.dtype)
    down, across = np.empty((4, 6, channels), maps.dtype), np.empty((6, channels), maps.dtype)
    for row in range(first, last):
        top = row * 4
        for column in range(out.shape[3]):
            for j in range(4):
                x = column * 4 + j
                inside = x < width
                _six_of_four(
                    maps[top, x] if inside else nothing,
                    maps[top + 1, x] if inside and top + 1 < height else nothing,
                    maps[top + 2, x] if inside and top + 2 < height else nothing,
                    maps[top + 3, x] if inside and top + 3 < height else nothing,
                    down[j],
                )
            for i in range(6):
                _six_of_four(down[0, i], down[1, i], down[2, i], down[3, i], across)
                for j in range(6):
                    out[i, j, row, column] = across[j]


def weight_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of the weights of a 3×3 convolution of stride and padding 1.

    Differs from the plain way by rounding. Images one by one, which bounds the memory.

    Args:
        x: [B, C, H, W], the input. gradient: [B, O, H, W], of the output. Both float32 on the CPU,
            best channels-last.
    Returns:
        [O, C, 3, 3].
    """
    channels, outputs = x.shape[1], gradient.shape[1]
    rows, columns = (-(-side // _TILE) for side in x.shape[2:])
    shape = (6, 6, rows, columns)
    tiles, steps = torch.empty((*shape, channels)), torch.empty((*shape, outputs))
    total = torch.zeros((36, outputs, channels))
    for image, change in zip(_by_cell(x), _by_cell(gradient), strict=True):
        share(_transform_inputs, (image, tiles.numpy()), rows)
        share(_transform_gradients, (change, steps.numpy()), rows)
        total.baddbmm_(
            steps.view(36, rows * columns, outputs).transpose(1, 2),
            tiles.view(36, rows * columns, channels),
        )
    gradients = _G_TWICE.T @ total.view(36, -1)  # a product of matrices; einsum takes seven times
    return gradients.view(3, 3, outputs, channels).permute(2, 3, 0, 1).contiguous()


def _by_cell(maps: Tensor) -> Any:
    """[B, C, H, W] to an array [B, H, W, C]."""
    return maps.permute(0, 2, 3, 1).contiguous().numpy()
