"""Work done ahead of time in threads, handed over in order."""

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
    """Call `function` on the items in threads, at most two for each worker ahead of the consumer.

    Yields each item with its finished future, in order: the consumer decides what an exception
    means. Leaving the loop cancels what has not begun.
    """
    pending: deque[tuple[Item, Future[Result]]] = deque()
    executor = ThreadPoolExecutor(workers, thread_name_prefix="prefetch")
    try:
        for item in items:
            pending.append((item, executor.submit(function, item)))
            if len(pending) > 2 * workers:
                yield _finished(pending)
        while pending:
            yield _finished(pending)
    finally:
        executor.shutdown(cancel_futures=True)


def _finished(
    pending: deque[tuple[Item, Future[Result]]],
) -> tuple[Item, Future[Result]]:
    item, future = pending.popleft()
    future.exception()  # waits
    return item, future
