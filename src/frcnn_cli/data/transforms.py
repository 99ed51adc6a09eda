"""Resizing and normalising images: the same for training and detection."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..ops.resize import resize_bilinear
from ..runtime.device import upload
from ..structures import PixelStatistics


def resize_factor(size: tuple[int, int], short_side: int, max_side: int) -> float:
    """The factor that brings the shorter side of an image to `short_side`, or to less, so that the
    longer side is at most `max_side` (Fast R-CNN, section 5.2).

    Args:
        size: (height, width), pixels. short_side, max_side: pixels.
    """
    return min(short_side / min(size), max_side / max(size))


def resized_size(size: tuple[int, int], factor: float) -> tuple[int, int]:
    """(height, width) after `resize`; no side falls below one pixel."""
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def resize(image: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """The image [H, W, 3], bilinearly resized by `factor`."""
    return resize_bilinear(image, resized_size(image.shape[:2], factor))


class Normalizer:
    """Normalises batches of images, (pixel - mean) / std, on the device of the network.

    Batches travel to the device as uint8, in a quarter of the bytes of float32.

    Args:
        pixels: mean and standard deviation of each channel. device: where the result is.
    """

    def __init__(self, pixels: PixelStatistics, device: torch.device) -> None:
        self._device = device
        self._mean, self._std = (
            torch.tensor(each).to(device) for each in (pixels.mean, pixels.std)
        )

    def __call__(self, images: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """Normalise images, and make their padding zero, which is the mean colour.

        Args:
            images: uint8 [B, 3, H, W]. sizes: (height, width) of each image without its padding.
        Returns:
            float32 [B, 3, H, W], channels-last in memory.
        """
        normalised = upload(images, self._device).to(
            torch.float32, memory_format=torch.channels_last
        )
        width = images.shape[3]
        rows = normalised.permute(0, 2, 3, 1).view(-1, 3 * width)  # long rows, for the vector units
        rows.sub_(self._mean.repeat(width)).div_(self._std.repeat(width))
        for image, (height, width) in zip(normalised, sizes, strict=True):
            image[:, height:] = 0
            image[:, :, width:] = 0
        return normalised
