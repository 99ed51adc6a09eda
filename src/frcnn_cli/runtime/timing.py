"""Measures the time of a function, and of the stages of the detection pipeline."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch

REPEATS = 5  # timed runs of a measurement, after a first run that is not timed


class Work(NamedTuple):
    """The least work that a stage must do; a profile computes the stage's shortest time from it."""

    flops: float = 0.0  # floating-point operations; a multiply-add is two
    bytes: float = 0.0  # read and written


class StageHook(Protocol):
    """Called by the pipeline around each of its stages."""

    def __call__(
        self, name: str, work: Callable[[], Work] | None = None
    ) -> AbstractContextManager[None]:
        """Return the context in which the stage runs.

        Args:
            name: of the stage, such as "conv". A stage of several parts calls the hook for each.
            work: computes the work of the stage or part; None where no lower bound is known.
        """


_NO_CONTEXT = contextlib.nullcontext()


def untimed(name: str, work: Callable[[], Work] | None = None) -> AbstractContextManager[None]:
    """A StageHook that measures nothing, for detection without a profile."""
    return _NO_CONTEXT


@dataclass(frozen=True)
class Mark:
    """A point in the work of a device; to set it, the program does not wait for a GPU."""

    moment: float  # seconds on a monotonic clock, when the program came here
    event: torch.cuda.Event | None  # which a GPU passes when all that was queued before is done

    @staticmethod
    def on(device: torch.device) -> Mark:
        """A mark after the work that is queued on the device so far."""
        event = None
        if device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record(torch.cuda.current_stream(device))
        return Mark(time.perf_counter(), event)

    def seconds_since(self, earlier: Mark) -> float:
        """Seconds from an earlier mark to this one, on a GPU by its own clock, after a wait."""
        if self.event is None or earlier.event is None:
            return self.moment - earlier.moment
        self.event.synchronize()
        return earlier.event.elapsed_time(self.event) / 1000


def synchronized_time(device: torch.device) -> float:
    """Seconds on a monotonic clock, read when all work queued on the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def median_seconds(work: Callable[[], object], device: torch.device) -> float:
    """The median time of REPEATS runs of `work`, in seconds, after one run that is not timed."""
    work()
    seconds = []
    for _ in range(REPEATS):
        start = synchronized_time(device)
        work()
        seconds.append(synchronized_time(device) - start)
    return statistics.median(seconds)
