from __future__ import annotations

import signal
from collections.abc import Iterator
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


@pytest.fixture
def usual_signals() -> Iterator[None]:
    """The usual effect of SIGINT and SIGHUP, also where the tests run in a shell's background or
    under nohup, which ignore them. Processes that are started inherit it."""
    before = (
        signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    yield
    signal.signal(signal.SIGINT, before[0])
    signal.signal(signal.SIGHUP, before[1])
