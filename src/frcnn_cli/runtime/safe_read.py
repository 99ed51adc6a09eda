"""Reads files of other programs: limited in size, parsed without running code from them, and with
every failure as a DataError."""

from __future__ import annotations

import codecs
import errno
import json
import math
import os
import stat
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import DataError, reason

MAX_JSON_BYTES = 2**30  # COCO's largest file of annotations has 450 MB
MAX_TEXT_BYTES = 2**28
_MAX_NUMBER = 1e9  # more than any coordinate or area
_CHUNK = 2**16
LFS_POINTER = "version https://git-lfs"  # the beginning of what Git LFS has in the place of a file
# and the encodings of texts that begin so, the longer ones first, since some begin with others
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_FREE_CONTAINERS, _BYTES_PER_CONTAINER = 100_000, 8  # of JSON; a box [0,0,9,9] has nine letters


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading.

    Raises:
        OSError: it cannot be opened, or is no regular file: a pipe could make a reader wait for
            ever, and a device such as /dev/zero has no end.
        ValueError: there is a NUL in the path.
    """
    # without O_NONBLOCK, opening a pipe waits for somebody who writes to it
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    handle = os.open(path, flags | getattr(os, "O_BINARY", 0))
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError("it is a pipe or a device, not a regular file")
    return open(handle, "rb")


def read_bytes(path: Path, hint: str, limit: int) -> bytes:
    """The content of a regular file.

    Args:
        hint: what the user can do about an error. limit: largest size, in bytes.
    Raises:
        DataError: the file cannot be read, is not a regular one, is larger than `limit`, or only a
            pointer of Git LFS.
    """
    content = b""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size  # 0 for files in /proc
            while size <= limit and (chunk := file.read(size + _CHUNK)):
                content += chunk
                size = len(content)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {reason(error)}", hint) from None
    if size > limit:
        raise DataError(f"{path} is too large: expected at most {limit} bytes", hint)
    if content.startswith(LFS_POINTER.encode()):
        raise DataError(f"{path} is a Git LFS pointer, not the file", "fetch it with git lfs pull")
    return content


def read_text(path: Path, hint: str, limit: int = MAX_TEXT_BYTES) -> str:
    """The content of a text file with every line ending as \\n.

    It is in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.

    Args:
        hint, limit: see `read_bytes`.
    Raises:
        DataError: see `read_bytes`; or the file is in no such encoding.
    """
    return _text(path, read_bytes(path, hint, limit), hint)


def read_beginning(path: Path, size: int) -> str:
    """The text in the first `size` bytes of a file, in the encodings of `read_text`.

    Letters that cannot be decoded are replaced. Empty where the file cannot be read.
    """
    try:
        with open_regular(path) as file:
            content = file.read(size)
    except (OSError, ValueError):
        return ""
    return content.decode(_encoding(content), "replace")


def _encoding(content: bytes) -> str:
    """The encoding that a byte order mark at the beginning tells; else UTF-8."""
    marked = (name for mark, name in BYTE_ORDER_MARKS if content.startswith(mark))
    return next(marked, "utf-8")


def _text(path: Path, content: bytes, hint: str) -> str:
    try:
        text = content.decode(_encoding(content))
    except UnicodeDecodeError as error:
        hint = hint if "UTF-8" in hint else "save it in UTF-8"
        raise DataError(f"cannot read {path}: {reason(error)}", hint) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Path, hint: str) -> Any:
    """The value in a JSON file.

    Args:
        hint: see `read_bytes`.
    Raises:
        DataError: see `read_bytes` and `parse_json`.
    """
    return parse_json(path, read_bytes(path, hint, MAX_JSON_BYTES), hint)


def parse_json(path: Path, content: bytes, hint: str) -> Any:
    """The value in the content of a JSON file.

    Args:
        path, hint: for the error; see `read_bytes`.
    Raises:
        DataError: it is not UTF-8 or JSON, is cut off or nested too deeply, or would take far more
            memory than the file: an empty list of two letters takes 64 bytes.
    """
    containers = content.count(b"{") + content.count(b"[")
    if containers > _FREE_CONTAINERS + len(content) // _BYTES_PER_CONTAINER:
        raise DataError(f"{path} holds little but brackets", hint)
    text = _text(path, content, hint)
    try:
        return json.loads(text)
    except RecursionError:
        raise DataError(f"{path} is nested too deeply", hint) from None
    except ValueError as error:
        problem = "is cut off" if _is_cut(error, text) else "is not JSON"
        raise DataError(f"{path} {problem}: {reason(error)}", hint) from None


def _is_cut(error: ValueError, text: str) -> bool:
    """Whether the text may be the beginning of valid JSON."""
    if not isinstance(error, json.JSONDecodeError) or not text.strip():
        return False
    return error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")


def number(value: object) -> float:
    """A JSON number as a float; NaN for other values, and for numbers above _MAX_NUMBER."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value) if abs(value) <= _MAX_NUMBER else math.nan


def numbers(value: object, count: int) -> list[float] | None:
    """A JSON list of `count` numbers as floats; None for any other value."""
    if not isinstance(value, list) or len(value) != count:
        return None
    values = [number(each) for each in value]
    return None if any(math.isnan(each) for each in values) else values


def is_inside(name: str) -> bool:
    """Whether a path, written with / or \\, is relative and stays in its folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    return bool(name.strip()) and not (
        path.is_absolute() or ".." in path.parts or "\0" in name or name[1:2] == ":"
    )
