"""Measuring time: of a function, and of the stages inside the detection pipeline."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

import torch

REPEATS = 5  # runs of a measurement, after a first run that does not count


class Work(NamedTuple):
    """The least work that a stage must do, from which a profile computes its shortest time."""

    flops: float = 0.0  # floating-point operations; a multiply-add is two
    bytes: float = 0.0  # read and written


class StageHook(Protocol):
    """Called by the pipeline around each of its stages."""

    def __call__(
        self, name: str, work: Callable[[], Work] | None = None
    ) -> AbstractContextManager[None]:
        """Return the context in which the stage runs.

        Args:
            name: of the stage, such as "conv"; repeated for each part of a stage that has several.
            work: computes the stage's work; None where no lower bound is known.
        """


_NO_CONTEXT = contextlib.nullcontext()


def untimed(name: str, work: Callable[[], Work] | None = None) -> AbstractContextManager[None]:
    """The StageHook that does nothing, for use outside of profiles."""
    return _NO_CONTEXT


def synchronized_time(device: torch.device) -> float:
    """Seconds on a monotonic clock, read when all work queued on the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def median_seconds(work: Callable[[], object], device: torch.device) -> float:
    """The median time of REPEATS runs of `work`, after one run that does not count."""
    work()
    seconds = []
    for _ in range(REPEATS):
        start = synchronized_time(device)
        work()
        seconds.append(synchronized_time(device) - start)
    return statistics.median(seconds)
