"""Writes a large JPEG from strips of it, so that it need not be in memory as a whole."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

# Without subsampling of the colours, which would blur the lines of the boxes.
JPEG_OPTIONS: dict[str, Any] = {"quality": 92, "subsampling": 0}
_STRIP_PIXELS = 2**20
_BLOCK = 8  # pixels; the side of what is encoded at once where colours are not subsampled
_MAX_INTERVAL = 2**16 - 1  # blocks between two restart markers
_FRAME, _SCAN, _END = 0xC0, 0xDA, b"\xff\xd9"  # markers


def strip_rows(width: int) -> int:
    """The rows of each strip that `save_strips` takes of an image of this width."""
    across = -(-width // _BLOCK)
    return _BLOCK * max(1, min(_STRIP_PIXELS // (_BLOCK * width), _MAX_INTERVAL // across))


def save_strips(path: Path, strips: Iterable[Image.Image], size: tuple[int, int]) -> None:
    """Write strips as one JPEG, with the pixels that their whole would have.

    Each strip is encoded by itself, and a restart marker stands between the data of two.

    Args:
        strips: from the top, RGB, of `strip_rows` rows, the last one of the rest.
        size: (height, width) of the whole.
    Raises:
        OSError: the file cannot be written.
    """
    height, width = size
    interval = strip_rows(width) // _BLOCK * -(-width // _BLOCK)
    with path.open("wb") as file:
        for number, strip in enumerate(strips):
            encoded = io.BytesIO()
            strip.save(encoded, format="JPEG", **JPEG_OPTIONS)
            header, data = _split(encoded.getvalue(), height, interval)
            file.write(bytes([0xFF, 0xD0 + (number - 1) % 8]) if number else header)
            file.write(data)
        file.write(_END)


def _split(jpeg: bytes, height: int, interval: int) -> tuple[bytes, bytes]:
    """The header of a JPEG, for this height and restart interval, and its data."""
    header, at = bytearray(jpeg), 2
    while jpeg[at + 1] != _SCAN:
        if jpeg[at + 1] == _FRAME:
            header[at + 5 : at + 7] = height.to_bytes(2, "big")
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    restart = b"\xff\xdd\x00\x04" + interval.to_bytes(2, "big")
    return bytes(header[:at]) + restart + jpeg[at:end], jpeg[end : -len(_END)]
