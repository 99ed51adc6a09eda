"""Decoding images of any format to uint8 RGB [H, W, 3], oriented as a viewer shows them."""

from __future__ import annotations

import io
import os
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ..errors import DataError, ImageError, Notice, reason
from ..runtime import safe_read
from .file_types import HEAD_BYTES, SUFFIXES, describe_other, formats_for, install_hint

__all__ = [
    "SUFFIXES",
    "Header",
    "ImageWarning",
    "Layout",
    "bits_in_use",
    "decode",
    "decode_cut",
    "from_memory",
    "read_bytes",
    "read_depth",
    "read_header",
    "read_layout",
]

MAX_FILE_BYTES = 2**32  # more than any image of MAX_PIXELS has
# A file of 20 KB may hold so many pixels of one colour; decoding takes 7 bytes for each.
MAX_PIXELS = 2**26
_EXIF_ORIENTATION = 0x0112
# of pictures that are not read, for messages
_UNREAD_ENDINGS = (".jp2", ".heic", ".heif", ".avif", ".svg", ".psd", ".dcm", ".dng", ".nef")
# EXIF orientation -> the view of an upright image, [H, W, 3], in which the stored one is written
_STORED_VIEWS: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: upright[:, ::-1].transpose(1, 0, 2),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: upright[::-1].transpose(1, 0, 2),
}
_DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
_DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras and scanners use of 16
_MAX_NEGATIVE = 0.01  # of the maximum; resampling of positive values may leave so much
_STRIP_PIXELS = 2**20  # that are converted at once
_MCU_ROWS = 16  # rows of pixels that a JPEG stores together, at most
_JPEG_END = b"\xff\xd9"


class ImageWarning(Notice):
    """An image could be read, but not as a whole."""


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
def _image_errors(name: object, head: bytes) -> Iterator[None]:
    """Turn every exception that Pillow raises for a bad file into an ImageError.

    Args:
        head: the first bytes of the file, which tell what it is if it is no image.
    """
    try:
        yield
    except UnidentifiedImageError:
        problem, hint = describe_other(head)
        raise ImageError(f"{name} {problem}", hint) from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} is too large: {error}", "scale it down first") from None
    except FileNotFoundError:
        raise ImageError(f"no such file: {name}", _advise_missing(Path(str(name)))) from None
    except (OSError, ValueError, SyntaxError, EOFError, NotImplementedError) as error:
        hint = "copy or download the file again"
        raise ImageError(f"{name} is damaged: {reason(error)}", hint) from None


def _advise_missing(path: Path) -> str:
    """What to do about a file that is not there."""
    others = (path.with_suffix(ending) for ending in _UNREAD_ENDINGS if path.name)
    other = next((each for each in others if os.path.isfile(each)), None)
    if other is None:
        return "check the path"
    advice = install_hint(other.suffix) or "convert them to JPEG or PNG"
    return f"there are {other.suffix} files of these names: {advice}"


def decode(content: bytes, name: str) -> NDArray[np.uint8]:
    """Decode an image: first frame, EXIF orientation applied, alpha over white, 16 bits to 8.

    A JPEG that lacks only its last bytes is decoded with an `ImageWarning`.

    Args:
        content: the bytes of the file. name: for messages.
    Returns:
        uint8 RGB [H, W, 3].
    Raises:
        ImageError: not an image, cut off, of more than MAX_PIXELS, or with
            negative values.
    """
    pixels, is_cut = decode_cut(content, name)
    if is_cut:
        warnings.warn(f"{name} lacks its last bytes", ImageWarning, stacklevel=2)
    return pixels


def decode_cut(content: bytes, name: str) -> tuple[NDArray[np.uint8], bool]:
    """`decode` without the warning; returns the image, and whether it lacks its last bytes."""
    head = content[:HEAD_BYTES]
    formats = formats_for(head)
    with _image_errors(name, head), Image.open(io.BytesIO(content), formats=formats) as file:
        _check_size(file, name)
        try:
            return _upright(file, name), False
        except OSError:
            is_jpeg = file.format in ("JPEG", "MPO")
            pixels = _decode_almost_whole(content, name) if is_jpeg else None
            if pixels is None:
                raise
            return pixels, True


def _decode_almost_whole(content: bytes, name: str) -> NDArray[np.uint8] | None:
    """Decode a JPEG of which at most the last rows are missing; None if it lacks more.

    With an end marker behind the bytes that there are, libjpeg paints what is missing grey. In a
    progressive file nobody can tell how much is missing.
    """
    with Image.open(io.BytesIO(content + _JPEG_END), formats=("JPEG",)) as file:
        if "progressive" in file.info:
            return None
        stored = np.asarray(file).reshape(file.height, -1)
        painted = (stored == 128).all(axis=1)[::-1]
        missing = file.height if painted.all() else int(np.argmin(painted))
        return _upright(file, name) if missing <= _MCU_ROWS else None


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
    with _image_errors(name, b""):
        return _upright(image, name)


def _check_size(file: Image.Image, name: object) -> None:
    """Raise an ImageError for more than MAX_PIXELS."""
    if file.width * file.height > MAX_PIXELS:
        raise ImageError(
            f"{name} is too large: {file.width}×{file.height} are more than {MAX_PIXELS:,} pixels",
            "scale it down, or cut it into tiles",
        )


def _upright(image: Image.Image, name: str) -> NDArray[np.uint8]:
    is_deep = any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    image.load()  # turns a TIFF upright, and then removes its orientation
    orientation = _orientation(image)
    size = (image.height, image.width)
    pixels = np.empty((*(size[::-1] if orientation >= 5 else size), 3), np.uint8)
    stored = _STORED_VIEWS[orientation](pixels) if orientation in _STORED_VIEWS else pixels
    convert = _stretching(image, name) if image.mode in _DEEP_MODES else _to_rgb
    for top, strip in _strips(image):
        stored[top : top + strip.height] = convert(strip)
    if is_deep and image.mode not in _DEEP_MODES and pixels.max(initial=0) < 16:
        # Pillow keeps the upper 8 of 16 bits of a colour
        raise ImageError(
            f"{name} has colours of 16 bits and uses 12 or fewer of them", "save it with 8 bits"
        )
    return pixels


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The first row, and the rows from it on, of each part of an image; converting the whole at
    once would take several times its memory."""
    rows = max(1, _STRIP_PIXELS // max(1, image.width))
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


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


class Header(NamedTuple):
    """What the first bytes of an image file say."""

    layout: Layout
    format: str  # Pillow's name of it
    mode: str  # Pillow's name of how pixels are stored
    end: int  # least size of the whole file where the header tells it, in bytes; else 0
    has_more_pages: bool = False  # behind the first page or frame, which is the one that is read


def read_layout(path: Path) -> Layout:
    """Size and orientation of an image; reads only the header of its file.

    Raises:
        ImageError: the file does not exist or is not an image.
    """
    return read_header(path).layout


def read_header(path: Path) -> Header:
    """Read the header of an image file.

    Raises:
        ImageError: the file does not exist or is not an image.
    """
    head = b""
    with _image_errors(path, head), safe_read.open_regular(path) as opened:
        head = opened.read(HEAD_BYTES)
        opened.seek(0)
        with _image_errors(path, head), Image.open(opened, formats=formats_for(head)) as file:
            _check_size(file, path)
            layout = Layout((file.height, file.width), _orientation(file))
            end = 0
            if file.format == "TIFF":
                # Pillow gives the displayed size; swapping its sides again gives the stored one.
                layout = layout._replace(stored_size=layout.displayed_size)
                end = _tiff_end(file)
            elif file.format == "WEBP":
                end = 8 + int.from_bytes(head[4:8], "little")
            return Header(layout, file.format or "", file.mode, end, _has_more_pages(file))


def _has_more_pages(file: Image.Image) -> bool:
    try:
        # the other images in an MPO are the same one, smaller or from beside it
        return file.format != "MPO" and bool(getattr(file, "is_animated", False))
    except (OSError, ValueError, SyntaxError, EOFError, struct.error):
        return False  # what is damaged behind the first page does not matter


def _tiff_end(file: Image.Image) -> int:
    """The end of the last strip or tile of a TIFF's pixels; 0 where it does not say."""
    tags = getattr(file, "tag_v2", {})
    for offsets, counts in ((273, 279), (324, 325)):  # strips, tiles
        if tags.get(offsets) and tags.get(counts):
            return max(map(sum, zip(tags[offsets], tags[counts], strict=False)))
    return 0


def _orientation(file: Image.Image) -> int:
    """The EXIF orientation, 1..8; 1 where EXIF has none or is damaged."""
    try:
        orientation = file.getexif().get(_EXIF_ORIENTATION, 1)
    except (OSError, ValueError, SyntaxError, KeyError, TypeError, IndexError, struct.error):
        return 1
    return orientation if orientation in range(1, 9) else 1


def bits_in_use(maximum: float) -> int:
    """The number of bits, 8, 10, 12, 14 or 16, that hold 0 to `maximum`."""
    return next((bits for bits in _DEPTHS if maximum < 2**bits), _DEPTHS[-1])


def read_depth(path: Path) -> int:
    """The number of bits that the values of an image of 16 bits use; see `bits_in_use`.

    Raises:
        ImageError: the file cannot be read.
    """
    with (
        _image_errors(path, b""),
        safe_read.open_regular(path) as opened,
        Image.open(opened, formats=formats_for(b"")) as file,
    ):
        _check_size(file, path)
        return bits_in_use(max(float(np.asarray(strip).max()) for _, strip in _strips(file)))


def _stretching(image: Image.Image, name: str) -> Callable[[Image.Image], NDArray[np.uint8]]:
    """The function that maps strips of an image of one deep channel to 0..255, [h, W, 1].

    Values of 16 bits are divided by the most that the bits in use can hold, floating-point and
    32-bit ones by their maximum.

    Raises:
        ImageError: values are negative, as Hounsfield units are.
    """
    highest = lowest = 0.0
    for _, strip in _strips(image):
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
