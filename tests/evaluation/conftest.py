from __future__ import annotations

from pathlib import Path

import pytest

from frcnn_cli.data.dataset import Dataset
from frcnn_cli.data.voc import load_voc
from frcnn_cli.inference.detector import Detector
from tiny import tiny_detector


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Detector:
    return tiny_detector(monkeypatch, tmp_path)


@pytest.fixture
def dataset(voc_folder: Path) -> Dataset:
    return load_voc(voc_folder, "voc", "val", ())
