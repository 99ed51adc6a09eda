"""Reading pickles of numpy arrays without running what a pickle may contain.

A pickle is a program. This reader knows numbers, strings, lists, tuples, dicts and the few names
that numpy's arrays need; anything else stops it before it is imported or called.
"""

from __future__ import annotations

import _codecs
import pickle
from collections.abc import Callable
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, reason


class _Admitted:
    """A function that a pickle may call, and do nothing else with."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it changes a function")


def _array_type(*arguments: object) -> None:
    raise pickle.UnpicklingError("it makes an array of a size of its own")


def _reconstruct(kind: object, shape: tuple[int, ...], code: bytes) -> NDArray[Any]:
    """An empty array; its content comes with the next instruction, checked by numpy."""
    return np.empty(0, np.int8)


def _frombuffer(
    buffer: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], order: str
) -> NDArray[Any]:
    return np.frombuffer(buffer, dtype).reshape(shape, order="F" if order == "F" else "C")


def _dtype(code: object, *_: object) -> np.dtype[Any]:
    # a copy: the next instruction sets its byte order, and numpy's own are shared by all
    found = np.dtype(str(code), copy=True)
    if found.kind not in "biufSU":
        raise pickle.UnpicklingError(f"an array of type {found}")
    return found


def _scalar(dtype: np.dtype[Any], value: bytes) -> Any:
    return np.frombuffer(value, dtype)[0]


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """How Python 2's strings come along."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"a string in {encoding}")
    return _codecs.encode(text, "latin1")


def _no_bytes() -> bytes:
    """How protocols 0 to 2 write empty ones; with an argument it could ask for any number."""
    return b""


_ADMITTED: dict[tuple[str, str], _Admitted] = {
    ("numpy", "ndarray"): _Admitted(_array_type),
    ("numpy", "dtype"): _Admitted(_dtype),
    ("_codecs", "encode"): _Admitted(_encode),
    ("__builtin__", "bytes"): _Admitted(_no_bytes),
}
for _core in ("numpy.core", "numpy._core"):
    _ADMITTED[f"{_core}.multiarray", "_reconstruct"] = _Admitted(_reconstruct)
    _ADMITTED[f"{_core}.multiarray", "scalar"] = _Admitted(_scalar)
    _ADMITTED[f"{_core}.numeric", "_frombuffer"] = _Admitted(_frombuffer)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


def load(file: IO[bytes], name: str) -> Any:
    """What a pickle holds, if that is numbers, strings, containers and numpy arrays.

    Args:
        name: of the file, for messages.
    Raises:
        DataError: it holds anything else, or is damaged.
    """
    try:
        return _Unpickler(file, encoding="latin1").load()
    except Exception as error:  # a hostile pickle can make nearly every error happen
        raise DataError(
            f"{name} is not a pickle of numpy arrays alone: {reason(error)}",
            "nothing of it was run; convert it to .npz where it was made",
        ) from None
