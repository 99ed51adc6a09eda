"""The network of every detector: backbone, region operator, box head and predictor.

    maps = image_features(images)        convolutions, once for the whole image
    x = region_features(maps, rois)      the region operator: a vector for each RoI
                                         (R-CNN: warping and the convolutions, once for each RoI)
    h = box_head(x)                      fully connected layers fc6, fc7
    predict(h)                           class logits and box deltas (Fast R-CNN, section 2)

B: images, R: RoIs, K: classes, C: channels, D: length of a RoI's features, U: outputs of fc7.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import WeightsError, unknown_name
from ..runtime.timing import StageHook, Work, untimed
from ..structures import HeadOutput
from .backbones import BackboneSpec
from .dropout import ImageDropout
from .flops import convolution_flops, linear_flops
from .low_rank import low_rank_layer
from .region_operators import RegionOperator
from .warp import Warp, stack_maps, whole_maps

SVM = "svm"  # the score function of weights whose classes are linear SVMs
# A margin of -1, from which R-CNN's test code keeps detections, becomes a score of 0.05, which is
# the default threshold.
_MARGIN_STEEPNESS = math.log(0.95 / 0.05)

# Name -> function from class logits [R, K + 1] to scores in 0..1; column 0 is the background.
SCORE_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda logits: logits.float().softmax(dim=1),
    SVM: lambda margins: (_MARGIN_STEEPNESS * margins.float()).sigmoid(),
}

# Warped RoIs that go through the convolutions together; VGG16's maps of one take 26 MB.
_WARPED_CHUNK = 32


class RegionNetwork(nn.Module):
    """A backbone, a region operator, a box head and a predictor; made by `build_network`.

    Args:
        features: the convolutions of the backbone.
        fc_layers: the layers of the box head by name, in order; each is an nn.Linear, or an
            nn.Sequential of two of low rank.
        cls_score, bbox_pred: the layers of the predictor, with K + 1 and 4 * (K + 1) outputs;
            bbox_pred has 4 where boxes are refined alike for every class.
        score_function: a key of SCORE_FUNCTIONS.
        warp: cuts the RoIs out of the image before the convolutions, as in R-CNN; None where the
            convolutions see the whole image.
        ends_are_inside: its RoIs and boxes end with their last pixel; see `boxes.to_last_pixel`.
    """

    def __init__(
        self,
        *,
        backbone: BackboneSpec,
        region_operator: RegionOperator,
        features: nn.Sequential,
        fc_layers: Mapping[str, nn.Module],
        cls_score: nn.Linear,
        bbox_pred: nn.Linear,
        score_function: str,
        warp: Warp | None = None,
        ends_are_inside: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.region_operator = region_operator
        self.score_function = score_function
        self.warp = warp
        self.ends_are_inside = ends_are_inside
        self.features = features
        self.fc_layers = nn.ModuleDict(fc_layers)
        self.cls_score = cls_score
        self.bbox_pred = bbox_pred
        self.dropout = ImageDropout()
        # Low-rank versions of some of fc_layers, which choose the RoIs that the full layers score.
        self.prefilter = nn.ModuleDict()
        self.feature_scale: Tensor
        self.register_buffer("feature_scale", torch.ones(()))

    @property
    def device(self) -> torch.device:
        """The device that holds the network."""
        return self.feature_scale.device

    @property
    def dtype(self) -> torch.dtype:
        """The type in which the layers compute."""
        return self.cls_score.weight.dtype

    def forward(
        self, images: Tensor, rois: Tensor, choose: Callable[[Tensor, Tensor], Tensor] | None = None
    ) -> HeadOutput:
        """Score and refine every RoI.

        Args:
            images: [B, 3, H, W], normalised.
            rois: [R, 5], (index of the image, x1, y1, x2, y2) in pixels of `images`.
            choose: see `score_regions`.
        Returns:
            class_logits [R, K + 1] and box_deltas [R, K + 1, 4].
        """
        return self.score_regions(self.image_features(images), rois, choose)

    def score_regions(
        self, maps: Tensor, rois: Tensor, choose: Callable[[Tensor, Tensor], Tensor] | None = None
    ) -> HeadOutput:
        """`forward` after the convolutions.

        Args:
            maps: from `image_features`.
            choose: from maps and RoIs to the indices of those that are scored; None: all are.
        """
        if choose is not None:
            rois = rois[choose(maps, rois)]
        return self.heads(self.region_features(maps, rois))

    def image_features(self, images: Tensor) -> Tensor:
        """Feature maps [B, C, H', W'] of images [B, 3, H, W], float32.

        With warping, they are the images themselves.
        """
        return images.float() if self.warp else self.scale_features(self.features(images))

    def scale_features(self, maps: Tensor) -> Tensor:
        """Scale the output [B, C, H', W'] of the convolutions: the end of `image_features`."""
        return maps.float() * self.feature_scale

    def region_features(self, maps: Tensor, rois: Tensor) -> Tensor:
        """Features [R, D] of every RoI, from the maps of `image_features`."""
        if self.warp is None:
            return self.region_operator(maps, rois)
        return torch.cat(
            [self._pool_whole(self._convolve(self.warp(maps, part))) for part in _chunks(rois)]
        )

    def features_in_chunks(
        self, maps: Tensor, size: int, stage: StageHook = untimed
    ) -> Callable[[Tensor], Tensor]:
        """`region_features` for detection, which processes many RoIs in chunks.

        Args:
            maps: from `image_features`. size: largest number of RoIs in a chunk.
        Returns:
            A function from RoIs [r, 5], r <= size, to [r, D] in the type of the layers, which the
            next call may overwrite.
        """
        warp, dtype = self.warp, self.dtype

        def of_warped(rois: Tensor) -> Tensor:
            with stage("warp"):
                crops = warp(maps, rois) if warp else maps
            with stage("conv", lambda: Work(flops=len(rois) * self.region_flops())):
                crop_maps = self._convolve(crops)
            with stage("RoI pool", lambda: Work(bytes=crop_maps.nbytes)):
                return self._pool_whole(crop_maps).to(dtype)

        if warp is not None:
            return lambda rois: torch.cat(list(map(of_warped, _chunks(rois))))
        with stage("RoI pool", lambda: Work(bytes=maps.numel() * dtype.itemsize)):
            pool = self.region_operator.in_chunks(maps, size, dtype)
        row_bytes = self.region_operator.bins * maps.shape[1] * dtype.itemsize

        def pooled(rois: Tensor) -> Tensor:
            with stage("RoI pool", lambda: Work(bytes=len(rois) * row_bytes)):
                return pool(rois)

        return pooled

    def features_for_export(self, max_side: int) -> Callable[[Tensor, Tensor], Tensor]:
        """`region_features` of one image, from operations that ONNX has.

        Args:
            max_side: the longest side of an image, in pixels.
        Returns:
            A function from maps [1, C, H, W] and boxes [R, 4] to [R, D].
        """
        warp = self.warp
        if warp is None:
            return self.region_operator.for_export(max_side)
        pool = self.region_operator.for_export(warp.side)

        def of_warped(image: Tensor, boxes: Tensor) -> Tensor:
            crops = warp(image, F.pad(boxes, (1, 0)))
            return pool(*stack_maps(self._convolve(crops), self.backbone.stride))

        return of_warped

    def distinct(self, rois: Tensor) -> tuple[Tensor, Tensor]:
        """Find RoIs with equal features; see `RegionOperator.distinct`."""
        return (self.warp or self.region_operator).distinct(rois)

    def _convolve(self, crops: Tensor) -> Tensor:
        """Feature maps [R, C, h, w] of warped RoIs [R, 3, side, side], float32."""
        return self.scale_features(self.features(crops.to(self.dtype)))

    def _pool_whole(self, crop_maps: Tensor) -> Tensor:
        """Features [R, D] of warped RoIs, from the maps of each."""
        return self.region_operator(crop_maps, whole_maps(crop_maps, self.backbone.stride))

    def box_head(self, x: Tensor, stage: StageHook = untimed) -> Tensor:
        """Outputs [R, U] of the last fully connected layer, from RoI features [R, D]."""
        for name, layer in self.fc_layers.items():
            with stage(name, _linear_work(layer, x)):
                x = self.dropout(layer(x).relu())
        return x

    def prefilter_head(self, x: Tensor, stage: StageHook = untimed) -> Tensor:
        """`box_head` with the low-rank layers of `prefilter` in place of the full ones."""
        for layer in {**self.fc_layers, **self.prefilter}.values():  # in the order of fc_layers
            with stage("prefilter", _linear_work(layer, x)):
                x = layer(x).relu_()
        return x

    def predict(self, h: Tensor) -> HeadOutput:
        """Class logits and box deltas, from outputs [R, U] of the box head."""
        logits = self.cls_score(h)
        return HeadOutput(logits, self.predict_boxes(h))

    def predict_boxes(self, h: Tensor) -> Tensor:
        """The box deltas [R, K + 1, 4], from outputs [R, U] of the box head."""
        deltas: Tensor = self.bbox_pred(h)
        by_class = deltas.view(deltas.shape[0], self.bbox_pred.out_features // 4, 4)
        return by_class.expand(-1, self.cls_score.out_features, -1)

    def heads(self, x: Tensor) -> HeadOutput:
        """Box head and predictor, from RoI features [R, D]."""
        return self.predict(self.box_head(x))

    def scores(self, logits: Tensor) -> Tensor:
        """Scores in 0..1, float32, from class logits [R, K + 1]."""
        return SCORE_FUNCTIONS[self.score_function](logits)

    @torch.no_grad()
    def fit_feature_scale(self, images: Tensor) -> None:
        """Set `feature_scale` so that the features of `images` have a root mean square of one.

        Randomly initialised layers expect inputs of that size; the features of ImageNet weights
        from Caffe are tens of times larger.

        Args:
            images: [B, 3, H, W], normalised.
        """
        features = self.features(images)
        self.feature_scale.copy_(1 / features.square().mean().sqrt().clamp(min=1e-6))

    def to_precision(self, dtype: torch.dtype) -> RegionNetwork:
        """A copy whose layers compute in `dtype`; the network itself if they do already.

        Feature maps, the region operator and the scores stay in float32.
        """
        if self.dtype == dtype:
            return self
        network = copy.deepcopy(self)
        scale = network.feature_scale.float()
        network.to(dtype)
        network.feature_scale = scale
        return network

    def image_flops(self, size: tuple[int, int]) -> int:
        """Floating-point operations of the convolutions, for an image of (height, width) pixels.

        With warping there are none: see `region_flops`.
        """
        return 0 if self.warp else self._convolution_flops(size)

    def region_flops(self) -> int:
        """Floating-point operations of the convolutions for one RoI: none without warping."""
        return self._convolution_flops((self.warp.side, self.warp.side)) if self.warp else 0

    def _convolution_flops(self, size: tuple[int, int]) -> int:
        features = copy.deepcopy(self.features).to("meta")  # where nothing is computed
        image = torch.zeros((1, 3, *size), device="meta", dtype=self.dtype)
        return convolution_flops(features, image)

    def head_flops(self) -> int:
        """Floating-point operations of the box head and the predictor, for one RoI."""
        outputs = self.output_layers().values()
        return linear_flops(self.fc_layers) + sum(map(linear_flops, outputs))

    # The methods below give the layers by name, for compression, freezing and files.

    def compressible_layers(self) -> dict[str, nn.Linear]:
        """The layers of the box head at full rank, by name, in order."""
        layers = self.fc_layers.items()
        return {name: layer for name, layer in layers if isinstance(layer, nn.Linear)}

    def low_rank_layers(self) -> dict[str, nn.Sequential]:
        """The compressed layers of the box head, by name, in order."""
        layers = self.fc_layers.items()
        return {name: pair for name, pair in layers if isinstance(pair, nn.Sequential)}

    def output_layers(self) -> dict[str, nn.Linear]:
        """The two layers of the predictor, which are never compressed."""
        return {"cls_score": self.cls_score, "bbox_pred": self.bbox_pred}

    def with_fc_layers(self, fc_layers: Mapping[str, nn.Module]) -> RegionNetwork:
        """A network with another box head, which shares all other layers with this one."""
        network = RegionNetwork(
            backbone=self.backbone,
            region_operator=self.region_operator,
            features=self.features,
            fc_layers=fc_layers,
            cls_score=self.cls_score,
            bbox_pred=self.bbox_pred,
            score_function=self.score_function,
            warp=self.warp,
            ends_are_inside=self.ends_are_inside,
        )
        network.feature_scale = self.feature_scale
        return network.to(self.device).train(self.training)

    def set_ranks(self, ranks: Mapping[str, int]) -> None:
        """Replace layers of the box head by low-rank pairs, whose weights are to be loaded.

        Args:
            ranks: layer name -> rank.
        Raises:
            WeightsError: there is no such layer, or it cannot have the rank.
        """
        self.fc_layers.update(self._empty_pairs(ranks))

    def set_prefilter(self, ranks: Mapping[str, int]) -> None:
        """Add a prefilter of low-rank pairs, whose weights are to be loaded.

        Args:
            ranks: layer name -> rank.
        Raises:
            WeightsError: see `set_ranks`.
        """
        self.prefilter.update(self._empty_pairs(ranks))

    def _empty_pairs(self, ranks: Mapping[str, int]) -> dict[str, nn.Module]:
        layers, pairs = self.compressible_layers(), dict[str, nn.Module]()
        for name, rank in ranks.items():
            layer = layers.get(name)
            if layer is None or not 1 <= rank <= min(layer.weight.shape):
                raise WeightsError(
                    f"the header asks for rank {rank} of a layer {name!r} that cannot have it",
                    "the file is damaged: train or compress again",
                )
            pairs[name] = low_rank_layer(layer.in_features, layer.out_features, rank)
        return pairs

    def layer_names(self) -> list[str]:
        """The names of the layers at which training can start (see `freeze_before`), in order."""
        return [*self.backbone.layers, *self.fc_layers, *self.output_layers()]

    def freeze_before(self, first: str | None) -> None:
        """Exclude all layers before `first` from training (Fast R-CNN, section 4.5).

        Args:
            first: one of `layer_names()`; None for the backbone's `first_trained`.
        Raises:
            ConfigError: the network has no such layer.
        """
        groups, names = self.backbone.layers, self.layer_names()
        first = first or self.backbone.first_trained
        if first not in names:
            raise unknown_name("layer", first, names)
        for module in list(self.features)[: groups.get(first)]:
            module.requires_grad_(False)
        if first in groups:
            return
        layers = {**self.fc_layers, **self.output_layers()}
        for name in names[len(groups) : names.index(first)]:
            layers[name].requires_grad_(False)

    def split_features(self) -> tuple[nn.Sequential, nn.Sequential]:
        """The frozen convolutions, and those from the first trained one to the last.

        With warping, none count as frozen: no maps of an image can be kept for later.
        """
        if self.warp is not None:
            return self.features[:0], self.features
        count = len(self.features)
        for index, module in enumerate(self.features):
            if any(parameter.requires_grad for parameter in module.parameters()):
                count = index
                break
        return self.features[:count], self.features[count:]


def _chunks(rois: Tensor) -> Sequence[Tensor]:
    """RoIs [R, 5] in parts that can go through the convolutions together; one part if R is 0."""
    return torch.split(rois, _WARPED_CHUNK)


def _linear_work(layer: nn.Module, x: Tensor) -> Callable[[], Work]:
    return lambda: Work(flops=x.shape[0] * linear_flops(layer))
