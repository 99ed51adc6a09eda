"""From the outputs of the network to detections: scores, threshold, box decoding, NMS."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..ops import box_coder
from ..ops import boxes as box_ops
from ..ops.nms import nms, soft_nms, vote
from ..structures import Detections, HeadOutput


def postprocess(
    output: HeadOutput,
    rois: NDArray[np.float32],
    image_size: tuple[int, int],
    *,
    score_function: Callable[[Tensor], Tensor],
    score_threshold: float,
    nms_threshold: float,
    max_detections: int,
    labels_wanted: Sequence[int],
    soft: bool = False,
    vote_threshold: float = 0.0,
) -> Detections:
    """Detections of one image.

    A RoI gives one candidate for each class wanted whose score is above `score_threshold`;
    only these are decoded. Then NMS class by class, then the best
    `max_detections` of all classes together. Boxes that clipping leaves empty are dropped.

    Args:
        output: of R RoIs. rois: [R, 4], pixels of the original image.
        image_size: (height, width) of the original image.
        score_function: from logits [R, K + 1] to scores in 0..1.
        labels_wanted: in 1..K; the background is no object.
        soft: soft-NMS instead of NMS; what falls to the score threshold is dropped.
        vote_threshold: IoU for box voting after NMS; 0: none, nor after soft-NMS.
    """
    scores = score_function(output.class_logits)
    wanted = torch.zeros(scores.shape[1], dtype=torch.bool, device=scores.device)
    wanted[list(labels_wanted)] = True
    roi_index, label = ((scores > score_threshold) & wanted).nonzero(as_tuple=True)
    chosen_scores = scores[roi_index, label].cpu().numpy()
    deltas = output.box_deltas[roi_index, label].float().cpu().numpy()
    labels = label.cpu().numpy()
    boxes = box_ops.clip(box_coder.decode(rois[roi_index.cpu().numpy()], deltas), image_size)

    whole = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    boxes, chosen_scores, labels = boxes[whole], chosen_scores[whole], labels[whole]
    if soft:
        keep, kept = soft_nms(boxes, chosen_scores, labels, nms_threshold, score_threshold)
    else:
        keep = nms(boxes, chosen_scores, labels, nms_threshold)
        kept = chosen_scores[keep]
    keep, kept = keep[:max_detections], kept[:max_detections]
    voting = vote_threshold > 0 and not soft
    final = vote(boxes, chosen_scores, labels, keep, vote_threshold) if voting else boxes[keep]
    return Detections(boxes=final, scores=kept, labels=labels[keep], image_size=image_size)
