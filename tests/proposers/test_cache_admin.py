import numpy as np
import pytest

from frcnn_cli.proposers import cache_admin as upkeep
from frcnn_cli.proposers.cache import ProposalSource
from frcnn_cli.proposers.registry import PROPOSERS, Method, from_file
from frcnn_cli.structures import Proposals

BOXES = Proposals(np.array([[0, 0, 4, 3], [1, 1, 2, 2]], np.float32), None, (3, 4))


def fill(method, cache, count):
    source = ProposalSource(method, cache)
    for i in range(count):
        source.store(bytes([i]), BOXES)
    return source


@pytest.fixture
def cache(tmp_path):
    (tmp_path / "x.mat").write_bytes(b"x")
    fill(PROPOSERS["fast"](1), tmp_path / "c", 3)
    fill(from_file(tmp_path / "x.mat"), tmp_path / "c", 1)
    fill(Method("selective_search", lambda image: BOXES, {"version": 0}), tmp_path / "c", 2)
    return tmp_path / "c"


def damaged(cache):
    return list(upkeep.damaged(cache, lambda: None))


def test_status(cache):
    found = {each.name: (each.current, each.entries, each.size) for each in upkeep.status(cache)}
    size = 28 + 2 * 8
    assert found == {
        "file": (True, 1, size),
        "selective_search": (False, 2, 2 * size),
        "selective_search, fast": (True, 3, 3 * size),
    }


def test_status_of_a_cache_that_is_not_there(tmp_path):
    assert upkeep.status(tmp_path / "nothing") == []
    assert damaged(tmp_path / "nothing") == []
    assert upkeep.leftovers(tmp_path / "nothing") == []


def test_a_folder_from_before_folders_had_descriptions(cache):
    for about in cache.glob("*/method.json"):
        about.unlink()
    names = {each.name for each in upkeep.status(cache)}
    assert names == {"file", "selective_search", "selective_search, fast"}


def test_damage_is_found_and_removed(cache):
    assert damaged(cache) == []
    source = ProposalSource(PROPOSERS["fast"](1), cache)
    source.path(b"\0").write_bytes(b"")
    source.path(b"\1").write_bytes(source.path(b"\1").read_bytes()[:-1])
    bad = damaged(cache)
    assert sorted(bad) == sorted([source.path(b"\0"), source.path(b"\1")])
    upkeep.clean(cache, bad)
    assert damaged(cache) == []
    assert source.cached(b"\2") is not None
    assert source.cached(b"\1") is None


def test_leftovers_are_those_that_nobody_is_writing(cache):
    source = ProposalSource(PROPOSERS["fast"](1), cache)
    path = source.path(b"\0")
    part = path.with_name(path.name + ".123-456.part")
    part.write_bytes(b"half")
    about = source.folder / "method.json.1-2.part"
    about.write_bytes(b"half")
    assert set(upkeep.leftovers(cache)) == {part, about}
    files, freed = upkeep.clean(cache, [])
    assert not part.exists()
    assert not about.exists()
    assert (files, freed) == (2, 2 * 4)


def test_clean_keeps_every_sound_entry(cache):
    before = upkeep.status(cache)
    assert upkeep.clean(cache, []) == (0, 0)
    assert upkeep.status(cache) == before
    assert not all(each.current for each in before)
