from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from frcnn_cli.config import DetectConfig
from frcnn_cli.engine.checkpoint import WeightsHeader
from frcnn_cli.engine.detect import Detector
from frcnn_cli.models.backbones import BACKBONES, CAFFE_MEAN, CAFFE_STD, Backbone
from frcnn_cli.models.fast_rcnn import build
from frcnn_cli.proposers.cache import ProposalSource
from frcnn_cli.proposers.methods import selective_search

NAME = "tiny"
CLASSES = ("ball", "box", "tile")


def _features() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=4, padding=1),
        nn.ReLU(),
    )


def add_tiny_backbone(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """Make the backbone `tiny` known; returns a file of weights for --init."""
    layers = {"conv1": 0, "conv2": 2}
    row = Backbone(_features, 16, 16, 3, (32, 24), layers, "conv2", CAFFE_MEAN, CAFFE_STD, None)
    monkeypatch.setitem(BACKBONES, NAME, row)
    torch.manual_seed(0)
    state = {f"features.{key}": value for key, value in _features().state_dict().items()}
    path = folder / "tiny.pth"
    torch.save(state, path)
    return path


def tiny_detector(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Detector:
    """A detector of the synthetic data set's classes with random weights."""
    add_tiny_backbone(monkeypatch, folder)
    torch.manual_seed(1)
    model = build(NAME, len(CLASSES))
    torch.nn.init.normal_(model.cls_score.weight, std=0.5)
    header = WeightsHeader(NAME, CLASSES, CAFFE_MEAN, CAFFE_STD, 240, 400)
    source = ProposalSource(selective_search(), folder / "proposals")
    return Detector(model, header, source, DetectConfig(score_threshold=0.2), "cpu")
