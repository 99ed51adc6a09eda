"""Threads of torch and of numba kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
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


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="kernels")


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
    jobs = [
        _pool(threads).submit(kernel, *arguments, first, last) for first, last in pairwise(edges)
    ]
    for job in jobs:
        job.result()
