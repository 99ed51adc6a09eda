from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from frcnn_cli.errors import ConfigError
from frcnn_cli.runtime.executor import EXECUTORS, open_executor, prefetch
from workers import square_or_fail


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_order(workers: int) -> None:
    def slow_start(item: int) -> int:
        time.sleep(0.01 if item % 3 == 0 else 0)
        return item * item

    found = [(item, future.result()) for item, future in prefetch(slow_start, range(20), workers)]
    assert found == [(item, item * item) for item in range(20)]


def test_nothing_to_do() -> None:
    assert list(prefetch(str, [], 2)) == []


def test_fewer_items_than_workers() -> None:
    assert [future.result() for _, future in prefetch(str, [1, 2], 8)] == ["1", "2"]


def test_futures_are_finished() -> None:
    for _, future in prefetch(lambda _: time.sleep(0.005), range(6), 2):
        assert future.done()


def test_exceptions_stay_in_their_future() -> None:
    def odd_fails(item: int) -> int:
        if item % 2:
            raise KeyError(item)
        return item

    found = list(prefetch(odd_fails, range(6), 2))
    assert [item for item, _ in found] == list(range(6))
    for item, future in found:
        if item % 2:
            with pytest.raises(KeyError, match=str(item)):
                future.result()
        else:
            assert future.result() == item


def test_work_runs_at_once_in_threads() -> None:
    barrier = threading.Barrier(3, timeout=10)
    found = [future.result() for _, future in prefetch(lambda _: barrier.wait(), range(3), 3)]
    assert sorted(found) == [0, 1, 2]


def test_work_runs_outside_the_callers_thread() -> None:
    names = {f.result() for _, f in prefetch(lambda _: threading.get_ident(), range(4), 1)}
    assert len(names) == 1
    assert threading.get_ident() not in names


@pytest.mark.parametrize("workers", [1, 3])
def test_reading_ahead_is_bounded(workers: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    done = 0
    for _ in prefetch(int, items(), workers):
        done += 1
        assert len(taken) <= done + 2 * workers
    assert done == 100


def test_reads_ahead_of_the_consumer() -> None:
    started: list[int] = []
    running = prefetch(started.append, range(50), 2)
    next(running)
    deadline = time.monotonic() + 10
    while len(started) < 5 and time.monotonic() < deadline:
        time.sleep(0.002)
    assert len(started) == 5
    running.close()


def test_leaving_early_cancels_what_has_not_begun() -> None:
    started: list[int] = []
    release = threading.Event()

    def work(item: int) -> None:
        started.append(item)
        if item:
            release.wait(10)

    running = prefetch(work, range(50), 1)
    assert next(running)[0] == 0
    threading.Timer(0.3, release.set).start()
    running.close()
    assert started in ([0], [0, 1])


def test_leaving_early_ends_the_threads() -> None:
    before = threading.active_count()
    for item, _ in prefetch(lambda item: item, range(50), 4):
        if item == 2:
            break
    del item
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.002)
    assert threading.active_count() <= before


def test_failing_items_reach_the_consumer_and_end_the_threads() -> None:
    before = threading.active_count()

    def items() -> Iterator[int]:
        yield 1
        raise OSError("the list ends here")

    with pytest.raises(OSError, match="the list ends here"):
        list(prefetch(int, items(), 2))
    assert threading.active_count() <= before


@pytest.mark.parametrize("name", EXECUTORS)
def test_every_executor_gives_results_in_order_and_errors_in_their_future(name: str) -> None:
    futures = [future for _, future in prefetch(square_or_fail, range(6), 2, executor=name)]
    with pytest.raises(KeyError, match="3"):
        futures.pop(3).result()
    results = [future.result() for future in futures]
    assert [square for square, _ in results] == [0, 1, 4, 16, 25]
    assert all((process == os.getpid()) == (name == "threads") for _, process in results)


@pytest.mark.parametrize("name", EXECUTORS)
def test_leaving_the_block_ends_every_executor(name: str) -> None:
    with open_executor(name, 1) as executor:
        assert executor.submit(pow, 2, 5).result() == 32
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(pow, 2, 5)


def test_an_unknown_executor_offers_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown executor 'thread'") as error:
        list(prefetch(int, [1], 1, executor="thread"))
    assert "did you mean 'threads'?" in error.value.hint


def test_an_executor_is_added_by_an_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    class AtOnce:
        def __init__(self, workers: int) -> None:
            self.open = True

        def submit(self, function, /, *arguments) -> Future:
            future: Future = Future()
            future.set_result(function(*arguments))
            return future

        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            self.open = False

    monkeypatch.setitem(EXECUTORS, "at once", AtOnce)
    found = [future.result() for _, future in prefetch(str, range(9), 2, executor="at once")]
    assert found == [str(number) for number in range(9)]
    with open_executor("at once", 1) as executor:
        assert executor.open
    assert not executor.open
