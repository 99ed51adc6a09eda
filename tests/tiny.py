from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from frcnn_cli.models.backbones import BACKBONES, CAFFE_MEAN, CAFFE_STD, Backbone

NAME = "tiny"


def _features() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=4, padding=1),
        nn.ReLU(),
    )


def add_tiny_backbone(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """Make the backbone `tiny` known; returns a file of weights for --init."""
    row = Backbone(_features, 16, 16, 3, (32, 24), 1, CAFFE_MEAN, CAFFE_STD, None)
    monkeypatch.setitem(BACKBONES, NAME, row)
    torch.manual_seed(0)
    state = {f"features.{key}": value for key, value in _features().state_dict().items()}
    path = folder / "tiny.pth"
    torch.save(state, path)
    return path
