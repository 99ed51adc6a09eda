"""Reading pickles of numpy arrays without running the code that a pickle may contain.

A pickle is a program. This reader accepts numbers, strings, lists, tuples, dicts and the few
functions that numpy's arrays need; it stops at any other name before that is imported or called.
"""

from __future__ import annotations

import _codecs
import pickle
from collections.abc import Callable
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, reason


class _Allowed:
    """A function that a pickle may call, but not change."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it changes a function")


def _ndarray(*arguments: object) -> None:
    """In place of numpy.ndarray, which would allocate an array of any size."""
    raise pickle.UnpicklingError("it calls numpy.ndarray")


def _reconstruct(array_type: object, shape: tuple[int, ...], code: bytes) -> NDArray[Any]:
    """An empty array; the next instruction gives its content, which numpy checks."""
    return np.empty(0, np.int8)


def _frombuffer(
    buffer: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], order: str
) -> NDArray[Any]:
    return np.frombuffer(buffer, dtype).reshape(shape, order="F" if order == "F" else "C")


def _dtype(code: object, *_: object) -> np.dtype[Any]:
    # a copy, since the next instruction sets its byte order, and numpy shares its own dtypes
    dtype = np.dtype(str(code), copy=True)
    if dtype.kind not in "biufSU":
        raise pickle.UnpicklingError(f"it holds an array of type {dtype}")
    return dtype


def _scalar(dtype: np.dtype[Any], value: bytes) -> Any:
    return np.frombuffer(value, dtype)[0]


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """The byte string of a text, as protocols 0 to 2 write byte strings."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"it holds a string in {encoding}")
    return _codecs.encode(text, "latin1")


def _empty_bytes() -> bytes:
    """An empty byte string, as protocols 0 to 2 write it; an argument could ask for any length."""
    return b""


_ALLOWED: dict[tuple[str, str], _Allowed] = {
    ("numpy", "ndarray"): _Allowed(_ndarray),
    ("numpy", "dtype"): _Allowed(_dtype),
    ("_codecs", "encode"): _Allowed(_encode),
    ("__builtin__", "bytes"): _Allowed(_empty_bytes),
}
for _core in ("numpy.core", "numpy._core"):
    _ALLOWED[f"{_core}.multiarray", "_reconstruct"] = _Allowed(_reconstruct)
    _ALLOWED[f"{_core}.multiarray", "scalar"] = _Allowed(_scalar)
    _ALLOWED[f"{_core}.numeric", "_frombuffer"] = _Allowed(_frombuffer)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


def load(file: IO[bytes], name: str) -> Any:
    """Read a pickle of numbers, strings, containers and numpy arrays.

    Args:
        name: of the file, for messages.
    Raises:
        DataError: the pickle holds anything else, or is damaged.
    """
    try:
        return _Unpickler(file, encoding="latin1").load()
    except Exception as error:  # a hostile pickle can make nearly every error happen
        raise DataError(
            f"{name} is not a pickle of numpy arrays alone: {reason(error)}",
            "none of its code was run; convert it to .npz with the program that wrote it",
        ) from None
