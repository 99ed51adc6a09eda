"""Runs functions in other threads or processes."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

from ..errors import unknown_name
from .signals import signals_put_off

Item = TypeVar("Item")
Result = TypeVar("Result")


class Executor(Protocol):
    """Runs functions in a fixed number of workers."""

    def submit(self, function: Callable[..., Result], /, *arguments: Any) -> Future[Result]:
        """Call `function` with `arguments` as soon as a worker is free."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more work and, with `wait`, return when the running work is done.

        Args:
            cancel_futures: drop the work that no worker has begun.
        """


def _threads(workers: int) -> Executor:
    return ThreadPoolExecutor(workers, thread_name_prefix="worker")


def _processes(workers: int) -> Executor:
    # Spawned, not forked: a lock that a thread holds during a fork stays locked in the copy.
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


# Name -> the function that starts an executor with that many workers.
EXECUTORS: dict[str, Callable[[int], Executor]] = {"threads": _threads, "processes": _processes}


@contextmanager
def open_executor(name: str, workers: int) -> Iterator[Executor]:
    """Start an executor; leaving the block waits for running work and cancels the rest.

    Args:
        name: a key of EXECUTORS. Except with "threads", functions, arguments and results must
            be picklable.
        workers: number of calls that run at the same time.
    Raises:
        ConfigError: unknown name.
    """
    if name not in EXECUTORS:
        raise unknown_name("executor", name, EXECUTORS)
    executor = EXECUTORS[name](workers)
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def prefetch(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    executor: str = "threads",
) -> Generator[tuple[Item, Future[Result]], None, None]:
    """Call `function` on each item ahead of the consumer, by at most two items per worker.

    Closing the generator cancels the calls that have not begun.

    Args:
        workers, executor: see `open_executor`.
    Yields:
        Each item with its finished future, in the order of the items. The future holds the result
        or the exception, which is for the consumer to handle.
    Raises:
        ConfigError: unknown executor.
    """
    pending: deque[tuple[Item, SimpleQueue[Future[Result]]]] = deque()
    with open_executor(executor, workers) as running:
        for item in items:
            pending.append((item, _begin(running, function, item)))
            if len(pending) > 2 * workers:
                yield _next_finished(pending)
        while pending:
            yield _next_finished(pending)


def _begin(
    executor: Executor, function: Callable[[Item], Result], item: Item
) -> SimpleQueue[Future[Result]]:
    """Submit a call; the queue gets its future when it has finished."""
    # not future.result(), which a signal may interrupt at the wrong moment
    finished: SimpleQueue[Future[Result]] = SimpleQueue()
    with signals_put_off():
        executor.submit(function, item).add_done_callback(finished.put)
    return finished


def _next_finished(
    pending: deque[tuple[Item, SimpleQueue[Future[Result]]]],
) -> tuple[Item, Future[Result]]:
    item, finished = pending.popleft()
    return item, finished.get()
