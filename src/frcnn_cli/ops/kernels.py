"""Compiles functions with numba; keeps the result on the disk where there is a place for it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any

import numba


class KernelWarning(UserWarning):
    """Kernels are compiled again by every process."""


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit`, which works too where neither the package nor a home can be written to.

    numba refuses `cache=True` there. The kernels are then compiled in memory, and a KernelWarning
    says so. They are not kept in a folder for temporary files: numba runs what it finds in a cache,
    and others could have put it there.
    """

    def compiled(function: Callable[..., Any]) -> Any:
        if not options.get("cache") or _has_place(function):
            try:
                return numba.njit(**options)(function)
            except RuntimeError as error:
                if "cannot cache" not in str(error):
                    raise
        warnings.warn(
            "there is no place to keep the compiled kernels, so every start takes half a "
            "minute longer: set NUMBA_CACHE_DIR to a folder of your own",
            KernelWarning,
            stacklevel=1,
        )
        return numba.njit(**{**options, "cache": False})(function)

    return compiled


def _has_place(function: Callable[..., Any]) -> bool:
    """Whether numba can be asked for a place: without a home, it would take a folder `~` in the
    working folder, which may be somebody else's."""
    if getattr(numba.config, "CACHE_DIR", "") or os.path.expanduser("~") != "~":
        return True
    return os.access(os.path.dirname(function.__code__.co_filename), os.W_OK)
