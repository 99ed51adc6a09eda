"""Reading text that others wrote: bounded, parsed without running anything, errors in one line."""

from __future__ import annotations

import json
import math
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import DataError, reason

MAX_JSON_BYTES = 2**30  # COCO's largest file of annotations has 450 MB
MAX_TEXT_BYTES = 2**28
_MAX_NUMBER = 1e9


def read_text(path: Path, hint: str, limit: int = MAX_TEXT_BYTES) -> str:
    """The content of a UTF-8 file.

    Raises:
        DataError: it cannot be read, is no text or has more than `limit` bytes.
    """
    try:
        size = path.stat().st_size
        if size > limit:
            raise DataError(f"{path} has {size} bytes; expected at most {limit}", hint)
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, a NUL in the path
        raise DataError(f"cannot read {path}: {reason(error)}", hint) from None


def read_json(path: Path, hint: str) -> Any:
    """The value in a JSON file.

    Raises:
        DataError: see `read_text`; or not JSON, cut off, or nested too deeply.
    """
    text = read_text(path, hint, MAX_JSON_BYTES)
    try:
        return json.loads(text)
    except RecursionError:
        raise DataError(f"{path} is nested too deeply", hint) from None
    except ValueError as error:
        kind = "is cut off" if _is_cut(error, text) else "is not JSON"
        raise DataError(f"{path} {kind}: {reason(error)}", hint) from None


def _is_cut(error: ValueError, text: str) -> bool:
    """Whether the text is JSON but for its end, which is missing."""
    if not isinstance(error, json.JSONDecodeError) or not text.strip():
        return False
    return error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")


def number(value: object) -> float:
    """A JSON number; NaN for anything else, and for numbers that no coordinate has."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value) if abs(value) <= _MAX_NUMBER else math.nan


def numbers(value: object, count: int) -> list[float] | None:
    """A JSON list of `count` numbers, or None."""
    if not isinstance(value, list) or len(value) != count:
        return None
    found = [number(each) for each in value]
    return None if any(math.isnan(each) for each in found) else found


def is_inside(name: str) -> bool:
    """Whether a relative path, with / or \\, stays in its folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    return bool(name.strip()) and not (
        path.is_absolute() or ".." in path.parts or "\0" in name or name[1:2] == ":"
    )
