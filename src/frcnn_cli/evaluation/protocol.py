"""The test of the paper's code (fast_rcnn/test.py), which selects boxes over all images.

py-faster-rcnn, and detection here, keep the boxes above a score, then the best 100 of an image. The
paper's code has no least score: it keeps the best 100 boxes of a class in an image, then of each
class the best 40 an image over all images together, and suppresses overlaps at last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..config import DetectConfig
from ..ops.nms import nms
from ..structures import Detections

PER_IMAGE = 40  # boxes of a class, on average over the images
# "IoU >= 0.3" in terms of nms, which drops boxes above a threshold
NMS_THRESHOLD = float(np.nextafter(np.float32(0.3), np.float32(0)))


def candidates_only(settings: DetectConfig) -> DetectConfig:
    """These settings with the best 100 boxes of each class, whatever their score, without NMS."""
    return replace(
        settings,
        score_threshold=0.0,
        nms_threshold=1.0,
        class_limit=100,
        max_detections=1_000_000,
        vote_threshold=0.0,
        soft_nms=False,
    )


def select_over_images(candidates: Sequence[Detections]) -> list[Detections]:
    """Detections by the paper's code, from the candidates of every image.

    As in that code, boxes must be better than the 40-per-image-th best of their class.

    Args:
        candidates: with the settings of `candidates_only`.
    """
    count = PER_IMAGE * len(candidates)
    scores = np.concatenate([np.zeros(0, np.float32), *(each.scores for each in candidates)])
    labels = np.concatenate([np.zeros(0, np.int64), *(each.labels for each in candidates)])
    least = np.full(labels.max(initial=0) + 1, -np.inf)
    for label in np.unique(labels):
        own = scores[labels == label]
        if len(own) > count:
            least[label] = np.partition(own, len(own) - count)[len(own) - count]
    return [_selected(each, each.scores > least[each.labels]) for each in candidates]


def _selected(candidates: Detections, chosen: NDArray[np.bool_]) -> Detections:
    """The chosen candidates of an image after NMS."""
    boxes, scores = candidates.boxes[chosen], candidates.scores[chosen]
    labels = candidates.labels[chosen]
    kept = nms(boxes, scores, labels, NMS_THRESHOLD)
    return replace(candidates, boxes=boxes[kept], scores=scores[kept], labels=labels[kept])
