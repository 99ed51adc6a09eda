"""Backbones that torchvision builds; it is imported when one of them is used."""

from __future__ import annotations

import torch

from .folding import fold_norms
from .stages import ConvertedModel, convert


def mobilenet_v3_large() -> ConvertedModel:
    """MobileNetV3-Large (Howard et al. 2019) without its last convolution: 112 channels of stride
    16 and 160 of stride 32."""
    from torchvision import models

    model = models.mobilenet_v3_large()
    norms = fold_norms(model, torch.zeros(1, 3, 64, 64))
    return convert(model, norms, model.features[:13], model.features[13:16])


def convnext_tiny() -> ConvertedModel:
    """ConvNeXt-Tiny (Liu et al. 2022): 384 channels of stride 16 and 768 of stride 32.

    No block is left out at random during training.
    """
    from torchvision import models

    model = models.convnext_tiny(stochastic_depth_prob=0.0)
    return convert(model, [], model.features[:6], model.features[6:])


def resnet(depth: int) -> ConvertedModel:
    """A ResNet of 18 or 50 layers (He et al. 2016) without its classifier: 256 or 1,024 channels of
    stride 16, and twice as many of stride 32."""
    from torchvision import models

    model = {18: models.resnet18, 50: models.resnet50}[depth]()
    norms = fold_norms(model, torch.zeros(1, 3, 64, 64))
    stem = (model.conv1, model.bn1, model.relu, model.maxpool)
    fine = (*stem, model.layer1, model.layer2, model.layer3)
    return convert(model, norms, fine, [model.layer4])
