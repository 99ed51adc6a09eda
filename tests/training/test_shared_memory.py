from __future__ import annotations

import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest

from frcnn_cli.errors import Notice
from frcnn_cli.training import shared_memory
from frcnn_cli.training.shared_memory import affordable_workers
from tiny_training import CONFIG

MEGABYTE = 10**6
BATCHES = replace(CONFIG, images_per_batch=4, scales=(600,), max_size=2000)  # 48 MB


@pytest.mark.parametrize(
    ("free", "workers"), [(64 * MEGABYTE, 0), (150 * MEGABYTE, 1), (400 * MEGABYTE, 2)]
)
def test_as_many_workers_as_the_memory_has_room_for(
    monkeypatch: pytest.MonkeyPatch, free: int, workers: int
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    with pytest.warns(Notice, match=f"{free // MEGABYTE} MB free.* {workers or 'none'} will"):
        assert affordable_workers(BATCHES, 4) == workers


def test_enough_memory_is_not_spoken_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**10))
    assert affordable_workers(BATCHES, 4) == 4


def test_files_that_may_not_be_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**10))
    monkeypatch.setattr(shared_memory, "_file_limit", lambda: 47 * MEGABYTE)
    with pytest.warns(Notice, match="none"):
        assert affordable_workers(BATCHES, 4) == 0
