"""RoI max pooling from the plain tensor operations that ONNX has.

ONNX's own MaxRoiPool rounds otherwise than Caffe, torchvision and `ops.roi_pool`. Here, for every
cell, the maximum over windows of 1, 2, 4, … cells down and across is tabled; the maximum over any
bin is then the largest of four windows that cover it.

C: channels, H×W: feature cells, R: RoIs, P: bins a side.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def levels_for(max_side: int, bins: int, stride: int) -> int:
    """How many doublings of a window the bins of an image need.

    Args:
        max_side: longest side of the image, pixels. bins: P. stride: input pixels per cell.
    """
    cells = math.ceil(max_side / stride) + 1
    return math.ceil(math.log2(cells / bins + 2))


def window_roi_pool(features: Tensor, rois: Tensor, bins: int, scale: float, levels: int) -> Tensor:
    """RoI max pooling of one image, as `ops.roi_pool.roi_pool`, from operations that ONNX has.

    Args:
        features: [1, C, H, W]. rois: [R, 4], input pixels.
        bins: P, a side. scale: cells per input pixel.
        levels: windows of up to 2 ** levels cells a side; bins are less than twice as long.
    Returns:
        [R, P, P, C].
    """
    height, width = features.shape[2], features.shape[3]
    columns = [features]
    for level in range(levels):
        columns.append(_wider(columns[-1], 2**level, 0))
    windows = []
    for column in columns:
        windows.append(column)
        for level in range(levels):
            windows.append(_wider(windows[-1], 2**level, 1))
    table = torch.cat(windows).permute(0, 2, 3, 1).flatten(0, 2)  # [windows * H * W, C]
    y1, y2, y_level = _bin_ends(rois[:, 1], rois[:, 3], bins, scale, height, levels)
    x1, x2, x_level = _bin_ends(rois[:, 0], rois[:, 2], bins, scale, width, levels)
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


def _wider(maxima: Tensor, step: int, across: int) -> Tensor:
    """Maxima over windows twice as long, from those that begin `step` cells further."""
    if across:
        return torch.maximum(maxima, F.pad(maxima, (0, step), value=-torch.inf)[..., step:])
    further = F.pad(maxima, (0, 0, 0, step), value=-torch.inf)[:, :, step:]
    return torch.maximum(maxima, further)


def _bin_ends(
    starts: Tensor, ends: Tensor, bins: int, scale: float, cells: int, levels: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Where the two windows of each bin begin along one axis, and their level; [R, P] each.

    The second begins before the first where the bin is empty.
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
    """Rounded half away from zero."""
    size = scaled.abs()
    whole = torch.floor(size)
    return torch.sign(scaled) * (whole + (size - whole >= 0.5).float())
