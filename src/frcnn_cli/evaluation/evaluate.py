"""Evaluate a detector on a data set.

From Python:

    detector = Detector.load("vgg16-voc07")
    evaluation = evaluate(detector, dataset)
    print(evaluation.mean_ap, evaluation.ap_by_class)
    write_report(Path("out"), dataset, evaluation, title="mine", proposals=detector.proposals)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..data.dataset import Dataset
from ..inference.detector import Detector
from .coco import require_pycocotools
from .detection_log import DetectionLog
from .detection_set import class_labels, detect_set
from .metrics import Evaluation, Metric, evaluate_detections, usual_metric

__all__ = ["evaluate", "evaluate_detections"]


def evaluate(
    detector: Detector,
    dataset: Dataset,
    *,
    metric: Metric | None = None,
    classes: Sequence[str] = (),
    score: float = 0.5,
    log: DetectionLog | None = None,
    workers: int | None = None,
    batch: int = 1,
    tile: int | None = None,
    on_image: Callable[[], None] | None = None,
) -> Evaluation:
    """Detect in every image of a data set and measure how good the detections are.

    Args:
        dataset: its classes are paired with the detector's by name; objects of classes that the
            detector does not know are left out.
        metric: a key of METRICS; None for the usual one of the data set.
        classes: names of the classes to evaluate; all of the detector's if empty.
        score: detections with this score or more count for recall and precision.
        log: stores the detections, so that a stopped evaluation can be continued; see `open_log`.
        workers: threads that read ahead; None: one for each core.
        batch: the most images in one pass; consecutive images of one scaled size share a pass.
        tile: side of the tiles in which to detect too, pixels; see `detect_all`.
        on_image: called after each image that is not in `log` yet.
    Raises:
        ConfigError: unknown class, or the metric needs pycocotools, which is not installed.
        DataError: the data set has none of the detector's classes.
        ImageError: an image is missing or damaged.
    """
    metric = metric or usual_metric(dataset.name)
    class_labels(classes, detector.classes)  # before the detector runs for hours
    if metric == "coco":
        require_pycocotools()
    detected = detect_set(
        detector, dataset, log=log, workers=workers, batch=batch, tile=tile, on_image=on_image
    )
    return detected.select_classes(classes).evaluate(metric, score)
