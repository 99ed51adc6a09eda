"""Kernels of numba on the threads that torch was given."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import torch


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="kernels")


def share(kernel: Callable[..., None], arguments: tuple[Any, ...], count: int) -> None:
    """Call kernel(*arguments, first, last) so that 0..count is covered by torch's threads."""
    threads = torch.get_num_threads()
    if threads == 1 or count < threads:
        kernel(*arguments, 0, count)
        return
    edges = [count * i // threads for i in range(threads + 1)]
    jobs = [
        _threads(threads).submit(kernel, *arguments, first, last) for first, last in pairwise(edges)
    ]
    for job in jobs:
        job.result()
