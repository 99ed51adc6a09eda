from __future__ import annotations

from pathlib import Path

import pytest

from frcnn_cli.config import SelectiveSearchConfig
from frcnn_cli.data.dataset import Dataset
from frcnn_cli.data.voc import load_voc
from frcnn_cli.proposers.cache import ProposalSource
from frcnn_cli.proposers.registry import selective_search
from tiny import add_tiny_backbone


@pytest.fixture
def init(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return add_tiny_backbone(monkeypatch, tmp_path)


@pytest.fixture
def dataset(voc_folder: Path) -> Dataset:
    return load_voc(voc_folder, "voc", "trainval", ())


@pytest.fixture
def source(tmp_path: Path) -> ProposalSource:
    return ProposalSource(selective_search(SelectiveSearchConfig()), tmp_path / "proposals")
