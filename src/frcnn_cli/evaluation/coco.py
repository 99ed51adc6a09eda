"""The metrics of COCO, computed by pycocotools.

K classes, labelled 1..K. Difficult objects are COCO's crowds: what falls on them is ignored.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..structures import Detections, GroundTruth
from .matching import DetectionTable, ObjectTable, detection_table, object_table

# As COCOeval.summarize orders them; sizes are areas below 32², up to 96² and above, in pixels.
FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


@dataclass(frozen=True)
class CocoResult:
    """Figures of an evaluation; NaN where there are no objects."""

    figures: dict[str, float]  # of FIGURES, in 0..1; means over the classes with objects
    ap: NDArray[np.float64]  # K, mean over IoU 0.5, 0.55 … 0.95
    ap50: NDArray[np.float64]  # K
    objects: NDArray[np.int64]  # K, those not difficult

    @property
    def mean_ap(self) -> float:
        """Mean over the classes that have objects."""
        return self.figures["AP"]


def evaluate_coco(
    detections: Sequence[Detections], ground_truths: Sequence[GroundTruth], class_count: int
) -> CocoResult:
    """AP and AR as COCO defines them, at most 100 detections of a class in an image.

    Args:
        detections, ground_truths: one each for every image, in the same order.
        class_count: K.
    Raises:
        ConfigError: pycocotools is not installed.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise ConfigError(
            "COCO's metrics need pycocotools", "pip install 'frcnn-cli[coco]', or --metric voc"
        ) from None
    count = len(ground_truths)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints as it goes
        truth, found = COCO(), COCO()
        truth.dataset = _dataset(_objects(ground_truths, class_count), count, class_count)
        found.dataset = _dataset(_found(detections, class_count), count, class_count)
        truth.createIndex()
        found.createIndex()
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # [IoU, recall, K, area, detections]; -1 where a class has no objects
    precision = np.where(evaluation.eval["precision"] < 0, np.nan, evaluation.eval["precision"])
    stats = [value if value >= 0 else float("nan") for value in map(float, evaluation.stats)]
    objects = object_table(ground_truths, class_count).counts(class_count)
    return CocoResult(
        dict(zip(FIGURES, stats, strict=True)),
        _means(precision[:, :, :, 0, -1], class_count),
        _means(precision[:1, :, :, 0, -1], class_count),
        objects,
    )


def _means(precision: NDArray[np.float64], class_count: int) -> NDArray[np.float64]:
    """Over all but the classes, [K]; a class is NaN throughout or nowhere."""
    return precision.mean(axis=(0, 1)) if precision.size else np.full(class_count, np.nan)


def _dataset(
    annotations: list[dict[str, Any]], image_count: int, class_count: int
) -> dict[str, list[dict[str, Any]]]:
    return {
        "images": [{"id": image} for image in range(image_count)],
        "categories": [{"id": label} for label in range(1, class_count + 1)],
        "annotations": annotations,
    }


def _objects(ground_truths: Sequence[GroundTruth], class_count: int) -> list[dict[str, Any]]:
    table = object_table(ground_truths, class_count)
    more = zip(table.areas.tolist(), table.difficult.tolist(), strict=True)
    return [
        {**row, "area": area, "iscrowd": int(difficult)}
        for row, (area, difficult) in zip(_rows(table), more, strict=True)
    ]


def _found(detections: Sequence[Detections], class_count: int) -> list[dict[str, Any]]:
    table = detection_table(detections, class_count)
    areas = (table.boxes[:, 2:] - table.boxes[:, :2]).prod(axis=1).tolist()
    more = zip(areas, table.scores.tolist(), strict=True)
    return [
        {**row, "area": area, "score": score}
        for row, (area, score) in zip(_rows(table), more, strict=True)
    ]


def _rows(table: DetectionTable | ObjectTable) -> list[dict[str, Any]]:
    """What COCO says alike of objects and of detections; boxes as x, y, width, height."""
    sides = table.boxes[:, 2:] - table.boxes[:, :2]
    boxes = np.concatenate([table.boxes[:, :2], sides], axis=1).tolist()
    rows = zip(table.image.tolist(), table.labels.tolist(), boxes, strict=True)
    return [
        # ids from 1: COCOeval takes 0 for "no match"
        {"id": number, "image_id": image, "category_id": label, "bbox": box}
        for number, (image, label, box) in enumerate(rows, start=1)
    ]
