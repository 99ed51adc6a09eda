"""What `frcnn eval` measures: average precision, recall and precision of given detections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..structures import Detections, GroundTruth
from .coco import evaluate_coco
from .matching import MatchedDetections, match_detections
from .voc import Ranking, Rule, average_precision, rank_by_class

Metric = Literal["voc07", "voc", "coco"]
METRICS: dict[Metric, str] = {
    "voc07": "voc07 11-point AP at IoU 0.5",
    "voc": "voc area under the curve, AP at IoU 0.5",
    "coco": "coco AP at IoU 0.5, 0.55 … 0.95, at most 100 detections of a class in an image",
}


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How good a detector is on a data set of K classes."""

    metric: Metric
    classes: tuple[str, ...]  # K names
    ap: NDArray[np.float64]  # K, in 0..1; NaN for a class without objects
    mean_ap: float
    object_counts: NDArray[np.int64]  # K, objects that are not difficult
    score: float  # detections with this score or more count for `recall` and `precision`
    recall: NDArray[np.float64]  # K, at IoU 0.5; NaN for a class without objects
    precision: NDArray[np.float64]  # K, at IoU 0.5; NaN for a class without such detections
    coco_metrics: dict[str, float]  # by coco.COCO_METRICS; empty for other metrics than "coco"
    ground_truths: Sequence[GroundTruth]  # of each image
    matched: MatchedDetections
    rankings: list[Ranking]  # K

    @property
    def ap_by_class(self) -> dict[str, float]:
        """Average precision by name of the class; NaN for a class without objects."""
        return dict(zip(self.classes, self.ap.tolist(), strict=True))

    @property
    def rule(self) -> Rule:
        """The rule of AP for everything that is measured at IoU 0.5 alone."""
        return "voc07" if self.metric == "voc07" else "voc"


def usual_metric(dataset: str, comparing: bool = False) -> Metric:
    """The metric in which results on a data set are usually given.

    Args:
        dataset: its name, as `frcnn eval` takes it or as an opened `Dataset` has it.
        comparing: whether two detectors are compared, which COCO's metric does not support.
    """
    if dataset.partition(":")[0] == "coco":
        return "voc" if comparing else "coco"
    return "voc" if dataset == "voc2012" else "voc07"


def evaluate_detections(
    detections: Sequence[Detections],
    ground_truths: Sequence[GroundTruth],
    class_names: Sequence[str],
    metric: Metric = "voc07",
    score: float = 0.5,
) -> Evaluation:
    """Measure how good detections are.

    Args:
        detections, ground_truths: one for each image, in the same order, with labels 1..K.
        class_names: K.
        metric: a key of METRICS.
        score: detections with this score or more count for recall and precision.
    Raises:
        ConfigError: the metric needs pycocotools, which is not installed.
        ValueError: `detections` and `ground_truths` differ in length.
    """
    matched = match_detections(detections, ground_truths, len(class_names))
    rankings = rank_by_class(matched)
    result = average_precision(rankings, "voc07" if metric == "voc07" else "voc")
    ap, mean_ap = result.ap, result.mean_ap
    coco_metrics: dict[str, float] = {}
    if metric == "coco":
        coco = evaluate_coco(detections, ground_truths, len(class_names))
        ap, mean_ap, coco_metrics = coco.ap, coco.mean_ap, coco.metrics
    recall, precision = np.array([each.at(score) for each in rankings]).reshape(-1, 2).T
    return Evaluation(
        metric=metric,
        classes=tuple(class_names),
        ap=ap,
        mean_ap=mean_ap,
        object_counts=result.object_counts,
        score=score,
        recall=recall,
        precision=precision,
        coco_metrics=coco_metrics,
        ground_truths=ground_truths,
        matched=matched,
        rankings=rankings,
    )


def select_classes(detections: Sequence[Detections], labels: Sequence[int]) -> list[Detections]:
    """Keep the detections of some classes, renumbered from 1 in the order of `labels`."""
    largest = max([*labels, *(int(each.labels.max(initial=0)) for each in detections)])
    new_labels = np.zeros(largest + 1, int)
    new_labels[list(labels)] = np.arange(1, len(labels) + 1)
    return [relabel(each, new_labels) for each in detections]


def relabel(detections: Detections, new_labels: NDArray[np.int64]) -> Detections:
    """Give every label its new number; detections whose new label is 0 are left out.

    Args:
        new_labels: by old label, from 0 on.
    """
    labels = new_labels[detections.labels]
    keep = labels > 0
    return Detections(
        boxes=detections.boxes[keep],
        scores=detections.scores[keep],
        labels=labels[keep],
        image_size=detections.image_size,
    )
