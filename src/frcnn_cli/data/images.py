"""Decoding images of any format to uint8 RGB [H, W, 3], oriented as a viewer shows them."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ..errors import DataError, ImageError, reason
from ..runtime import safe_read

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm"})
# Formats that may be decoded, recognised by content; Pillow's others are rarely used and tested.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
MAX_FILE_BYTES = 2**32  # more than any image that Pillow agrees to decode
_EXIF_ORIENTATION = 0x0112
# EXIF orientation -> the operation that makes a stored image upright
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIXTEEN_BIT_MODES = ("I", "I;16", "I;16B", "I;16L", "F")


def read_bytes(path: Path) -> bytes:
    """The content of an image file.

    Raises:
        ImageError: it does not exist, cannot be read or is too large.
    """
    try:
        return safe_read.read_bytes(path, "check the path", MAX_FILE_BYTES)
    except DataError as error:
        raise ImageError(error.message, error.hint) from None


@contextmanager
def _image_errors(name: object) -> Iterator[None]:
    """Turn every exception that Pillow raises for a bad file into an ImageError."""
    try:
        yield
    except UnidentifiedImageError:
        raise ImageError(
            f"{name} is not a picture that can be read",
            "expected JPEG, PNG, WebP, TIFF, BMP or GIF",
        ) from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} is too large: {error}", "scale it down first") from None
    except FileNotFoundError:
        raise ImageError(f"no such file: {name}", "check the path") from None
    except (OSError, ValueError, SyntaxError, EOFError, NotImplementedError) as error:
        hint = "copy or download the file again"
        raise ImageError(f"{name} is damaged: {reason(error)}", hint) from None


def decode(content: bytes, name: str) -> NDArray[np.uint8]:
    """Decode an image: first frame, EXIF orientation applied, alpha over white, 16 bits to 8.

    Args:
        content: the bytes of the file. name: for messages.
    Returns:
        uint8 RGB [H, W, 3].
    Raises:
        ImageError: not an image, cut off, or of more pixels than Pillow agrees to decode.
    """
    with _image_errors(name), Image.open(io.BytesIO(content), formats=FORMATS) as file:
        return _upright(file)


def from_memory(image: Image.Image | NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """Convert a Pillow image or a uint8 array to the form that `decode` returns.

    Args:
        image: an array is [H, W] (grey), [H, W, 3] (RGB) or [H, W, 4] (RGBA). name: for messages.
    Returns:
        uint8 RGB [H, W, 3].
    Raises:
        ImageError: the array has another type or shape or no pixels, or Pillow cannot read the
            image.
    """
    if not isinstance(image, Image.Image):
        array = np.asarray(image)
        channels = array.shape[2:]
        expected = "expected uint8 [height, width, 3], RGB"
        if array.dtype != np.uint8 or array.ndim not in (2, 3) or channels not in ((), (3,), (4,)):
            raise ImageError(
                f"{name}: an array of type {array.dtype} and shape {array.shape} is no picture",
                expected,
            )
        if not array.size:
            raise ImageError(f"{name} has no pixels", expected)
        if channels == (3,):
            return np.ascontiguousarray(array)
        image = Image.fromarray(array)
    with _image_errors(name):
        return _upright(image)


def _upright(image: Image.Image) -> NDArray[np.uint8]:
    image.load()  # turns a TIFF upright, and then removes its orientation
    transposition = _TRANSPOSITIONS.get(_orientation(image))
    return np.asarray(_to_rgb(image if transposition is None else image.transpose(transposition)))


class Layout(NamedTuple):
    """How a file stores its image."""

    stored_size: tuple[int, int]  # (height, width)
    orientation: int  # of EXIF: 1 is upright, 5 to 8 swap height and width

    @property
    def swaps_sides(self) -> bool:
        """Whether the height of the displayed image is the width of the stored one."""
        return self.orientation >= 5

    @property
    def displayed_size(self) -> tuple[int, int]:
        """(height, width) of the image as a viewer shows it."""
        return self.stored_size[::-1] if self.swaps_sides else self.stored_size


def read_layout(path: Path) -> Layout:
    """Size and orientation of an image; reads only the header of its file.

    Raises:
        ImageError: the file does not exist or is not an image.
    """
    with _image_errors(path), Image.open(path, formats=FORMATS) as file:
        layout = Layout((file.height, file.width), _orientation(file))
        # Pillow gives the displayed size of a TIFF; swapping its sides again gives the stored one.
        return (
            layout._replace(stored_size=layout.displayed_size) if file.format == "TIFF" else layout
        )


def _orientation(file: Image.Image) -> int:
    """The EXIF orientation, 1..8; 1 where EXIF has none or is damaged."""
    try:
        orientation = file.getexif().get(_EXIF_ORIENTATION, 1)
    except (OSError, ValueError, SyntaxError, KeyError, TypeError, IndexError, struct.error):
        return 1
    return orientation if orientation in range(1, 9) else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _SIXTEEN_BIT_MODES:
        values = np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=0.0, neginf=0.0)
        # 16-bit files hold 0..65535; floating-point and 32-bit ones are stretched to their maximum
        top = 65535.0 if image.mode.startswith("I;16") else max(float(values.max()), 1.0)
        return Image.fromarray(np.clip(values * (255.0 / top), 0, 255).astype(np.uint8)).convert(
            "RGB"
        )
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")
