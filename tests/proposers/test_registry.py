import pickle

import numpy as np
import pytest

from frcnn_cli.config import SEARCH_MODES
from frcnn_cli.errors import ConfigError, DataError
from frcnn_cli.proposers.cache import ProposalSource
from frcnn_cli.proposers.registry import (
    DEFAULT,
    FILE,
    PROPOSERS,
    find_method,
    from_file,
    proposal_source,
)

# They change with the settings alone: caches lie in folders of these names.
DIGESTS = {
    "single": "selective_search-b5b9c3c9f52c",
    "fast": "selective_search-212a5dcb5edd",
    "quality": "selective_search-c9957c0d2d35",
    "dense": "dense-62545089207b",
}


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", PROPOSERS)
def test_every_method_keeps_the_contract(name, image):
    method = PROPOSERS[name](1)
    proposals = method.propose(image)
    assert proposals.image_size == (60, 80)
    assert len(proposals.boxes) >= 1
    assert (proposals.boxes[:, :2] >= 0).all()
    assert (proposals.boxes[:, 2:] <= [80, 60]).all()
    assert proposals.boxes.tobytes() == method.propose(image).boxes.tobytes()
    assert PROPOSERS[name](3).propose(image).boxes.tobytes() == proposals.boxes.tobytes()


@pytest.mark.parametrize("name", PROPOSERS)
def test_every_method_can_be_pickled(name, image):
    method = PROPOSERS[name](2)
    copy = pickle.loads(pickle.dumps(method))
    assert (copy.name, copy.settings, copy.digest) == (method.name, method.settings, method.digest)
    assert copy.propose(image).boxes.tobytes() == method.propose(image).boxes.tobytes()


@pytest.mark.parametrize("name", PROPOSERS)
def test_every_digest_is_that_of_the_caches_and_threads_do_not_change_it(name):
    assert PROPOSERS[name](1).digest == PROPOSERS[name](4).digest == DIGESTS[name]


def test_no_two_methods_share_a_digest_and_the_default_is_a_search_mode():
    assert len({build(1).digest for build in PROPOSERS.values()}) == len(PROPOSERS)
    assert set(SEARCH_MODES) < set(PROPOSERS)
    assert DEFAULT in SEARCH_MODES


def test_a_file_is_known_by_its_content(tmp_path):
    for name, content in {"a.mat": b"x", "b.mat": b"x", "c.mat": b"y"}.items():
        (tmp_path / name).write_bytes(content)
    one, two, three = (from_file(tmp_path / f"{name}.mat").digest for name in "abc")
    assert one == two != three
    assert one == "file-4b2202ebb1ce"


def test_a_file_that_was_not_imported_says_so(tmp_path):
    (tmp_path / "a.mat").write_bytes(b"x")
    method = from_file(tmp_path / "a.mat")
    for each in (method, pickle.loads(pickle.dumps(method))):
        with pytest.raises(DataError, match=r"a\.mat has no boxes for one of the images"):
            each.propose(np.zeros((3, 4, 3), np.uint8))
    with pytest.raises(DataError, match="cannot read"):
        from_file(tmp_path / "missing.mat")


def test_a_method_is_found_by_name_or_by_file(tmp_path, monkeypatch):
    (tmp_path / "a.mat").write_bytes(b"x")
    (tmp_path / "noending").write_bytes(b"x")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_method("dense").digest == DIGESTS["dense"]
    expected = from_file(tmp_path / "a.mat").digest
    for path in (tmp_path / "a.mat", str(tmp_path / "noending"), "~/a.mat"):
        method = find_method(path)
        assert (method.name, method.digest) == (FILE, expected)


def test_a_method_that_is_not_found():
    with pytest.raises(ConfigError, match="unknown method 'fats'") as caught:
        find_method("fats")
    assert "did you mean 'fast'?" in caught.value.hint
    with pytest.raises(DataError, match=r"cannot read none\.mat"):
        find_method("none.mat")


def test_a_source_has_the_usual_cache_or_the_one_that_is_named(frcnn_home, tmp_path):
    assert proposal_source().folder == frcnn_home / "proposals" / DIGESTS[DEFAULT]
    assert proposal_source("dense", cache=tmp_path).folder == tmp_path / DIGESTS["dense"]


@pytest.mark.parametrize("name", PROPOSERS)
def test_a_source_can_be_pickled(name, image, tmp_path):
    source = proposal_source(name, cache=tmp_path)
    copy = pickle.loads(pickle.dumps(source))
    assert isinstance(copy, ProposalSource)
    assert copy.folder == source.folder
    boxes = copy(b"content", image).boxes
    assert source.cached(b"content").boxes.tobytes() == boxes.tobytes()
