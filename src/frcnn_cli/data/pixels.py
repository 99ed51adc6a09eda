"""The pixels of an opened image as uint8 RGB [H, W, 3], oriented as a viewer shows them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import ImageError

__all__ = ["bits_in_use", "read_orientation", "strips", "upright"]

_EXIF_ORIENTATION = 0x0112
# EXIF orientation -> the view of a stored image, [H, W, 3], that is upright
_UPRIGHT_VIEWS: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: stored.transpose(1, 0, 2)[:, ::-1],
    7: lambda stored: stored.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda stored: stored.transpose(1, 0, 2)[::-1],
}
_DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
_DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras and scanners use of 16
_MAX_NEGATIVE = 0.01  # of the maximum; resampling of positive values may leave so much
_STRIP_PIXELS = 2**20  # that are converted at once
_LARGE_PIXELS = 2**24  # from here on, memory is worth more than time
# Pillow's modes of four bytes a pixel, and the formats that decode into memory that is there.
_WIDE_MODES = ("RGB", "RGBA", "CMYK", "YCbCr", "LA", "I", "F")
_WIDE_FORMATS = ("JPEG", "MPO", "PNG", "TIFF")


def upright(image: Image.Image, name: str, consume: bool = False) -> NDArray[np.uint8]:
    """Decode an opened image: EXIF orientation applied, alpha over white, 16 bits to 8.

    A large image may be returned as a view of memory in another order.

    Args:
        name: for messages.
        consume: the image is not needed any more. A large one then takes 4 bytes a pixel while it
            is decoded, and not 7, unless its format or mode is a rare one.
    Returns:
        uint8 RGB [H, W, 3].
    Raises:
        ImageError: it has negative values, or colours of 16 bits of which few are used.
        OSError: Pillow cannot decode it; other exceptions of Pillow, see `images`.
    """
    is_deep = any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    is_large = image.width * image.height > _LARGE_PIXELS
    memory = _load(image) if is_large and consume else None
    image.load()  # removes the orientation of a TIFF that it turns upright
    orientation = read_orientation(image)
    shape = (image.height, image.width, 3)
    if memory is None:
        stored = np.empty(shape, np.uint8)
        _convert(image, name, stored)
    else:
        size = image.height * image.width * 3
        _convert(image, name, memory[:size].reshape(shape))
        image.im = Image.new("L", (1, 1)).im  # it must not look at memory that is given back
        memory.resize(size, refcheck=False)
        stored = memory.reshape(shape)
    if is_deep and image.mode not in _DEEP_MODES:  # Pillow keeps the upper 8 of 16 bits of a colour
        highest = int(stored.max(initial=0))
        if highest < 16:
            raise ImageError(
                f"{name} has colours of 16 bits and uses 12 or fewer of them", "save it with 8 bits"
            )
        if highest < 64:  # 14 bits in use
            np.left_shift(stored, 2, out=stored)
    pixels = _UPRIGHT_VIEWS[orientation](stored) if orientation in _UPRIGHT_VIEWS else stored
    return pixels if is_large else np.ascontiguousarray(pixels)


def _load(image: Image.Image) -> NDArray[np.uint8] | None:
    """Decode an image into memory of our own, 4 bytes a pixel; None if Pillow has to provide it.

    Pillow's memory cannot be given back in parts, so that converted pixels would need room beside
    it. In this memory they are written over those that they were made from.
    """
    is_decoded = not getattr(image, "tile", None)
    if is_decoded or image.format not in _WIDE_FORMATS or image.mode not in _WIDE_MODES:
        return None
    if image.format == "TIFF" and read_orientation(image) != 1:
        return None  # Pillow turns it upright, in memory of its own
    memory = np.zeros(4 * image.width * image.height, np.uint8)
    image.im = mapped = Image.core.map_buffer(  # type: ignore[attr-defined]
        memory, image.size, "raw", 0, (image.mode, 0, 1)
    )
    image.load()
    return memory if image.im is mapped else None


def _convert(image: Image.Image, name: str, out: NDArray[np.uint8]) -> None:
    """Write the pixels of a decoded image as RGB, [H, W, 3]; `out` may lie over the image's own,
    if those have four bytes each."""
    convert = _stretching(image, name) if image.mode in _DEEP_MODES else _to_rgb
    for top, strip in strips(image):
        out[top : top + strip.height] = convert(strip)


def strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The first row, and the rows from it on, of each part of an image; converting the whole at
    once would take several times its memory."""
    rows = max(1, _STRIP_PIXELS // max(1, image.width))
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def read_orientation(file: Image.Image) -> int:
    """The EXIF orientation, 1..8; 1 where EXIF has none or is damaged."""
    try:
        orientation = file.getexif().get(_EXIF_ORIENTATION, 1)
    except (OSError, ValueError, SyntaxError, KeyError, TypeError, IndexError, struct.error):
        return 1
    return orientation if orientation in range(1, 9) else 1


def bits_in_use(maximum: float) -> int:
    """The number of bits, 8, 10, 12, 14 or 16, that hold 0 to `maximum`."""
    return next((bits for bits in _DEPTHS if maximum < 2**bits), _DEPTHS[-1])


def _stretching(image: Image.Image, name: str) -> Callable[[Image.Image], NDArray[np.uint8]]:
    """The function that maps strips of an image of one deep channel to 0..255, [h, W, 1].

    Values of 16 bits are divided by the most that the bits in use can hold, floating-point and
    32-bit ones by their maximum.

    Raises:
        ImageError: values are negative, as Hounsfield units are.
    """
    highest = lowest = 0.0
    for _, strip in strips(image):
        values = _finite(strip)
        highest = max(highest, float(values.max(initial=0)))
        lowest = min(lowest, float(values.min(initial=0)))
    if lowest < -_MAX_NEGATIVE * max(highest, 0):
        raise ImageError(
            f"{name} has negative values ({lowest:g} to {highest:g}), as Hounsfield units are",
            "map the values of interest to 0..255 (a window) and save it with 8 bits",
        )
    is_sixteen_bits = image.mode.startswith("I;16")
    top = 2.0 ** bits_in_use(highest) - 1 if is_sixteen_bits else max(highest, 1.0)

    def stretch(strip: Image.Image) -> NDArray[np.uint8]:
        grey = np.clip(_finite(strip) * (255.0 / top), 0, 255).astype(np.uint8)
        return grey[..., None]

    return stretch


def _finite(strip: Image.Image) -> NDArray[np.float32]:
    return np.nan_to_num(np.asarray(strip, dtype=np.float32), posinf=0.0, neginf=0.0)


def _to_rgb(strip: Image.Image) -> NDArray[np.uint8]:
    """The pixels of an image as RGB, [h, W, 3]."""
    if strip.mode in ("RGBA", "LA", "PA") or "transparency" in strip.info:
        rgba = strip.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        strip = Image.alpha_composite(white, rgba)
    return np.asarray(strip.convert("RGB"))
