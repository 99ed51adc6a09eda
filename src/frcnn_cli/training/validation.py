"""Validating a network while it is trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..checkpoints.weights import WeightsHeader
from ..config import DetectConfig, Precision
from ..data.content import shared_files
from ..data.dataset import Dataset
from ..evaluation.detection_set import DetectionSet, detect_set
from ..inference.detector import Detector
from ..models.region_network import RegionNetwork
from ..proposers.cache import ProposalSource
from ..runtime.progress import Progress, silent
from .learner import Learner
from .metrics import write_class_row
from .pictures import write_predictions
from .trainer import Validator


def check_validation_images(validation: Dataset, training: Dataset) -> int:
    """Check that the validation images have objects.

    Returns:
        The number of validation images that are trained on too; the higher it is, the less
        meaningful the validation.
    Raises:
        DataError: no validation image has an object that is not difficult.
    """
    validation.require_objects()
    return shared_files(validation.paths, training.paths)


def make_validator(
    learner: Learner,
    dataset: Dataset,
    *,
    threads: int,
    folder: Path | None = None,
    progress: Progress = silent,
) -> Validator:
    """A function that validates networks on a data set, on the learner's device and precision.

    Args:
        threads: that read images ahead. progress: shows the progress of each validation.
        folder: where each validation leaves the AP of every class and a picture of detections.
    """

    def validate(
        network: RegionNetwork, header: WeightsHeader, check_stop: Callable[[], None]
    ) -> float:
        def after_image() -> None:
            advance("")
            check_stop()

        with progress("validating", len(dataset), "images") as advance:
            detected = detect_in_validation(
                network,
                header,
                learner.batches.source,
                dataset,
                device=str(learner.device),
                precision=learner.runtime.precision,
                threads=threads,
                on_image=after_image,
            )
        result = detected.evaluate("voc07")
        if folder is not None:
            write_class_row(folder, learner.iteration, result.ap_by_class)
            write_predictions(folder, detected.dataset, detected.detections)
        return result.mean_ap

    return validate


def detect_in_validation(
    network: RegionNetwork,
    header: WeightsHeader,
    source: ProposalSource,
    dataset: Dataset,
    *,
    device: str,
    precision: Precision,
    threads: int,
    on_image: Callable[[], None] = lambda: None,
) -> DetectionSet:
    """The detections of a network, of the objects of its classes, in every image of a data set.

    The network is left in evaluation mode.

    Args:
        threads: that read images ahead. on_image: called after each image.
    """
    detector = Detector(network, header, source, DetectConfig(precision=precision), device)
    return detect_set(detector, dataset, workers=threads, on_image=on_image)
