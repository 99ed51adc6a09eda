from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from frcnn_cli.runtime.prefetch import prefetch


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
