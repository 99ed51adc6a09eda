"""The network whose weights these tests save, load and initialise."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from frcnn_cli.models import backbones
from frcnn_cli.models.detectors import build_network
from frcnn_cli.models.region_network import RegionNetwork
from frcnn_cli.structures import PixelStatistics

CHANNELS, BINS, HIDDEN = 8, 2, 16
CLASSES = ("ball", "box", "tile")


def one_convolution() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, CHANNELS, 3, stride=16, padding=1), nn.ReLU())


def add_small_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the backbone `tiny` known: a single convolution."""
    spec = backbones.BackboneSpec(
        name="tiny",
        features=one_convolution,
        channels=CHANNELS,
        stride=16,
        pooled_size=BINS,
        fc_layers={"fc6": HIDDEN, "fc7": HIDDEN},
        layers={"conv1": 0},
        first_trained="conv1",
        pixels=PixelStatistics((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        imagenet_weights=None,
        classifier_layers=("classifier.0", "classifier.3"),
    )
    monkeypatch.setitem(backbones.BACKBONES, "tiny", spec)


def small_network() -> RegionNetwork:
    torch.manual_seed(3)
    return build_network("tiny", len(CLASSES)).eval()


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.randn((2, 3, 96, 128), generator=torch.Generator().manual_seed(1))
    rois = torch.tensor(
        [[0, 0, 0, 127, 95], [0, 20, 10, 90, 70], [1, 5, 40, 60, 95], [1, 64, 0, 128, 60]]
    )
    return images, rois.float()


def outputs(network: RegionNetwork) -> tuple[torch.Tensor, torch.Tensor]:
    """Class logits and box deltas for `inputs()`."""
    with torch.no_grad():
        output = network.eval()(*inputs())
    return output.class_logits, output.box_deltas
