"""Reading pictures: whatever arrives becomes [H, W, 3] RGB in the orientation a viewer shows."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ..errors import ImageError, reason

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm"})
# The formats that are tried, by content; Pillow knows many more, rarely used and less tested.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
_EXIF_ORIENTATION = 0x0112
_TURNS = {
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
    """The content of a file.

    Raises:
        ImageError: it does not exist or cannot be read.
    """
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ImageError(f"cannot read {path}: {reason(error)}", "check the path") from None


@contextmanager
def _explained(name: object) -> Iterator[None]:
    """Turn whatever Pillow raises within the block into an ImageError."""
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
    """Decode a picture: first frame, EXIF orientation applied, alpha over white, 16 bits to 8.

    Args:
        content: the bytes of the file. name: for messages.
    Returns:
        [H, W, 3].
    Raises:
        ImageError: not a picture, cut off, or too large to be meant.
    """
    with _explained(name), Image.open(io.BytesIO(content), formats=FORMATS) as file:
        return _upright(file)


def from_memory(picture: Image.Image | NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """A picture of Pillow, or an array [H, W], [H, W, 3] (RGB) or [H, W, 4], as `decode` gives it.

    Raises:
        ImageError: the array is of another type or shape, or the picture cannot be read.
    """
    if not isinstance(picture, Image.Image):
        array = np.asarray(picture)
        shape = array.shape[2:]
        if array.dtype != np.uint8 or array.ndim not in (2, 3) or shape not in ((), (3,), (4,)):
            raise ImageError(
                f"{name}: an array of type {array.dtype} and shape {array.shape} is no picture",
                "expected uint8 [height, width, 3], RGB",
            )
        if not array.size:
            raise ImageError(f"{name} has no pixels", "expected uint8 [height, width, 3], RGB")
        if shape == (3,):
            return np.ascontiguousarray(array)
        picture = Image.fromarray(array)
    with _explained(name):
        return _upright(picture)


def _upright(file: Image.Image) -> NDArray[np.uint8]:
    file.load()  # turns a TIFF by itself, and forgets its orientation
    turn = _TURNS.get(_orientation(file))
    return np.asarray(_to_rgb(file if turn is None else file.transpose(turn)))


def layout(path: Path) -> tuple[tuple[int, int], int]:
    """How a file holds its picture, from its header alone.

    Returns:
        The (height, width) as stored, and the EXIF orientation: 1 upright, 5 to 8 with sides
        swapped.
    Raises:
        ImageError: not a picture.
    """
    with _explained(path), Image.open(path, formats=FORMATS) as file:
        orientation = _orientation(file)
        size = (file.height, file.width)
        # Pillow gives the size of a TIFF as it will be shown
        return size[::-1] if file.format == "TIFF" and orientation >= 5 else size, orientation


def _orientation(file: Image.Image) -> int:
    """The EXIF orientation, 1..8; 1 where there is none or EXIF is damaged."""
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
