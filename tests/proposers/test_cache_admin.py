import os

import numpy as np
import pytest

from frcnn_cli.proposers import cache_admin
from frcnn_cli.proposers.cache import METHOD_FILE, ProposalSource
from frcnn_cli.proposers.method import Method
from frcnn_cli.proposers.registry import PROPOSERS, from_file
from frcnn_cli.structures import Proposals

BOXES = Proposals(np.array([[0, 0, 4, 3], [1, 1, 2, 2]], np.float32), (3, 4))


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
    return list(cache_admin.damaged(cache, lambda: None))


def test_status(cache):
    folders = cache_admin.status(cache)
    by_name = {each.name: (each.current, each.entries, each.size) for each in folders}
    size = 28 + 2 * 8
    assert by_name == {
        "file": (True, 1, size),
        "selective_search": (False, 2, 2 * size),
        "selective_search, fast": (True, 3, 3 * size),
    }


def test_status_of_a_missing_cache(tmp_path):
    assert cache_admin.status(tmp_path / "nothing") == []
    assert damaged(tmp_path / "nothing") == []
    assert cache_admin.leftovers(tmp_path / "nothing") == []


def test_folders_of_early_versions_have_no_description(cache):
    for description in cache.glob("*/method.json"):
        description.unlink()
    names = {each.name for each in cache_admin.status(cache)}
    assert names == {"file", "selective_search", "selective_search, fast"}


def test_damage_is_found_and_removed(cache):
    assert damaged(cache) == []
    source = ProposalSource(PROPOSERS["fast"](1), cache)
    source.path(b"\0").write_bytes(b"")
    source.path(b"\1").write_bytes(source.path(b"\1").read_bytes()[:-1])
    bad = damaged(cache)
    assert sorted(bad) == sorted([source.path(b"\0"), source.path(b"\1")])
    cache_admin.clean_up(cache, bad)
    assert damaged(cache) == []
    assert source.cached(b"\2") is not None
    assert source.cached(b"\1") is None


def test_leftovers_are_those_that_nobody_is_writing(cache):
    source = ProposalSource(PROPOSERS["fast"](1), cache)
    path = source.path(b"\0")
    part = path.with_name(path.name + ".123-456.part")
    part.write_bytes(b"half")
    description = source.folder / "method.json.1-2.part"
    description.write_bytes(b"half")
    assert set(cache_admin.leftovers(cache)) == {part, description}
    files, freed = cache_admin.clean_up(cache, [])
    assert not part.exists()
    assert not description.exists()
    assert (files, freed) == (2, 2 * 4)


def test_clean_keeps_every_sound_entry(cache):
    before = cache_admin.status(cache)
    assert cache_admin.clean_up(cache, []) == (0, 0)
    assert cache_admin.status(cache) == before
    assert not all(each.current for each in before)


@pytest.mark.parametrize("content", [None, b"[" * 100_000, b'{"name": 5', b"[1]", b"\xff\xfe"])
def test_a_damaged_description_is_no_name(cache, content):
    for path in cache.glob(f"*/{METHOD_FILE}"):
        path.unlink()
        if content is None:
            os.mkfifo(path)  # it is not waited for
        else:
            path.write_bytes(content)
    names = {each.name.partition(",")[0]: each.path.name for each in cache_admin.status(cache)}
    assert names
    assert all(path.startswith(f"{name}-") for name, path in names.items())
