"""Calls a function in threads, ahead of the loop that uses the results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Generator[tuple[Item, Future[Result]], None, None]:
    """Call `function` on each item ahead of the consumer, by at most two items per worker.

    Closing the generator waits for the calls that run, and cancels those that have not begun.

    Args:
        workers: number of threads.
    Yields:
        Each item with its finished future, in the order of the items. The future holds the result
        or the exception, which is for the consumer to handle.
    """
    pending: deque[tuple[Item, Future[Result]]] = deque()
    executor = ThreadPoolExecutor(workers, thread_name_prefix="worker")
    try:
        for item in items:
            pending.append((item, executor.submit(function, item)))
            if len(pending) > 2 * workers:
                yield _next_finished(pending)
        while pending:
            yield _next_finished(pending)
    finally:
        executor.shutdown(cancel_futures=True)


def _next_finished(pending: deque[tuple[Item, Future[Result]]]) -> tuple[Item, Future[Result]]:
    item, future = pending.popleft()
    future.exception()  # waits
    return item, future
