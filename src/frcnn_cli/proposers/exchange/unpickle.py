"""Reading pickles of numpy arrays; see `runtime.pickles`, which runs no code of theirs.

A pickle may hold numbers, strings, lists, tuples, dicts, and the few functions that numpy's arrays
need, each of which is replaced by one here that checks what it is given.
"""

from __future__ import annotations

import re
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, reason
from ...runtime import pickles
from ...runtime.pickles import Functions, PickleError, Unfinished

_DTYPE = re.compile(r"[<>|=]?[biufSU]\d{1,9}")
_BYTE_ORDERS = ("<", ">", "|", "=")


def _ndarray(*arguments: object) -> None:
    """In place of numpy.ndarray, which would allocate an array of any size."""
    raise PickleError("it calls numpy.ndarray")


def _reconstruct(*arguments: object) -> Unfinished:
    """An array of which the next instruction gives the content."""
    return Unfinished(_array)


def _array(state: tuple[Any, ...]) -> NDArray[Any]:
    shape, dtype, by_columns, data = state[-4:]
    if isinstance(data, str):  # a byte string of Python 2
        data = data.encode("latin1")
    return _frombuffer(data, dtype, shape, "F" if by_columns else "C")


def _frombuffer(data: Any, dtype: Any, shape: tuple[int, ...], order: str = "C") -> NDArray[Any]:
    if not isinstance(data, bytes | bytearray) or not isinstance(dtype, np.dtype):
        raise PickleError("the content of an array is not of bytes")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if order == "F" else "C")


def _dtype(code: Any, *_: object) -> Unfinished:
    if not isinstance(code, str) or not _DTYPE.fullmatch(code):
        raise PickleError(f"it holds an array of type {code!r:.20}")
    dtype = np.dtype(code)

    def with_byte_order(state: tuple[Any, ...]) -> np.dtype[Any]:
        if state[1] not in _BYTE_ORDERS:
            raise PickleError("it holds an array of no known byte order")
        return dtype.newbyteorder(state[1])

    return Unfinished(with_byte_order, dtype)


def _scalar(dtype: Any, value: Any) -> Any:
    return _frombuffer(value.encode("latin1") if isinstance(value, str) else value, dtype, (1,))[0]


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """The byte string of a text, as protocols 0 to 2 write byte strings."""
    if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
        raise PickleError(f"it holds a string in {encoding!r:.20}")
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    """An empty byte string, as protocols 0 to 2 write it; an argument could ask for any length."""
    return b""


_FUNCTIONS: Functions = {
    "numpy.ndarray": _ndarray,
    "numpy.dtype": _dtype,
    "_codecs.encode": _encode,
    "__builtin__.bytes": _empty_bytes,
    **{
        f"{core}.{name}": function
        for core in ("numpy.core", "numpy._core")
        for name, function in (
            ("multiarray._reconstruct", _reconstruct),
            ("multiarray.scalar", _scalar),
            ("numeric._frombuffer", _frombuffer),
        )
    },
}


def load(file: BinaryIO, size: int, name: str) -> Any:
    """Read a pickle of numbers, strings, containers and numpy arrays.

    Args:
        size: of the file in bytes. name: of the file, for messages.
    Raises:
        DataError: the pickle holds anything else, or is damaged.
    """
    try:
        return pickles.load(file, size, _FUNCTIONS)
    except Exception as error:  # a hostile pickle can make nearly every error happen
        raise DataError(
            f"{name} is not a pickle of numpy arrays alone: {reason(error)}",
            "none of its code was run; convert it to .npz with the program that wrote it",
        ) from None
