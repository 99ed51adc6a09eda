"""Warping of regions to squares of one size (R-CNN, Girshick et al. 2014, appendix A)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def warp_regions(images: Tensor, rois: Tensor, side: int, context: int) -> Tensor:
    """Cut every RoI out of its image with some context, and warp it to a square.

    The RoI itself becomes side - 2 * context pixels wide and high, whatever its shape, and the
    context around it is scaled alike. Pixels are interpolated bilinearly, without smoothing before
    large ones are made smaller, as in the original. What is outside of the image is zero, which is
    the mean colour of normalised images.

    Args:
        images: [B, C, H, W]. rois: [R, 5], (image, x1, y1, x2, y2) in pixels of the images.
        side: pixels of the square. context: pixels of context on each side of it.
    Returns:
        [R, C, side, side], channels-last in memory; differentiable in `images`.
    """
    if len(images) == 1:  # also while exporting, where R is not known
        return _warp_from_image(images, rois[:, 1:], side, context)
    rows = [(rois[:, 0] == image).nonzero().squeeze(1) for image in range(len(images))]
    crops = [
        _warp_from_image(images[image : image + 1], rois[own, 1:], side, context)
        for image, own in enumerate(rows)
    ]
    return torch.cat(crops)[torch.cat(rows).argsort()]


def _warp_from_image(image: Tensor, boxes: Tensor, side: int, context: int) -> Tensor:
    """The boxes [R, 4] of one image [1, C, H, W], warped to [R, C, side, side]."""
    height, width = image.shape[2:]
    # centres of the square's pixels, as fractions of the RoI: below 0 and above 1 is context
    centres = torch.arange(side, device=boxes.device) + 0.5 - context
    fractions = centres / (side - 2 * context)
    corners, sizes = boxes[:, :2, None], (boxes[:, 2:] - boxes[:, :2])[:, :, None]
    positions = corners + fractions * sizes  # [R, 2, side], x and y in pixels
    extent = boxes.new_tensor([width, height])[:, None]
    x, y = (2 * positions / extent - 1).unbind(dim=1)  # -1 and 1 are the edges of the image
    count = boxes.shape[0]
    grid = torch.stack(
        [x[:, None].expand(count, side, side), y[:, :, None].expand(count, side, side)], dim=3
    )
    # all squares below each other, in one image
    stacked = F.grid_sample(
        image, grid.reshape(1, count * side, side, 2), "bilinear", "zeros", align_corners=False
    )
    squares = stacked.view(image.shape[1], count, side, side).transpose(0, 1)
    return squares.contiguous(memory_format=torch.channels_last)
