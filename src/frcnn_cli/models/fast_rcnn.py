"""The network of Fast R-CNN (section 2): convolutions, RoI pooling, fully connected layers, heads.

B: images, R: RoIs, K: classes, C: channels, P: bins a side.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import unknown_name
from ..ops.roi_pool import roi_pool
from ..structures import HeadOutput
from .backbones import backbone


class ImageDropout(nn.Module):
    """Dropout whose mask for the RoIs of an image depends on nothing but a seed of that image.

    So a batch that is shared out among processes is trained on as it is in one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.share = 0.0  # that is dropped
        self._draws: list[tuple[torch.Generator, int]] = []

    def reseed(self, seeds: Sequence[int], counts: Sequence[int], device: torch.device) -> None:
        """Begin a batch: a seed and a number of RoIs for each image, in the order of the RoIs."""
        generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self._draws = list(zip(generators, counts, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Drop entries of x [R, U] while training, and make up for them."""
        if not self.training or not self.share:
            return x
        keep = 1 - self.share
        masks = [
            torch.empty((count, x.shape[1]), device=x.device, dtype=x.dtype).bernoulli_(
                keep, generator=generator
            )
            for generator, count in self._draws
        ]
        return x * torch.cat(masks).div_(keep)


class FastRCNN(nn.Module):
    """One pass over the images, then the heads over every RoI.

    The fully connected layers read the pooled features bin by bin, all channels of a bin together
    (P, P, C): the order in which the CPU kernel writes them, so that nothing is moved.
    """

    def __init__(
        self,
        features: nn.Sequential,
        stride: int,
        pooled_size: int,
        fc_layers: dict[str, nn.Module],
        cls_score: nn.Linear,
        bbox_pred: nn.Linear,
    ) -> None:
        super().__init__()
        self.features = features
        self.stride = stride
        self.pooled_size = pooled_size
        self.fc_layers = nn.ModuleDict(fc_layers)
        self.cls_score = cls_score
        self.bbox_pred = bbox_pred
        self.dropout = ImageDropout()
        # layers of low rank that may stand in for some of fc_layers, to choose RoIs in detection
        self.screen = nn.ModuleDict()
        self.feature_scale: Tensor
        self.register_buffer("feature_scale", torch.ones(()))

    def forward(self, images: Tensor, rois: Tensor) -> HeadOutput:
        """Score and refine every RoI.

        Args:
            images: [B, 3, H, W], normalised. rois: [R, 5], (image, box in pixels of `images`).
        Returns:
            class_logits [R, K + 1] and box_deltas [R, K + 1, 4].
        """
        return self.heads(self.pool(self.features(images), rois))

    @torch.no_grad()
    def fit_feature_scale(self, images: Tensor) -> None:
        """Choose the factor that gives the features of these images [B, 3, H, W] a root mean
        square of one: what a fully connected layer that starts from random is made for. Weights
        of Caffe's lineage give features in the tens."""
        features = self.features(images)
        self.feature_scale.copy_(1 / features.square().mean().sqrt().clamp(min=1e-6))

    def pool(self, features: Tensor, rois: Tensor) -> Tensor:
        """Fixed-size features of every RoI, [R, P * P * C]."""
        return self.pool_scaled(features.float() * self.feature_scale, rois)

    def pool_scaled(self, features: Tensor, rois: Tensor) -> Tensor:
        """`pool`, of features that were multiplied by `feature_scale` already."""
        size = (self.pooled_size, self.pooled_size)
        pooled = roi_pool(features, rois, size, 1 / self.stride)  # [R, C, P, P]
        return pooled.permute(0, 2, 3, 1).flatten(1)

    def hidden(self, x: Tensor) -> Tensor:
        """What the last fully connected layer makes of pooled features [R, P * P * C]."""
        for layer in self.fc_layers.values():
            x = self.dropout(layer(x).relu())
        return x

    def screen_hidden(self, x: Tensor) -> Tensor:
        """`hidden`, with the layers of `screen` in the place of those that they stand for."""
        for layer in {**self.fc_layers, **self.screen}.values():  # in the order of fc_layers
            x = layer(x).relu_()
        return x

    def heads(self, x: Tensor) -> HeadOutput:
        """The fully connected part, from pooled features [R, P * P * C]."""
        x = self.hidden(x)
        logits = self.cls_score(x)
        deltas = self.bbox_pred(x)
        return HeadOutput(logits, deltas.view(len(deltas), logits.shape[1], 4))


def build(backbone_name: str, class_count: int) -> FastRCNN:
    """A network for `class_count` classes (K, without the background), randomly initialised.

    The sibling layers start from N(0, 0.01) and N(0, 0.001), biases from 0 (section 2.3).
    """
    row = backbone(backbone_name)
    width = row.channels * row.pooled_size**2
    fc_layers: dict[str, nn.Module] = {}
    for number, size in enumerate(row.fc_sizes, start=6):
        layer = nn.Linear(width, size)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
        fc_layers[f"fc{number}"] = layer
        width = size
    cls_score = nn.Linear(width, class_count + 1)
    bbox_pred = nn.Linear(width, (class_count + 1) * 4)
    nn.init.normal_(cls_score.weight, std=0.01)
    nn.init.normal_(bbox_pred.weight, std=0.001)
    nn.init.zeros_(cls_score.bias)
    nn.init.zeros_(bbox_pred.bias)
    return FastRCNN(row.features(), row.stride, row.pooled_size, fc_layers, cls_score, bbox_pred)


def layer_names(backbone_name: str) -> list[str]:
    """The layers that training can start from, in the order of the network."""
    row = backbone(backbone_name)
    fully_connected = [f"fc{number}" for number in range(6, 6 + len(row.fc_sizes))]
    return [*row.layers, *fully_connected, "cls_score", "bbox_pred"]


def freeze(model: FastRCNN, backbone_name: str, first: str | None) -> None:
    """Keep all layers before `first` as they are (section 4.5); None: those of the backbone's row.

    Raises:
        ConfigError: the network has no such layer.
    """
    row, names = backbone(backbone_name), layer_names(backbone_name)
    first = first or row.trained_from
    if first not in names:
        raise unknown_name("layer", first, names)
    for module in list(model.features)[: row.layers.get(first)]:
        module.requires_grad_(False)
    if first in row.layers:
        return
    layers = {**model.fc_layers, "cls_score": model.cls_score}
    for name in names[len(row.layers) : names.index(first)]:
        layers[name].requires_grad_(False)


def frozen_modules(model: FastRCNN) -> int:
    """How many modules of `features`, from the first one on, come before all that learn."""
    for index, module in enumerate(model.features):
        if any(parameter.requires_grad for parameter in module.parameters()):
            return index
    return len(model.features)
