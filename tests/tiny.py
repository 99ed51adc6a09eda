from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from frcnn_cli.checkpoints.weights import WeightsHeader
from frcnn_cli.config import DetectConfig, Geometry
from frcnn_cli.inference.detector import Detector
from frcnn_cli.models.backbones import BACKBONES, CAFFE_PIXELS, BackboneSpec
from frcnn_cli.models.detectors import DETECTORS, build_network
from frcnn_cli.proposers.cache import ProposalSource
from frcnn_cli.proposers.registry import selective_search

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
    spec = BackboneSpec(
        name=NAME,
        features=_features,
        channels=16,
        stride=16,
        pooled_size=3,
        fc_layers={"fc6": 32, "fc7": 24},
        layers={"conv1": 0, "conv2": 2},
        first_trained="conv2",
        pixels=CAFFE_PIXELS,
        imagenet_weights=None,
    )
    monkeypatch.setitem(BACKBONES, NAME, spec)
    torch.manual_seed(0)
    state = {f"features.{key}": value for key, value in _features().state_dict().items()}
    path = folder / "tiny.pth"
    torch.save(state, path)
    return path


def tiny_detector(
    monkeypatch: pytest.MonkeyPatch, folder: Path, geometry: Geometry = "torch"
) -> Detector:
    """A detector of the synthetic data set's classes with random weights."""
    add_tiny_backbone(monkeypatch, folder)
    torch.manual_seed(1)
    model = build_network(NAME, len(CLASSES), replace(DETECTORS["fast_rcnn"], geometry=geometry))
    torch.nn.init.normal_(model.cls_score.weight, std=0.5)
    header = WeightsHeader(
        backbone=NAME,
        classes=CLASSES,
        pixels=CAFFE_PIXELS,
        scale=240,
        max_size=400,
        geometry=geometry,
    )
    source = ProposalSource(selective_search(), folder / "proposals")
    return Detector(model, header, source, DetectConfig(score_threshold=0.2), "cpu")
