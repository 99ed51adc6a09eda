import os
import subprocess
import sys
import threading
import time
import weakref

import pytest
import torch

from frcnn_cli.ops.threads import parallel_for


@pytest.fixture
def set_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 10])
def test_every_index_is_in_one_range(set_threads, threads, count):
    ranges = []

    def kernel(name, first, last):
        assert name == "name"
        ranges.append(range(first, last))

    set_threads(threads)
    parallel_for(kernel, ("name",), count)
    assert sorted(index for part in ranges for index in part) == list(range(count))
    assert len(ranges) == (threads if count >= threads else 1)


def test_ranges_run_side_by_side(set_threads):
    barrier = threading.Barrier(2)
    set_threads(2)
    parallel_for(lambda first, last: barrier.wait(20), (), 2)


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_error_in_any_thread_is_raised(set_threads, failing):
    set_threads(3)
    with pytest.raises(ZeroDivisionError):
        parallel_for(lambda first, last: 1 / (first - failing), (), 3)
    test_every_index_is_in_one_range(set_threads, 3, 3)  # the threads live on


def test_arguments_are_not_kept(set_threads):
    set_threads(2)
    argument = threading.Lock()  # any object that can be referred to weakly
    reference = weakref.ref(argument)
    parallel_for(lambda argument, first, last: None, (argument,), 2)
    del argument
    deadline = time.monotonic() + 10
    while reference() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert reference() is None


FORK = """
import os, signal, sys, torch
from frcnn_cli.ops.threads import parallel_for
torch.set_num_threads(2)
parallel_for(range, (0,), 2)
child = os.fork()
if not child:
    signal.alarm(20)
    parallel_for(range, (0,), 2)
    os._exit(0)
sys.exit(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_starts_threads_of_its_own():
    # in a process of its own: newer Pythons warn of a fork beside threads
    assert subprocess.run([sys.executable, "-c", FORK], check=False, timeout=60).returncode == 0
