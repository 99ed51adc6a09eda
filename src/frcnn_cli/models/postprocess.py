"""Makes detections from the outputs of the network: scores, threshold, box decoding, NMS."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config import LEAST_SCORE, DetectConfig
from ..ops import box_coder
from ..ops import boxes as box_ops
from ..ops.nms import nms, soft_nms, vote
from ..structures import Detections, HeadOutput
from .score_calibration import ScoreCalibration


def postprocess(
    output: HeadOutput,
    rois: NDArray[np.float32],
    image_size: tuple[int, int],
    *,
    labels: Sequence[int],
    score_function: Callable[[Tensor], Tensor],
    ends_are_inside: bool = False,
    calibration: ScoreCalibration | None = None,
    config: DetectConfig,
) -> Detections:
    """Detections of one image.

    A RoI gives a candidate for each of `labels` whose score is above the threshold. The boxes of
    the candidates are decoded and clipped, and empty ones are dropped; `config.class_limit` keeps
    the best of each class. Then follow NMS in each class (or class-agnostic NMS), a limit on the
    number of detections of all classes together, and box voting.

    Args:
        output: of R RoIs. rois: [R, 4], pixels of the original image, as the network has them.
        image_size: (height, width) of the original image.
        labels: the classes to detect, in 1..K.
        ends_are_inside: the network's boxes end with their last pixel.
        score_function: from logits [R, K + 1] to scores in 0..1.
        calibration: of the scores of the detections. Which detections there are depends on it in
            the threshold alone.
        config: thresholds, limit, soft-NMS and box voting. Soft-NMS drops boxes whose score falls
            to the score threshold. There is no voting after soft-NMS or without box regression.
    """
    threshold = least_score(config, calibration)
    scores = score_function(output.class_logits)
    allowed = torch.zeros(scores.shape[1], dtype=torch.bool, device=scores.device)
    allowed[list(labels)] = True
    roi_index, label = ((scores > threshold) & allowed).nonzero(as_tuple=True)
    candidate_scores = scores[roi_index, label].cpu().numpy()
    candidate_labels = label.cpu().numpy()
    if config.class_limit is not None:
        best = best_of_classes(candidate_scores, candidate_labels, config.class_limit)
        candidate_scores, candidate_labels = candidate_scores[best], candidate_labels[best]
        roi_index, label = roi_index[best], label[best]
    deltas = output.box_deltas[roi_index, label].float()
    if not config.box_regression:
        deltas = torch.zeros_like(deltas)
    boxes = box_coder.decode(rois[roi_index.cpu().numpy()], deltas.cpu().numpy())
    boxes = box_ops.clip(box_ops.from_last_pixel(boxes, ends_are_inside), image_size)

    nonempty = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    boxes, candidates = boxes[nonempty], (candidate_scores[nonempty], candidate_labels[nonempty])
    groups = np.zeros_like(candidates[1]) if config.class_agnostic else candidates[1]
    if config.soft_nms:
        kept, kept_scores = soft_nms(boxes, candidates[0], groups, config.nms_threshold, threshold)
    else:
        kept = nms(boxes, candidates[0], groups, config.nms_threshold)
        kept_scores = candidates[0][kept]
    kept, kept_scores = kept[: config.max_detections], kept_scores[: config.max_detections]
    votes = config.vote_threshold > 0 and config.box_regression and not config.soft_nms
    kept_boxes = vote(boxes, *candidates, kept, config.vote_threshold) if votes else boxes[kept]
    if calibration is not None:
        kept_scores = calibration.calibrated(torch.from_numpy(kept_scores)).numpy()
    return Detections(
        boxes=kept_boxes,
        scores=kept_scores,
        labels=candidates[1][kept],
        image_size=image_size,
    )


def least_score(config: DetectConfig, calibration: ScoreCalibration | None) -> float:
    """The score of the network above which RoIs are candidates."""
    if config.score_threshold is None:
        return LEAST_SCORE
    if calibration is None:
        return config.score_threshold
    threshold = torch.tensor(config.score_threshold, dtype=torch.float64)
    return calibration.uncalibrated(threshold).item()


def best_of_classes(
    scores: NDArray[np.floating], labels: NDArray[np.int64], count: int
) -> NDArray[np.intp]:
    """The indices of the best `count` of each class, ascending; equal scores keep their order.

    Args:
        scores, labels: [N].
    """
    order = np.lexsort((-scores, labels))
    ranked = labels[order]
    rank = np.arange(len(order)) - np.searchsorted(ranked, ranked)
    return np.sort(order[rank < count])
