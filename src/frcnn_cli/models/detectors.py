"""The registry of detectors, and the function that builds their networks.

To add a detector, add an entry to DETECTORS. If it needs a new region operator or score function,
add that to REGION_OPERATORS or SCORE_FUNCTIONS. No other code names a detector.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ..config import Geometry
from ..errors import ConfigError, unknown_name
from .backbones import BackboneSpec, backbone_spec
from .region_network import RegionNetwork
from .region_operators import REGION_OPERATORS
from .warp import Warp

DEFAULT_DETECTOR = "fast_rcnn"


@dataclass(frozen=True)
class DetectorSpec:
    """The parts in which detectors differ."""

    region_operator: str  # key of REGION_OPERATORS
    score_function: str  # key of SCORE_FUNCTIONS
    # Regions are cut out of the image before the convolutions; None: pooled from their maps.
    warp: Warp | None = None
    class_agnostic: bool = False  # the box of a region is refined alike for every class
    # "caffe": boxes end with their last pixel, and max pooling rounds the number of cells up, as in
    # Caffe; "torch": with the pixel after it, and as the backbone has it
    geometry: Geometry = "torch"


DETECTORS: dict[str, DetectorSpec] = {
    "rcnn": DetectorSpec(region_operator="roi_max_pool", score_function="softmax", warp=Warp()),
    "sppnet": DetectorSpec(region_operator="spatial_pyramid", score_function="softmax"),
    "fast_rcnn": DetectorSpec(region_operator="roi_max_pool", score_function="softmax"),
}


def build_network(
    backbone_name: str, class_count: int, detector: DetectorSpec | str = DEFAULT_DETECTOR
) -> RegionNetwork:
    """Build a network with random weights.

    fc6 and fc7 start from He's initialisation, the classification layer from a normal distribution
    of standard deviation 0.01, the regression layer from one of 0.001, and biases from 0 (the last
    three: Fast R-CNN, section 2.3).

    Args:
        backbone_name: of a `backbone_spec`.
        class_count: K, without the background.
        detector: key of DETECTORS, or the spec of a detector that is not registered.
    Raises:
        ConfigError: no such backbone or detector.
    """
    backbone = backbone_spec(backbone_name)
    if isinstance(detector, str):
        if detector not in DETECTORS:
            raise unknown_name("detector", detector, DETECTORS)
        detector = DETECTORS[detector]
    operator = REGION_OPERATORS[detector.region_operator](backbone)
    width = backbone.channels * operator.bins
    fc_layers: dict[str, nn.Module] = {}
    for name, size in backbone.fc_layers.items():
        layer = nn.Linear(width, size)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
        fc_layers[name] = layer
        width = size
    cls_score = nn.Linear(width, class_count + 1)
    bbox_pred = nn.Linear(width, 4 if detector.class_agnostic else (class_count + 1) * 4)
    nn.init.normal_(cls_score.weight, std=0.01)
    nn.init.normal_(bbox_pred.weight, std=0.001)
    nn.init.zeros_(cls_score.bias)
    nn.init.zeros_(bbox_pred.bias)
    return RegionNetwork(
        backbone=backbone,
        region_operator=operator,
        features=_features(backbone, detector.geometry),
        fc_layers=fc_layers,
        cls_score=cls_score,
        bbox_pred=bbox_pred,
        score_function=detector.score_function,
        warp=detector.warp,
        ends_are_inside=detector.geometry == "caffe",
    )


def _features(backbone: BackboneSpec, geometry: Geometry) -> nn.Sequential:
    """The convolutions of a backbone.

    Raises:
        ConfigError: it has batch normalisation whose statistics change during training.
    """
    features = backbone.features()
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in features.modules()):
        raise ConfigError(
            f"backbone {backbone.name!r} has batch normalisation with running statistics",
            "use torchvision.ops.FrozenBatchNorm2d: batches of two images are too small for it",
        )
    for module in features.modules():
        if isinstance(module, nn.MaxPool2d) and geometry == "caffe":
            module.ceil_mode = True
    return features
