"""Judging a network while it is trained."""

from __future__ import annotations

from collections.abc import Callable

from ..checkpoints.weights import WeightsHeader
from ..config import DetectConfig
from ..data.dataset import Dataset
from ..evaluation.evaluate import evaluate_dataset
from ..inference.detector import Detector
from ..models.region_network import RegionNetwork
from ..proposers.cache import ProposalSource


def mean_average_precision(
    model: RegionNetwork,
    header: WeightsHeader,
    source: ProposalSource,
    dataset: Dataset,
    device: str,
    precision: str,
    workers: int,
    on_image: Callable[[], None],
) -> float:
    """VOC2007 mean average precision of a network, 0..1, which is left in evaluation mode.

    Args:
        precision: one of `config.PRECISIONS`.
        workers: threads that read ahead. on_image: called after each image.
    """
    detector = Detector(model, header, source, DetectConfig(precision=precision), device)
    classes = dataset.with_classes(header.classes)
    return evaluate_dataset(detector, classes, workers, on_image).mean_ap
