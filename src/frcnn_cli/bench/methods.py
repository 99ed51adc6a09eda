"""What `frcnn bench` measures: the detectors of the paper's Table 4, and what makes ours faster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..checkpoints.weights import WeightsHeader
from ..config import DetectConfig, Precision
from ..inference.detector import Detector
from ..models.backbones import backbone_spec
from ..models.detectors import DETECTORS, build_network
from ..models.low_rank import random_pair
from ..models.region_network import RegionNetwork
from ..models.region_operators import RegionOperator
from ..proposers.cache import ProposalSource

CLASSES = 20  # of VOC
SCALE, MAX_SIZE = 600, 1000  # pixels; Fast R-CNN, section 5.2
FIVE_SCALES, FIVE_MAX_SIZE = (480, 576, 688, 864, 1200), 2000  # He et al. 2014; the paper's code
PAPER_RANKS = {"fc6": 1024, "fc7": 256}  # Fast R-CNN, section 4.4
OUR_RANKS = {"fc6": 256, "fc7": 256}  # those that frcnn compress chooses
SHIPPED_RANKS = {"fc6": 128, "fc7": 128}  # of the default weights
# Logit of the background, with random weights for the classes: a few dozen candidates an image.
_BACKGROUND_LOGIT = 4.0


@dataclass(frozen=True, kw_only=True)
class Method:
    """A detector, and how it runs."""

    title: str
    detector: str  # key of DETECTORS
    scales: tuple[int, ...] = (SCALE,)
    max_size: int = MAX_SIZE
    precision: Precision | None = None  # None: that of the measurement
    ranks: Mapping[str, int] = field(default_factory=dict)  # of the fully connected layers
    # RoIs with equal features are computed once; otherwise every RoI goes through all layers
    distinct: bool = False
    sampled: bool = False  # some regions are measured, and the time of the others extrapolated


METHODS: dict[str, Method] = {
    "rcnn": Method(title="R-CNN", detector="rcnn", sampled=True),
    "sppnet": Method(title="SPPnet", detector="sppnet"),
    "sppnet_5": Method(
        title="SPPnet, five scales",
        detector="sppnet",
        scales=FIVE_SCALES,
        max_size=FIVE_MAX_SIZE,
    ),
    "fast_rcnn": Method(title="Fast R-CNN", detector="fast_rcnn"),
    "fast_rcnn_svd": Method(
        title="Fast R-CNN, SVD 1024/256", detector="fast_rcnn", ranks=PAPER_RANKS
    ),
    "distinct": Method(title="+ equal RoIs once", detector="fast_rcnn", distinct=True),
    "precision": Method(
        title="+ precision auto", detector="fast_rcnn", distinct=True, precision="auto"
    ),
    "ours": Method(
        title="+ SVD 256: ours",
        detector="fast_rcnn",
        distinct=True,
        precision="auto",
        ranks=OUR_RANKS,
    ),
    "shipped_ranks": Method(
        title="+ SVD 128",
        detector="fast_rcnn",
        distinct=True,
        precision="auto",
        ranks=SHIPPED_RANKS,
    ),
    "same_precision": Method(
        title="ours without precision auto",
        detector="fast_rcnn",
        distinct=True,
        ranks=OUR_RANKS,
    ),
}
# What each step adds: the method before it, and the method with it.
LEVERS: dict[str, tuple[str, str]] = {
    "shared convolutions": ("rcnn", "fast_rcnn"),
    "equal RoIs once": ("fast_rcnn", "distinct"),
    "precision": ("distinct", "precision"),
    "SVD 256": ("precision", "ours"),
    "SVD 128": ("ours", "shipped_ranks"),
}
# Speed-ups over R-CNN in Table 4 of the paper, without proposals, for its networks S, M and L.
PAPER_SPEEDUPS: dict[str, dict[str, float]] = {
    "alexnet": {"fast_rcnn": 98, "fast_rcnn_svd": 169},
    "vgg_cnn_m_1024": {"fast_rcnn": 80, "fast_rcnn_svd": 150},
    "vgg16": {"sppnet_5": 20, "fast_rcnn": 146, "fast_rcnn_svd": 213},
}


@dataclass(frozen=True)
class EveryRoI:
    """A region operator that takes no two RoIs for equal."""

    operator: RegionOperator

    @property
    def bins(self) -> int:
        """See `RegionOperator`."""
        return self.operator.bins

    def __call__(self, maps: Tensor, rois: Tensor) -> Tensor:
        """See `RegionOperator`."""
        return self.operator(maps, rois)

    def distinct(self, rois: Tensor) -> tuple[Tensor, Tensor]:
        """All RoIs, in order."""
        return torch.arange(len(rois)), torch.arange(len(rois))

    def in_chunks(self, maps: Tensor, size: int, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """See `RegionOperator`."""
        return self.operator.in_chunks(maps, size, dtype)

    def for_export(self, max_side: int) -> Callable[[Tensor, Tensor], Tensor]:
        """See `RegionOperator`."""
        return self.operator.for_export(max_side)

    def from_channels_first(self, weight: Tensor) -> Tensor:
        """See `RegionOperator`."""
        return self.operator.from_channels_first(weight)


def make_network(method: Method, backbone: str) -> RegionNetwork:
    """A network with random weights, which take as long as trained ones."""
    network = build_network(backbone, CLASSES, method.detector)
    with torch.no_grad():
        network.cls_score.bias[0] = _BACKGROUND_LOGIT
    for name, layer in network.compressible_layers().items():
        if name in method.ranks:
            rank = min(method.ranks[name], layer.out_features // 4)
            network.fc_layers[name] = random_pair(layer, rank)
    if not method.distinct:
        network.region_operator = EveryRoI(network.region_operator)
    return network


def make_detector(
    method: Method, backbone: str, source: ProposalSource, precision: Precision, device: str
) -> Detector:
    """The detector of a method.

    Args:
        source: is not asked for proposals. precision: where the method has none of its own.
    """
    spec = DETECTORS[method.detector]
    header = WeightsHeader(
        backbone=backbone,
        classes=tuple(f"class {number}" for number in range(1, CLASSES + 1)),
        pixels=backbone_spec(backbone).pixels,
        scale=SCALE,
        max_size=MAX_SIZE,
        detector=method.detector,
        region_operator=spec.region_operator,
        score_function=spec.score_function,
        warp=spec.warp,
    )
    config = DetectConfig(
        precision=method.precision or precision, scales=method.scales, max_size=method.max_size
    )
    return Detector(make_network(method, backbone), header, source, config, device)
