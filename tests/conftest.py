from __future__ import annotations

from pathlib import Path

import pytest

from synthetic import write_voc


@pytest.fixture(autouse=True)
def frcnn_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("FRCNN_HOME", str(home))
    monkeypatch.delenv("FRCNN_DATA", raising=False)
    return home


@pytest.fixture
def voc_folder(tmp_path: Path) -> Path:
    return write_voc(tmp_path / "voc", count=8, seed=7)
