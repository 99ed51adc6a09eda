"""Resizing and normalising images: the same for training and detection."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor


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
    height, width = resized_size(image.shape[:2], factor)
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def to_tensor(image: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Normalise an image [H, W, 3] in 0..255 to a float32 tensor [3, H, W], (pixel - mean) / std.

    Args:
        mean, std: three numbers, one for each channel.
    """
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()
    return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
