from __future__ import annotations

import os
from pathlib import Path

import pytest

from frcnn_cli.errors import ConfigError, WeightsError
from frcnn_cli.runtime.paths import BEST_FILE, WEIGHTS_FILE, find_weights, last_run, run_weights


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def make_run(name: str, written: int, *, best: bool = False) -> Path:
    folder = Path("runs/train") / name
    folder.mkdir(parents=True)
    for file in (WEIGHTS_FILE, *([BEST_FILE] if best else [])):
        (folder / file).touch()
        os.utime(folder / file, (written, written))
    return folder


def test_the_last_run_is_the_one_whose_weights_are_the_newest() -> None:
    assert last_run() is None
    Path("runs/train/empty").mkdir(parents=True)
    assert last_run() is None
    old, new = make_run("z", 100, best=True), make_run("a", 200)
    assert last_run() == new
    assert (run_weights(old), run_weights(new)) == (old / BEST_FILE, new / WEIGHTS_FILE)


def test_names_for_the_weights_of_runs() -> None:
    with pytest.raises(WeightsError, match="no run in runs/train has weights"):
        find_weights("last")
    old = make_run("old", 100, best=True)
    assert find_weights("last") == old / WEIGHTS_FILE
    assert find_weights("best") == old / BEST_FILE
    new = make_run("new", 200)
    assert find_weights("last") == new / WEIGHTS_FILE
    with pytest.raises(WeightsError, match="runs/train/new was not validated"):
        find_weights("best")
    assert (find_weights("old"), find_weights("new")) == (old / BEST_FILE, new / WEIGHTS_FILE)
    with pytest.raises(ConfigError, match="unknown weights 'odl'") as error:
        find_weights("odl")
    assert "did you mean 'old'" in error.value.hint


def test_a_file_comes_before_the_names(tmp_path: Path) -> None:
    make_run("x", 100)
    Path("last").touch()
    assert find_weights("last") == Path("last")
