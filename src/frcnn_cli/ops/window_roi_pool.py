"""RoI max pooling from plain tensor operations, for export to ONNX.

ONNX's own MaxRoiPool rounds differently from Caffe, torchvision and `ops.roi_pool`. Here a table
holds the maxima of all windows of 1, 2, 4, … rows by 1, 2, 4, … columns of cells; the maximum of a
bin is then the largest of four windows that together cover it.

C: channels, H×W: feature cells, R: RoIs, P: bins per side.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def levels_for(max_side: int, bins: int, stride: int) -> int:
    """The `levels` that `window_roi_pool` needs for images of a size.

    Args:
        max_side: longest side of the images in pixels. bins: P. stride: input pixels per cell.
    """
    cells = math.ceil(max_side / stride) + 1
    return math.ceil(math.log2(cells / bins + 2))


def window_roi_pool(features: Tensor, rois: Tensor, bins: int, scale: float, levels: int) -> Tensor:
    """RoI max pooling of one image, with the results of `ops.roi_pool.roi_pool`.

    Args:
        features: [1, C, H, W]. rois: [R, 4], (x1, y1, x2, y2) in input pixels.
        bins: P. scale: cells per input pixel.
        levels: windows have up to 2 ** levels cells per side, so bins must have less than
            2 ** (levels + 1); see `levels_for`.
    Returns:
        [R, P, P, C].
    """
    height, width = features.shape[2], features.shape[3]
    columns = [features]
    for level in range(levels):
        columns.append(_double_windows(columns[-1], 2**level, axis=2))
    windows = []
    for column in columns:
        windows.append(column)
        for level in range(levels):
            windows.append(_double_windows(windows[-1], 2**level, axis=3))
    table = torch.cat(windows).permute(0, 2, 3, 1).flatten(0, 2)  # [windows * H * W, C]
    y1, y2, y_level = _covering_windows(rois[:, 1], rois[:, 3], bins, scale, height, levels)
    x1, x2, x_level = _covering_windows(rois[:, 0], rois[:, 2], bins, scale, width, levels)
    window = y_level.unsqueeze(2) * (levels + 1) + x_level.unsqueeze(1)
    corners = [
        table[(window * height + y.unsqueeze(2)) * width + x.unsqueeze(1)]
        for y in (y1, y2)
        for x in (x1, x2)
    ]
    largest = torch.maximum(
        torch.maximum(corners[0], corners[1]), torch.maximum(corners[2], corners[3])
    )
    empty = (y2 < y1).unsqueeze(2) | (x2 < x1).unsqueeze(1)
    return torch.where(empty.unsqueeze(3), torch.zeros_like(largest), largest)


def _double_windows(maxima: Tensor, side: int, axis: int) -> Tensor:
    """Maxima of windows of twice the side, from those of windows of `side` cells along an axis.

    Args:
        maxima: [1, C, H, W], of the windows that begin at each cell. axis: 2 or 3.
    """
    if axis == 3:
        return torch.maximum(maxima, F.pad(maxima, (0, side), value=-torch.inf)[..., side:])
    next_windows = F.pad(maxima, (0, 0, 0, side), value=-torch.inf)[:, :, side:]
    return torch.maximum(maxima, next_windows)


def _covering_windows(
    starts: Tensor, ends: Tensor, bins: int, scale: float, cells: int, levels: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Two windows that together cover each bin along one axis.

    Args:
        starts, ends: [R], coordinates of the RoIs in input pixels. cells: length of the map.
    Returns:
        First cells of the first and of the second window, and the level of both; [R, P] each. For
        an empty bin the second window begins before the first.
    """
    first, last = _to_cells(starts * scale), _to_cells(ends * scale)
    step = ((last - first + 1).clamp(min=1) / bins).unsqueeze(1)
    edges = torch.arange(bins + 1, dtype=torch.float32)
    low = (torch.floor(edges[:-1] * step) + first.unsqueeze(1)).clamp(0, cells).long()
    high = (torch.ceil(edges[1:] * step) + first.unsqueeze(1)).clamp(0, cells).long()
    length = high - low
    level = torch.zeros_like(length)
    for power in range(1, levels + 1):
        level = level + (length >= 2**power).long()
    widths = torch.tensor([2**power for power in range(levels + 1)])
    begin = low.clamp(max=cells - 1)
    second = torch.where(length > 0, high - widths[level], begin - 1)
    return begin, second, level


def _to_cells(scaled: Tensor) -> Tensor:
    """Positions rounded half away from zero."""
    size = scaled.abs()
    whole = torch.floor(size)
    return torch.sign(scaled) * (whole + (size - whole >= 0.5).float())
