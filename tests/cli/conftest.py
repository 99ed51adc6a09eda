from __future__ import annotations

from pathlib import Path

import pytest
import torch

from frcnn_cli.checkpoints.weights import WeightsHeader, save_weights
from frcnn_cli.models.backbones import CAFFE_PIXELS
from frcnn_cli.models.detectors import build_network
from tiny import NAME, add_tiny_backbone


@pytest.fixture
def init(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return add_tiny_backbone(monkeypatch, tmp_path)


@pytest.fixture
def weights(init: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # the tests of compression distil to the end
    monkeypatch.setattr("frcnn_cli.compression.distillation.STEPS", 60)
    torch.manual_seed(1)
    model = build_network(NAME, 3)
    torch.nn.init.normal_(model.cls_score.weight, std=0.5)
    path = tmp_path / "w.safetensors"
    header = WeightsHeader(
        backbone=NAME, classes=("ball", "box", "tile"), pixels=CAFFE_PIXELS, scale=100, max_size=160
    )
    save_weights(path, model, header)
    return path
