"""Decoding images of any format to uint8 RGB [H, W, 3], oriented as a viewer shows them."""

from __future__ import annotations

import io
import math
import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ..errors import DataError, ImageError, Notice, reason
from ..runtime import safe_read
from .file_types import HEAD_BYTES, SUFFIXES, describe_other, formats_for, install_hint
from .jpeg_scans import count_scans
from .pixels import bits_in_use, read_orientation, strips, upright

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
# A file of 20 KB may hold so many pixels of one colour; decoding takes 4 to 7 bytes for each.
MAX_PIXELS = 2**26
_TOO_LARGE = "scale it down, or cut it into tiles"
# What decoding may take, in bytes: as much as 4 for each of MAX_PIXELS; and for larger files, which
# photographs of so many pixels are, a multiple of their size.
_FREE_BYTES, _BYTES_PER_FILE_BYTE = 4 * MAX_PIXELS, 50
# for each pixel, where it is more than 4: measured, HEIF's as AVIF's
_BYTES_PER_PIXEL = {"WEBP": 17, "AVIF": 12, "HEIF": 12, "TIFF": 8}
# of pictures that are not read, for messages
_UNREAD_ENDINGS = (
    ".jp2",
    ".heic",
    ".heif",
    ".avif",
    ".svg",
    ".psd",
    ".dcm",
    ".dng",
    ".nef",
    ".tga",
)
MAX_PIXELS_OF = {"WEBP": 2**25}
MAX_SIDE = 2**17  # of images that are one pixel wide, every row takes as much as hundreds of pixels
_MAX_SCANS = 20  # of a JPEG of MAX_PIXELS; smaller ones may have more
_MCU_ROWS = 16  # rows of pixels that a JPEG stores together, at most
_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"


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
    except Image.DecompressionBombError:  # Pillow's own limit is higher
        raise ImageError(
            f"{name} is too large: it has more than {MAX_PIXELS:,} pixels", _TOO_LARGE
        ) from None
    except FileNotFoundError:
        raise ImageError(f"no such file: {name}", _advise_missing(Path(str(name)))) from None
    except PermissionError as error:
        raise ImageError(
            f"{name} may not be read: {error.strerror}", "mend its permissions"
        ) from None
    except (OSError, ValueError, SyntaxError, EOFError, NotImplementedError) as error:
        hint = "copy or download the file again"
        raise ImageError(f"{name} is damaged: {reason(error)}", hint) from None


def is_missing(path: Path) -> bool:
    """Whether there is no file of that name. A list may have 100,000 such files, and opening each
    would take much longer."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return True
    except (OSError, ValueError):  # opening it tells what is wrong
        pass
    return False


def _advise_missing(path: Path) -> str:
    """What to do about a file that is not there."""
    stem = os.path.splitext(path)[0]  # a list may have 100,000 of them, and Path takes long
    ending = next((each for each in _UNREAD_ENDINGS if os.path.isfile(stem + each)), None)
    if ending is None:
        return "check the path"
    advice = install_hint(ending) or "convert them to JPEG or PNG"
    return f"there are {ending} files of these names: {advice}"


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
    with _image_errors(name, content[:HEAD_BYTES]):
        try:
            return _decode(content, name), False
        except OSError as error:
            failure = error.with_traceback(None)  # which holds the memory of what was decoded
        pixels = _decode_almost_whole(content, name) if content.startswith(_JPEG_START) else None
        if pixels is None:
            raise failure
        return pixels, True


def _decode(content: bytes, name: str) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(content), formats=formats_for(content[:HEAD_BYTES])) as file:
        _check_size(file, name)
        scans = count_scans(content) if file.format in ("JPEG", "MPO") else 1
        _check_scans(scans, file.width * file.height, name)
        _check_memory(file, name, len(content), scans)
        return upright(file, name, consume=True)


def _decode_almost_whole(content: bytes, name: str) -> NDArray[np.uint8] | None:
    """Decode a JPEG of which at most the last rows are missing; None if it lacks more.

    With an end marker behind the bytes that there are, libjpeg paints what is missing grey. In a
    progressive file nobody can tell how much is missing.
    """
    with Image.open(io.BytesIO(content + _JPEG_END), formats=("JPEG",)) as file:
        if "progressive" in file.info:
            return None
        first = max(0, file.height - _MCU_ROWS - 1)
        last_rows = np.asarray(file.crop((0, first, file.width, file.height)))
        painted = int((last_rows == 128).reshape(len(last_rows), -1).all(axis=1).sum())
        return upright(file, name) if painted <= _MCU_ROWS else None


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
        return upright(image, name)


def _check_size(file: Image.Image, name: object) -> None:
    """Raise an ImageError for more pixels than are decoded."""
    if max(file.size) > MAX_SIDE:
        raise ImageError(
            f"{name} is too large: {file.width}×{file.height} has a side of more than "
            f"{MAX_SIDE:,} pixels",
            _TOO_LARGE,
        )
    limit = min(MAX_PIXELS, MAX_PIXELS_OF.get(file.format or "", MAX_PIXELS))
    if file.width * file.height > limit:
        kind = "" if limit == MAX_PIXELS else f" as {file.format}"
        raise ImageError(
            f"{name} is too large: {file.width}×{file.height} are more than {limit:,} pixels{kind}",
            _TOO_LARGE,
        )


def _check_scans(scans: int, pixels: int, name: str) -> None:
    """Raise an ImageError for a JPEG whose scans take minutes; usual ones have at most a dozen."""
    if scans * pixels > _MAX_SCANS * MAX_PIXELS:
        raise ImageError(
            f"{name} is stored in {scans:,} scans of {pixels:,} pixels", "save it again as a JPEG"
        )


def _check_memory(file: Image.Image, name: object, size: int, scans: int) -> None:
    """Raise an ImageError for a picture whose decoding would take far more than its file.

    Args:
        size: of the file, in bytes.
        scans: of a JPEG, as far as they are known; of several, libjpeg keeps all coefficients.
    """
    kind = file.format or ""
    each: float = _BYTES_PER_PIXEL.get(kind, 4)
    if scans > 1 or "progressive" in file.info:
        kind, each = "progressive JPEG", 4 + 2 * _samples(file)
    needed = math.ceil(file.width * file.height * each)
    if needed > max(_FREE_BYTES, _BYTES_PER_FILE_BYTE * size):
        raise ImageError(
            f"{name} is too large: decoding {file.width}×{file.height} pixels of a {kind} takes "
            f"{needed >> 20} MiB, and the file has only {size:,} bytes",
            "save it as a baseline JPEG, which takes less, or scale it down",
        )


def _samples(file: Image.Image) -> float:
    """The number of values of a JPEG for a pixel: 3, or 1.5 with 4:2:0 subsampling."""
    factors: list[tuple[int, int]] = [row[1:3] for row in getattr(file, "layer", ())]
    most = max((x for x, _ in factors), default=1) * max((y for _, y in factors), default=1)
    return sum(x * y for x, y in factors) / max(1, most)


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
    if is_missing(path):
        raise ImageError(f"no such file: {path}", _advise_missing(path))
    head = b""
    with _image_errors(path, head), safe_read.open_regular(path) as opened:
        head = opened.read(HEAD_BYTES)
        opened.seek(0)
        with _image_errors(path, head), Image.open(opened, formats=formats_for(head)) as file:
            _check_size(file, path)
            _check_memory(file, path, os.fstat(opened.fileno()).st_size, scans=1)
            layout = Layout((file.height, file.width), read_orientation(file))
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
        return bits_in_use(max(float(np.asarray(strip).max()) for _, strip in strips(file)))
