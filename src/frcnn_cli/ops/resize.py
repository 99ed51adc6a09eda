"""Bilinear resizing of images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_LARGE_PIXELS = 2**24  # an image with more is resized in strips
_STRIP_PIXELS = 2**20


def resize_bilinear(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize an image with Pillow.

    Pillow takes a copy of 4 bytes a pixel. Of a large image, strips are resized along the rows, and
    what they give along the columns, which is how Pillow resizes the whole; it begins with the
    columns where the image is more than about twice as high as wide.

    Args:
        image: [H, W, 3]. size: (height, width) of the result.
    Returns:
        [height, width, 3].
    """
    if image.shape[0] * image.shape[1] <= _LARGE_PIXELS:
        return _resized(image, *size)
    if image.shape[0] > 2 * image.shape[1]:
        turned = _resized_in_strips(image.transpose(1, 0, 2), size[::-1])
        return np.ascontiguousarray(turned.transpose(1, 0, 2))
    return _resized_in_strips(image, size)


def _resized_in_strips(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    height, width = size
    rows = max(1, _STRIP_PIXELS // image.shape[1])
    narrow = np.empty((len(image), width, 3), np.uint8)
    for top in range(0, len(image), rows):
        strip = image[top : top + rows]
        narrow[top : top + rows] = _resized(strip, len(strip), width)
    return _resized(narrow, height, width)


def _resized(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized)
