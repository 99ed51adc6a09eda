"""Detecting in a whole data set and judging the result."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Dataset
from ..inference.batching import ReadFailure
from ..inference.detector import Detector
from ..structures import Detections, GroundTruth
from .coco import evaluate_coco
from .detection_log import DetectionLog
from .voc import MatchedDetections, Ranking, Rule, VocResult, average_precision, judge
from .voc import evaluate as evaluate_voc

Metric = Literal["voc07", "voc", "coco"]
METRICS: dict[Metric, str] = {
    "voc07": "voc07 11-point AP at IoU 0.5",
    "voc": "voc area under the curve, AP at IoU 0.5",
    "coco": "coco AP at IoU 0.5, 0.55 … 0.95, at most 100 detections of a class in an image",
}
# Part of what identifies saved detections: raised by hand whenever the same weights, proposals and
# settings would give other detections, so that these are not mixed with the old ones.
DETECTION_VERSION = 1


@dataclass(frozen=True)
class Evaluation:
    """The figures of a detector on a data set, K classes."""

    metric: Metric
    classes: tuple[str, ...]
    ap: NDArray[np.float64]  # K, NaN for a class without objects
    mean_ap: float
    objects: NDArray[np.int64]  # K, those not difficult
    score: float  # from which on detections count for the next two
    recall: NDArray[np.float64]  # K, at IoU 0.5
    precision: NDArray[np.float64]  # K
    figures: dict[str, float]  # COCO's, for the metric "coco"
    judged: MatchedDetections
    ranked: list[Ranking]  # K

    @property
    def rule(self) -> Rule:
        """The rule for what is computed at IoU 0.5 alone."""
        return "voc07" if self.metric == "voc07" else "voc"


def evaluate(
    detections: Sequence[Detections],
    truths: Sequence[GroundTruth],
    classes: tuple[str, ...],
    metric: Metric,
    score: float,
) -> Evaluation:
    """Judge detections.

    Args:
        detections, truths: one each for every image, labels 1..K. classes: K names.
        score: for recall and precision.
    Raises:
        ConfigError: the metric needs pycocotools, which is not installed.
    """
    judged = judge(detections, truths, len(classes))
    ranked = judged.rankings()
    figures: dict[str, float] = {}
    result = average_precision(ranked, "voc07" if metric == "voc07" else "voc")
    ap, mean_ap = result.ap, result.mean_ap
    if metric == "coco":
        coco = evaluate_coco(detections, truths, len(classes))
        ap, mean_ap, figures = coco.ap, coco.mean_ap, coco.figures
    at = np.array([each.at(score) for each in ranked]).reshape(-1, 2)
    return Evaluation(
        metric,
        classes,
        ap,
        mean_ap,
        result.objects,
        score,
        at[:, 0],
        at[:, 1],
        figures,
        judged,
        ranked,
    )


def only_classes(detections: Sequence[Detections], labels: Sequence[int]) -> list[Detections]:
    """Detections of some classes, renumbered from 1 in the order of `labels`."""
    table = np.zeros(max([*labels, *(int(d.labels.max(initial=0)) for d in detections)]) + 1, int)
    table[list(labels)] = np.arange(1, len(labels) + 1)
    kept = []
    for found in detections:
        new = table[found.labels]
        keep = new > 0
        kept.append(
            Detections(
                boxes=found.boxes[keep],
                scores=found.scores[keep],
                labels=new[keep],
                image_size=found.image_size,
            )
        )
    return kept


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
    detections = detect_all(detector, dataset, None, workers, on_image)
    return evaluate_voc(detections, dataset.ground_truths(), len(dataset.classes))


def detect_all(
    detector: Detector,
    dataset: Dataset,
    log: DetectionLog | None,
    workers: int,
    on_image: Callable[[], None],
    batch: int = 1,
) -> list[Detections]:
    """Detections of every image, each written to `log` as it comes.

    An image whose detections are in the log, and whose file still has the same size, is not
    looked at again. Proposals that are missing are made on the way.

    Args:
        workers: threads that read ahead. on_image: called after each image that is looked at.
        batch: images in a pass at most; those that follow each other and have one scaled size.
    Raises:
        ImageError: an image is missing or damaged.
    """

    known = {} if log is None else known_detections(log, dataset)
    todo = [index for index in range(len(dataset)) if index not in known]
    for found in detector.detect_each(todo, dataset.read_image, workers=workers, batch=batch):
        if isinstance(found, ReadFailure):
            raise found.error
        index = found.source.item
        known[index] = found.detections
        if log is not None:
            log.add(dataset.image_id(index), found.source.file_size, found.detections)
        on_image()
    return [known[index] for index in range(len(dataset))]


def known_detections(log: DetectionLog, dataset: Dataset) -> dict[int, Detections]:
    """Detections in a log by the index of their image, where its file is the same still."""
    known = {}
    for index, path in enumerate(dataset.paths):
        file_size, detections = log.found.get(dataset.image_id(index), (-1, None))
        if detections is not None and path.exists() and path.stat().st_size == file_size:
            known[index] = detections
    return known


def source_of(detector: Detector, weights: Path) -> dict[str, Any]:
    """Everything that the detections of an image depend on, but for the image."""
    return {
        "weights": weights.stem,
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "proposals": detector.proposals.method.digest,
        "settings": asdict(detector.config) | {"precision": str(detector.dtype)},
        "device": detector.device.type,
        "version": DETECTION_VERSION,
    }
