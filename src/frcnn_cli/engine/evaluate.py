"""Detecting in a whole data set and judging the result."""

from __future__ import annotations

from collections.abc import Callable

from ..data.batching import Prepared
from ..data.dataset import Dataset
from ..evaluation.voc import VocResult, evaluate
from ..structures import GroundTruth
from .detect import Detector
from .prefetch import prefetch


def evaluate_dataset(
    detector: Detector, dataset: Dataset, workers: int, on_image: Callable[[], None]
) -> VocResult:
    """VOC2007 average precision of a detector; labels are those of the detector.

    Args:
        dataset: numbered by the detector's classes. workers: threads that read ahead.
        on_image: called after each image.
    Raises:
        ImageError: an image is missing or damaged, since leaving it out would change the figures.
    """

    def read(index: int) -> tuple[Prepared, GroundTruth]:
        content, image, truth = dataset.read(index)
        return detector.prepare(content, image), truth

    detections, truths = [], []
    for _, future in prefetch(read, range(len(dataset)), workers):
        prepared, truth = future.result()
        detections.append(detector.infer(prepared))
        truths.append(truth)
        on_image()
    return evaluate(detections, truths, len(dataset.classes))
