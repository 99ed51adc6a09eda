"""The metrics of COCO, computed by pycocotools.

K: classes, labelled 1..K. Difficult objects are passed on as COCO's crowds, so detections that
match them are ignored.
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

# In the order of COCOeval.summarize. The suffixes s, m and l stand for objects of an area below
# 32², up to 96² and above, in square pixels.
COCO_METRICS = (
    "AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CocoResult:
    """COCO's metrics of a detector; NaN where there are no objects."""

    metrics: dict[str, float]  # by COCO_METRICS, in 0..1; means over the classes with objects
    ap: NDArray[np.float64]  # K, mean over IoU 0.5, 0.55 … 0.95

    @property
    def mean_ap(self) -> float:
        """Mean over the classes that have objects."""
        return self.metrics["AP"]


def require_pycocotools() -> tuple[Any, Any]:
    """The classes COCO and COCOeval of pycocotools.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise ConfigError(
            "COCO's metrics need pycocotools", "pip install 'frcnn-cli[coco]', or --metric voc"
        ) from None
    return COCO, COCOeval


def evaluate_coco(
    detections: Sequence[Detections], ground_truths: Sequence[GroundTruth], class_count: int
) -> CocoResult:
    """AP and AR as COCO defines them, with at most 100 detections of a class in an image.

    Args:
        detections, ground_truths: one for each image, in the same order.
        class_count: K.
    Raises:
        ConfigError: pycocotools is not installed.
    """
    coco_class, evaluation_class = require_pycocotools()
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth, results = coco_class(), coco_class()
        truth.dataset = coco_dataset(
            object_entries(ground_truths, class_count), len(ground_truths), class_count
        )
        results.dataset = coco_dataset(
            detection_entries(detections, class_count), len(ground_truths), class_count
        )
        truth.createIndex()
        results.createIndex()
        evaluation = evaluation_class(truth, results, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # [IoU, recall, K] of [IoU, recall, K, area, detections]; -1 where a class has no objects
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    precision = np.where(precision < 0, np.nan, precision)
    stats = [value if value >= 0 else float("nan") for value in map(float, evaluation.stats)]
    return CocoResult(
        metrics=dict(zip(COCO_METRICS, stats, strict=True)),
        ap=precision.mean(axis=(0, 1)) if precision.size else np.full(class_count, np.nan),
    )


def coco_dataset(
    annotations: list[dict[str, Any]], image_count: int, class_count: int
) -> dict[str, list[dict[str, Any]]]:
    """The content of a COCO file with these annotations."""
    return {
        "images": [{"id": image} for image in range(image_count)],
        "categories": [{"id": label} for label in range(1, class_count + 1)],
        "annotations": annotations,
    }


def object_entries(ground_truths: Sequence[GroundTruth], class_count: int) -> list[dict[str, Any]]:
    """Objects as COCO's annotations; difficult ones are crowds."""
    table = object_table(ground_truths, class_count)
    columns = zip(table.areas.tolist(), table.difficult.tolist(), strict=True)
    return [
        {**entry, "area": area, "iscrowd": int(difficult)}
        for entry, (area, difficult) in zip(_entries(table), columns, strict=True)
    ]


def detection_entries(detections: Sequence[Detections], class_count: int) -> list[dict[str, Any]]:
    """Detections as COCO's results."""
    table = detection_table(detections, class_count)
    columns = zip(table.areas.tolist(), table.scores.tolist(), strict=True)
    return [
        {**entry, "area": area, "score": score}
        for entry, (area, score) in zip(_entries(table), columns, strict=True)
    ]


def _entries(table: DetectionTable | ObjectTable) -> list[dict[str, Any]]:
    """What objects and detections have in common; boxes are (x, y, width, height)."""
    sides = table.boxes[:, 2:] - table.boxes[:, :2]
    boxes = np.concatenate([table.boxes[:, :2], sides], axis=1).tolist()
    columns = zip(table.image.tolist(), table.labels.tolist(), boxes, strict=True)
    return [
        # ids start at 1, since COCOeval takes 0 for "no match"
        {"id": number, "image_id": image, "category_id": label, "bbox": box}
        for number, (image, label, box) in enumerate(columns, start=1)
    ]
