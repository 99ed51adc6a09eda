from __future__ import annotations

import json
import math
import os
import tomllib
from pathlib import Path

import pytest

from frcnn_cli.errors import ConfigError, DataError
from frcnn_cli.training import runs
from frcnn_cli.training.state import STATE_FILE


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "mine"
    made = [runs.create(folder).name for _ in range(3)]
    assert made == ["mine", "mine-2", "mine-3"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot make"):
        runs.create(tmp_path / "file" / "run")


def test_the_latest_run_has_the_newest_checkpoint(tmp_path: Path) -> None:
    for seconds, name in ((3, "a"), (9, "b"), (6, "c")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / STATE_FILE).touch()
        os.utime(folder / STATE_FILE, (seconds, seconds))
    (tmp_path / "without").mkdir()
    assert runs.latest(tmp_path).name == "b"


def test_settings_are_read_back_as_they_were(tmp_path: Path) -> None:
    settings = {
        "text": 'a "b" \\ \x7f é',
        "path": Path("a/b"),
        "numbers": (480, 600),
        "rate": 1e-4,
        "minutes": math.inf,
        "flag": True,
        "left_out": None,
    }
    runs.write_settings(tmp_path, settings)
    read = tomllib.loads((tmp_path / runs.SETTINGS_FILE).read_text(encoding="utf-8"))
    assert read == {
        "text": 'a "b" \\ \x7f é',
        "path": "a/b",
        "numbers": "480,600",
        "rate": 1e-4,
        "minutes": math.inf,
        "flag": True,
    }
    assert "torch" in json.loads((tmp_path / runs.ENVIRONMENT_FILE).read_text())


def test_settings_that_are_too_long_to_be_read_again(tmp_path: Path) -> None:
    renamed = [f"a class with a long name {k}=b" for k in range(500)]
    with pytest.raises(
        ConfigError, match=r"the settings take 1\d,\d{3} bytes; config.toml may have"
    ):
        runs.write_settings(tmp_path, {"renamed": renamed})
    assert not list(tmp_path.iterdir())
    runs.write_settings(tmp_path, {"renamed": renamed[:400]})
    assert runs.read_settings(tmp_path) == {"renamed": renamed[:400]}


def test_a_path_that_is_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not UTF-8"):
        runs.write_settings(tmp_path, {"data": os.fsdecode(b"b\xe9")})
    assert not list(tmp_path.iterdir())
