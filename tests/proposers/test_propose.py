import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frcnn_cli.proposers.cache import ProposalSource
from frcnn_cli.proposers.propose import propose_files
from frcnn_cli.proposers.registry import Method
from frcnn_cli.structures import Proposals


@pytest.fixture
def paths(tmp_path):
    for i in range(9):
        Image.new("RGB", (20 + i, 10), (i, 0, 0)).save(tmp_path / f"{i}.png")
    return [tmp_path / f"{i}.png" for i in range(9)]


def source_of(tmp_path, propose=None):
    calls = []

    def whole(image):
        calls.append(image.shape)
        height, width = image.shape[:2]
        return Proposals(np.array([[0, 0, width, height]], np.float32), None, (height, width))

    return calls, ProposalSource(Method("whole", propose or whole, {}), tmp_path / "cache")


@pytest.mark.parametrize("jobs", [1, 3])
def test_each_file_once_in_order(tmp_path, paths, jobs):
    calls, source = source_of(tmp_path)
    results = list(propose_files(paths, source, jobs))
    assert [result.path for result in results] == paths
    assert [result.index for result in results] == list(range(9))
    assert [result.proposals.boxes[0, 2] for result in results] == [20 + i for i in range(9)]
    assert not any(result.cached for result in results)
    again = list(propose_files(paths, source, jobs))
    assert all(result.cached for result in again)
    assert len(calls) == 9


def test_broken_files_are_named_and_stop_nothing(tmp_path, paths):
    paths[2].write_bytes(b"no picture")
    paths[5] = Path("nowhere.png")
    results = list(propose_files(paths, source_of(tmp_path)[1], 2))
    failed = [result for result in results if result.error]
    assert [result.index for result in failed] == [2, 5]
    assert "2.png is not a picture" in failed[0].error.message
    assert len(results) == 9


def test_what_another_is_at_comes_last_and_is_not_made_twice(tmp_path, paths):
    calls, source = source_of(tmp_path)
    other_calls, other = source_of(tmp_path)
    content = paths[0].read_bytes()
    held, begun = threading.Event(), threading.Event()

    def hold():
        with other.claim(content) as mine:
            assert mine
            held.set()
            assert begun.wait(20)
            other.make(content, np.zeros((10, 20, 3), np.uint8))

    # a second process would hold the lock of the file; within one, the same source must be asked
    other._locks = source._locks
    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(20)
    order = []
    for result in propose_files(paths, source, 2):
        order.append(result.index)
        if len(order) == 8:
            begun.set()
    thread.join()
    assert order == [*range(1, 9), 0]
    assert (len(calls), len(other_calls)) == (8, 1)
    assert result.cached


def test_the_same_picture_twice_is_made_once(tmp_path, paths):
    calls, source = source_of(tmp_path)
    results = list(propose_files([paths[0]] * 6, source, 3))
    assert len(results) == 6
    assert all(result.proposals is not None for result in results)
    assert len(calls) == 1
