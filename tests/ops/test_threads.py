import threading

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


def test_an_error_in_a_thread_is_raised(set_threads):
    set_threads(2)
    with pytest.raises(ZeroDivisionError):
        parallel_for(lambda first, last: 1 / first, (), 2)
