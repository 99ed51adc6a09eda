"""Threads of torch and of numba kernels."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from itertools import pairwise
from queue import SimpleQueue
from typing import Any

import torch


@contextmanager
def single_threaded(enabled: bool = True) -> Iterator[None]:
    """Let torch use one thread for what this thread computes on the CPU in the block.

    Beside a GPU that is little. To divide it among threads while others read images takes longer.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if enabled else threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


# A call, and the queue that gets its error, or None, when it has finished.
_Job = tuple[Callable[[], None], "SimpleQueue[BaseException | None]"]


@cache
def _jobs(threads: int) -> SimpleQueue[_Job]:
    """The jobs of that many threads, which wait for them until the program ends."""
    jobs: SimpleQueue[_Job] = SimpleQueue()
    for number in range(threads):
        # a daemon, since a kernel may be left behind by an interruption
        threading.Thread(target=_work, args=(jobs,), name=f"kernels_{number}", daemon=True).start()
    return jobs


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_jobs.cache_clear)  # a fork has no threads


def _work(jobs: SimpleQueue[_Job]) -> None:
    while True:
        call, finished = jobs.get()
        try:
            call()
            finished.put(None)
        except BaseException as error:
            finished.put(error)
        del call  # its arrays are not kept while the thread waits


def parallel_for(kernel: Callable[..., None], arguments: tuple[Any, ...], count: int) -> None:
    """Run a kernel over the indices 0..count-1, divided into one range for each thread of torch.

    Args:
        kernel: called as kernel(*arguments, first, last) for the indices first..last-1; it must
            release the GIL.
    """
    threads = torch.get_num_threads()
    if threads == 1 or count < threads:
        kernel(*arguments, 0, count)
        return
    edges = [count * i // threads for i in range(threads + 1)]
    mine, *others = pairwise(edges)
    # queues alone, since a signal that interrupts a future may leave its lock locked
    finished: SimpleQueue[BaseException | None] = SimpleQueue()
    for first_and_last in others:
        _jobs(threads - 1).put((partial(kernel, *arguments, *first_and_last), finished))
    kernel(*arguments, *mine)
    for _ in others:
        if error := finished.get():
            raise error
