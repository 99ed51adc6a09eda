from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from frcnn_cli.errors import FrcnnError
from frcnn_cli.runtime.executor import open_executor
from frcnn_cli.runtime.locks import FILE, HAS_LOCKS, OWNER_FILE, Locks, sole_process
from workers import can_hold, hold_until

KEY, OTHER = "a" * 40, "b" * 40
needs_locks = pytest.mark.skipif(not HAS_LOCKS, reason="this system has no such locks")


def test_a_held_lock_excludes_the_other_threads_of_the_process(tmp_path: Path) -> None:
    locks = Locks(tmp_path)
    with open_executor("threads", 1) as executor, locks.hold(KEY, wait=False) as acquired:
        assert acquired
        assert not executor.submit(can_hold, locks, KEY).result()
        assert executor.submit(can_hold, locks, OTHER).result()
    assert can_hold(locks, KEY)


def test_waiting_for_a_lock(tmp_path: Path) -> None:
    locks = Locks(tmp_path)
    order: list[str] = []

    def wait_for_it() -> None:
        with locks.hold(KEY, wait=True) as acquired:
            order.append(f"second {acquired}")

    with locks.hold(KEY, wait=True):
        thread = threading.Thread(target=wait_for_it)
        thread.start()
        thread.join(0.1)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second True"]


def test_an_exception_releases_the_lock(tmp_path: Path) -> None:
    locks = Locks(tmp_path)
    with pytest.raises(ZeroDivisionError), locks.hold(KEY, wait=False):
        _ = 1 / 0
    assert can_hold(locks, KEY)


def test_a_pickled_copy_is_of_the_same_folder_and_holds_nothing(tmp_path: Path) -> None:
    locks = Locks(tmp_path / "cache")
    with locks.hold(KEY, wait=False):
        content = pickle.dumps(locks)
    copy = pickle.loads(content)
    (tmp_path / "cache" / FILE).unlink(missing_ok=True)
    assert can_hold(copy, KEY)
    assert (tmp_path / "cache" / FILE).exists() == HAS_LOCKS


@needs_locks
def test_a_pickled_copy_excludes_the_original_across_processes(tmp_path: Path) -> None:
    locks = Locks(tmp_path)
    with open_executor("processes", 1) as executor:
        with locks.hold(KEY, wait=False):
            assert not executor.submit(can_hold, locks, KEY).result()
            assert executor.submit(can_hold, locks, OTHER).result()
        assert executor.submit(can_hold, locks, KEY).result()


@needs_locks
def test_the_original_is_excluded_by_its_pickled_copy(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    locks, held, done = Locks(tmp_path), context.Event(), context.Event()
    process = context.Process(target=hold_until, args=(locks, KEY, held, done))
    process.start()
    assert held.wait(60)
    assert not can_hold(locks, KEY)
    assert can_hold(locks, OTHER)
    process.kill()  # the system releases what it held
    process.join()
    assert can_hold(locks, KEY)


HOLDER = """
import sys, pathlib, time
from frcnn_cli.runtime.locks import sole_process
with sole_process(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@needs_locks
def test_a_second_process_is_refused_by_the_number_of_the_first(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        refused = pytest.raises(FrcnnError, match=f"is in use by process {holder.pid}$")
        with refused, sole_process(tmp_path):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with sole_process(tmp_path):  # the lock ended with its process
        assert (tmp_path / OWNER_FILE).read_text() == f"{os.getpid()}\n"
