"""RoIs and their bins in feature cells, with the rounding of Caffe and torchvision.

A RoI is (image, x1, y1, x2, y2) in input pixels. Its corners are multiplied by the spatial scale
and rounded half away from zero to cells, both ends included. In a RoI of h cells, bin p of P covers
the rows floor(p·h/P) .. ceil((p+1)·h/P) - 1. A bin may have no cells.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


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
