import json
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frcnn_cli.errors import ConfigError, DataError
from frcnn_cli.proposers.cache import ProposalSource
from frcnn_cli.proposers.dense import dense
from frcnn_cli.proposers.method import Method
from frcnn_cli.proposers.propose import propose, propose_files
from frcnn_cli.structures import Proposals


@pytest.fixture
def paths(tmp_path):
    for i in range(9):
        Image.new("RGB", (20 + i, 10), (i, 0, 0)).save(tmp_path / f"{i}.png")
    return [tmp_path / f"{i}.png" for i in range(9)]


def counting_source(tmp_path):
    """A source that gives the whole image, and the shapes of the images it was asked for."""
    calls = []

    def whole(image):
        calls.append(image.shape)
        height, width = image.shape[:2]
        return Proposals(np.array([[0, 0, width, height]], np.float32), (height, width))

    return calls, ProposalSource(Method("whole", whole, {}), tmp_path / "cache")


@pytest.mark.parametrize("workers", [1, 3])
def test_each_file_once_in_order(tmp_path, paths, workers):
    calls, source = counting_source(tmp_path)
    results = list(propose_files(paths, source, workers))
    assert [result.path for result in results] == paths
    assert [result.index for result in results] == list(range(9))
    assert [result.proposals.boxes[0, 2] for result in results] == [20 + i for i in range(9)]
    assert not any(result.cached for result in results)
    assert all(result.seconds > 0 for result in results)
    again = list(propose_files(paths, source, workers))
    assert all(result.cached and result.seconds == 0 for result in again)
    assert len(calls) == 9


def test_broken_files_are_named_and_do_not_stop_the_others(tmp_path, paths):
    paths[2].write_bytes(b"no picture")
    paths[5] = Path("nowhere.png")
    results = list(propose_files(paths, counting_source(tmp_path)[1], 2))
    failed = [result for result in results if result.error]
    assert [result.index for result in failed] == [2, 5]
    assert all(result.proposals is None and not result.cached for result in failed)
    assert "2.png is text, not an image" in failed[0].error.message
    assert len(results) == 9


def test_a_file_that_another_works_on_comes_last_and_is_computed_once(tmp_path, paths):
    calls, source = counting_source(tmp_path)
    other_calls, other = counting_source(tmp_path)
    content = paths[0].read_bytes()
    locked, others_done = threading.Event(), threading.Event()

    def work():
        with other.lock(content) as held:
            assert held
            locked.set()
            assert others_done.wait(20)
            other.compute(content, np.zeros((10, 20, 3), np.uint8))

    # locks of the system exclude other processes; threads of one must share the same Locks
    other._locks = source._locks
    thread = threading.Thread(target=work)
    thread.start()
    assert locked.wait(20)
    order = []
    for result in propose_files(paths, source, 2):
        order.append(result.index)
        if len(order) == 8:
            others_done.set()
    thread.join()
    assert order == [*range(1, 9), 0]
    assert (len(calls), len(other_calls)) == (8, 1)
    assert result.cached


def test_the_same_image_twice_is_computed_once(tmp_path, paths):
    calls, source = counting_source(tmp_path)
    results = list(propose_files([paths[0]] * 6, source, 3))
    assert len(results) == 6
    assert all(result.proposals is not None for result in results)
    assert len(calls) == 1


@pytest.mark.parametrize("workers", [None, 2, 20])
def test_propose_by_name(tmp_path, paths, workers):
    names = [str(path) for path in paths]
    results = list(propose(names, "dense", cache=tmp_path / "cache", workers=workers))
    assert [result.path for result in results] == paths
    for i, result in enumerate(results):
        expected = dense(np.zeros((10, 20 + i, 3), np.uint8)).boxes
        np.testing.assert_array_equal(result.proposals.boxes, expected)
    assert all(result.cached for result in propose(paths, "dense", cache=tmp_path / "cache"))


def test_propose_uses_the_default_method_and_the_usual_cache(paths, frcnn_home):
    (result,) = propose(paths[:1])
    assert result.proposals.boxes.tolist() == [[0, 0, 20, 10]]
    assert len(list((frcnn_home / "proposals").glob("selective_search-*/*/*.boxes"))) == 1


def test_propose_with_a_source(tmp_path, paths):
    calls, source = counting_source(tmp_path)
    assert len(list(propose(paths, source))) == len(calls) == 9


def test_propose_imports_a_file_of_boxes(tmp_path, paths):
    images = [{"image": str(i), "boxes": [[0, 0, 5 + i, 4]]} for i in range(8)]
    (tmp_path / "boxes.json").write_text(json.dumps({"images": images}))
    results = list(propose(paths, tmp_path / "boxes.json", cache=tmp_path / "cache"))
    assert [result.proposals.boxes.tolist() for result in results[:8]] == [
        [[0, 0, 5 + i, 4]] for i in range(8)
    ]
    assert "has no boxes for one of the images" in results[8].error.message


def test_propose_complains_before_the_first_result(paths):
    with pytest.raises(ConfigError, match="unknown method 'fats'"):
        propose(paths, "fats")
    with pytest.raises(DataError, match=r"cannot read none\.json"):
        propose(paths, "none.json")
