"""Validating a network while it is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isnan
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
from .metrics import CLASSES_FILE, write_class_row
from .pictures import write_predictions
from .trainer import Validator

MAX_CLASSES = 8  # whose AP is told after each validation


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
    on_message: Callable[[str], None] = lambda message: None,
) -> Validator:
    """A function that validates networks on a data set, on the learner's device and precision.

    Args:
        threads: that read images ahead. progress: shows the progress of each validation.
        folder: where each validation leaves the AP of every class and a picture of detections.
        on_message: called with a line on the result of each validation.
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
        on_message(describe_validation(learner.iteration, result.mean_ap, result.ap_by_class))
        return result.mean_ap

    return validate


def describe_validation(iteration: int, mean_ap: float, ap: Mapping[str, float]) -> str:
    """A line on a validation: the mean, and the AP of the classes, the lowest first.

    Args:
        ap: by class, 0..1; NaN for a class without objects.
    """
    known = sorted((value, name) for name, value in ap.items() if not isnan(value))
    shown = known if len(known) <= MAX_CLASSES else known[: MAX_CLASSES // 2]
    listed = ", ".join(f"{name} {value:.1%}" for value, name in shown)
    if len(known) < 2:
        return f"iteration {iteration}: mAP {mean_ap:.1%}"
    what = "by class" if shown == known else f"lowest (all in {CLASSES_FILE})"
    return f"iteration {iteration}: mAP {mean_ap:.1%}; {what}: {listed}"


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
