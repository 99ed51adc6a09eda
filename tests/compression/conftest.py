from __future__ import annotations

from pathlib import Path

import pytest
import torch

from frcnn_cli.compression.calibration import Calibration, calibrate
from frcnn_cli.inference.detector import Detector
from frcnn_cli.models.detectors import build_network
from frcnn_cli.models.region_network import RegionNetwork
from tiny import NAME, add_tiny_backbone, tiny_detector


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RegionNetwork:
    """Of two classes; fc6 is 32×144 and fc7 24×32, with break-even ranks 26.2 and 13.7."""
    add_tiny_backbone(monkeypatch, tmp_path)
    torch.manual_seed(2)
    return build_network(NAME, 2).eval()


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Detector:
    return tiny_detector(monkeypatch, tmp_path)


@pytest.fixture
def photographs(voc_folder: Path) -> list[Path]:
    return sorted((voc_folder / "JPEGImages").glob("*.jpg"))


@pytest.fixture
def calibration(detector: Detector, photographs: list[Path]) -> Calibration:
    return calibrate(detector, photographs, source="photographs", workers=1, on_image=lambda: None)
