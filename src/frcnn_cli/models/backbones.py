"""Backbones: one row each, and the convolutions they name.

The key names are torchvision's, so its ImageNet weights load as they are. AlexNet, VGG16 and
SqueezeNet are written out here: importing torchvision costs more than detecting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import unknown_name
from ..ops.conv import Conv2d, MaxPool2d

TORCHVISION_MEAN, TORCHVISION_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
CAFFE_MEAN, CAFFE_STD = (122.7717, 115.9465, 102.9801), (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Backbone:
    """Everything the toolkit knows about a backbone."""

    features: Callable[[], nn.Sequential]  # images B×3×H×W -> B×channels×H/stride×W/stride
    channels: int
    stride: int  # input pixels per feature cell
    pooled_size: int  # bins a side
    fc_sizes: tuple[int, ...]  # outputs of fc6, fc7, ...
    layers: Mapping[str, int]  # a group of convolutions -> its first module in `features`
    trained_from: str  # the first layer that training changes; those before it stay
    pixel_mean: tuple[float, float, float]  # of the weights that `torchvision` names
    pixel_std: tuple[float, float, float]
    torchvision: str | None  # the name of torchvision's weights, or None
    prefix: str = "features."  # of the feature keys in a file of ImageNet weights
    classifier: tuple[str, ...] = ()  # the layers of such a file that become fc6, fc7


def _alexnet() -> nn.Sequential:
    return nn.Sequential(
        Conv2d(3, 64, 11, stride=4, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2),
        Conv2d(64, 192, 5, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2),
        Conv2d(192, 384, 3, padding=1),
        nn.ReLU(inplace=True),
        Conv2d(384, 256, 3, padding=1),
        nn.ReLU(inplace=True),
        Conv2d(256, 256, 3, padding=1),
        nn.ReLU(inplace=True),
    )


def _vgg16() -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for width in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512):
        if width == 0:
            layers.append(MaxPool2d(2, 2))
            continue
        layers += [Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
        channels = width
    return nn.Sequential(*layers)


class LocalResponseNorm(nn.LocalResponseNorm):
    """In float32 whatever the precision: not all processors have others, and squares overflow."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same."""
        return super().forward(x.float()).to(x.dtype)


def _vgg_cnn_m_1024() -> nn.Sequential:
    return nn.Sequential(
        Conv2d(3, 96, 7, stride=2),
        nn.ReLU(inplace=True),
        LocalResponseNorm(5, alpha=5e-4, k=2.0),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Conv2d(96, 256, 5, stride=2, padding=1),
        nn.ReLU(inplace=True),
        LocalResponseNorm(5, alpha=5e-4, k=2.0),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Conv2d(256, 512, 3, padding=1),
        nn.ReLU(inplace=True),
        Conv2d(512, 512, 3, padding=1),
        nn.ReLU(inplace=True),
        Conv2d(512, 512, 3, padding=1),
        nn.ReLU(inplace=True),
    )


class Fire(nn.Module):
    """Squeeze to few channels, expand by 1×1 and 3×3 side by side (Iandola et al. 2016)."""

    def __init__(self, channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = Conv2d(channels, squeeze, 1)
        self.expand1x1 = Conv2d(squeeze, expand, 1)
        self.expand3x3 = Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] to [B, 2 * expand, H, W]."""
        x = self.squeeze(x).relu_()
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], dim=1).relu_()


def _squeezenet1_1() -> nn.Sequential:
    return nn.Sequential(
        Conv2d(3, 64, 3, stride=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(64, 16, 64),
        Fire(128, 16, 64),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(128, 32, 128),
        Fire(256, 32, 128),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(256, 48, 192),
        Fire(384, 48, 192),
        Fire(384, 64, 256),
        Fire(512, 64, 256),
    )


def _resnet(depth: int) -> Callable[[], nn.Sequential]:
    def build() -> nn.Sequential:
        from torchvision.models import resnet18, resnet50
        from torchvision.ops import FrozenBatchNorm2d

        model = {18: resnet18, 50: resnet50}[depth](norm_layer=FrozenBatchNorm2d)
        names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")
        features = nn.Sequential()
        for name in names:  # up to the last layer of stride 16
            features.add_module(name, getattr(model, name))
        return features

    return build


BACKBONES: dict[str, Backbone] = {
    # the paper's S
    "alexnet": Backbone(
        _alexnet, 256, 16, 6, (4096, 4096),
        {"conv1": 0, "conv2": 3, "conv3": 6, "conv4": 8, "conv5": 10}, "conv2",
        TORCHVISION_MEAN, TORCHVISION_STD,
        "AlexNet_Weights.IMAGENET1K_V1", classifier=("classifier.1", "classifier.4"),
    ),
    # the paper's L; conv1_x and conv2_x stay frozen (section 4.5)
    "vgg16": Backbone(
        _vgg16, 512, 16, 7, (4096, 4096),
        {"conv1_1": 0, "conv2_1": 5, "conv3_1": 10, "conv4_1": 17, "conv5_1": 24}, "conv3_1",
        TORCHVISION_MEAN, TORCHVISION_STD,
        "VGG16_Weights.IMAGENET1K_V1", classifier=("classifier.0", "classifier.3"),
    ),
    # the paper's M; Caffe's weights are the only ones, by --init
    "vgg_cnn_m_1024": Backbone(
        _vgg_cnn_m_1024, 512, 16, 6, (4096, 1024),
        {"conv1": 0, "conv2": 4, "conv3": 8, "conv4": 10, "conv5": 12}, "conv2",
        CAFFE_MEAN, CAFFE_STD, None,
        classifier=("classifier.0", "classifier.3"),
    ),
    "squeezenet1_1": Backbone(
        _squeezenet1_1, 512, 16, 6, (1024, 1024),
        {"conv1": 0, "fire2": 3, "fire4": 6, "fire6": 9, "fire8": 11}, "fire2",
        TORCHVISION_MEAN, TORCHVISION_STD,
        "SqueezeNet1_1_Weights.IMAGENET1K_V1",
    ),
    "resnet18": Backbone(
        _resnet(18), 256, 16, 7, (1024, 1024),
        {"conv1": 0, "layer1": 4, "layer2": 5, "layer3": 6}, "layer2",
        TORCHVISION_MEAN, TORCHVISION_STD,
        "ResNet18_Weights.IMAGENET1K_V1", prefix="",
    ),
    "resnet50": Backbone(
        _resnet(50), 1024, 16, 7, (1024, 1024),
        {"conv1": 0, "layer1": 4, "layer2": 5, "layer3": 6}, "layer2",
        TORCHVISION_MEAN, TORCHVISION_STD,
        "ResNet50_Weights.IMAGENET1K_V2", prefix="",
    ),
}  # fmt: skip


def backbone(name: str) -> Backbone:
    """The row of that name.

    Raises:
        ConfigError: there is none; the nearest name is offered.
    """
    if name not in BACKBONES:
        raise unknown_name("backbone", name, BACKBONES)
    return BACKBONES[name]
