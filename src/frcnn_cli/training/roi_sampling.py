"""The RoIs of a training image and their targets (Fast R-CNN, section 2.3).

N: proposals joined with the ground truth; R: RoIs of the image. Boxes are (x1, y1, x2, y2) in
pixels of the original image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..data.collate import PreprocessedImage, preprocess
from ..ops import box_coder
from ..ops import boxes as box_ops
from ..ops.sampling import sample_rois
from ..structures import GroundTruth, Sample
from .target_normalization import DeltaStatistics

IN_CROWD = 0.7  # share of a proposal's area above which it lies in a crowd; py-faster-rcnn, coco.py


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How RoIs are sampled; config.TrainConfig has the values and their sources."""

    rois_per_image: int
    fg_fraction: float  # largest fraction of foreground
    fg_threshold: float  # smallest IoU at which a RoI is foreground
    bg_thresholds: tuple[float, float]  # IoU: background is in [low, high)
    ends_are_inside: bool = False  # RoIs and targets end with their last pixel


def match_proposals(
    sample: Sample,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.intp]]:
    """Join the objects to the proposals, and find the object that each box overlaps most.

    Objects marked difficult are left out, as in the reference code. A proposal that lies in a crowd
    may be one of its objects, so it is no example of anything.

    Returns:
        boxes: [N, 4], the objects first.
        max_overlaps: [N], IoU with the object that the box overlaps most; 0 without objects, and -1
            for a proposal in a crowd.
        nearest: [N], index of that object among those that are not difficult.
    """
    objects = sample.ground_truth[~sample.ground_truth.difficult].boxes
    boxes = np.concatenate([objects, sample.proposals.boxes])
    max_overlaps, nearest = np.zeros(len(boxes), np.float32), np.zeros(len(boxes), np.intp)
    if len(objects):
        overlaps = box_ops.iou(boxes, objects)
        nearest = overlaps.argmax(axis=1)
        max_overlaps = overlaps[np.arange(len(boxes)), nearest]
    max_overlaps[len(objects) :][in_crowd(sample.proposals.boxes, sample.ground_truth)] = -1
    return boxes, max_overlaps, nearest


def in_crowd(boxes: box_ops.Boxes, truth: GroundTruth) -> NDArray[np.bool_]:
    """Whether each of the boxes [N, 4] lies in a crowd, [N]."""
    if truth.crowds is None or not truth.crowds.any():
        return np.zeros(len(boxes), np.bool_)
    common = box_ops.intersections(boxes, truth.boxes[truth.crowds])
    inside: NDArray[np.bool_] = common.max(axis=1) > IN_CROWD * box_ops.area(boxes)
    return inside


def sample_targets(
    sample: Sample,
    sampling: SamplingConfig,
    statistics: DeltaStatistics,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Sample the RoIs of a training image, foreground first.

    Args:
        statistics: mean and deviation that normalise the deltas.
    Returns:
        rois: [R, 4], in the geometry of the network; R is below `rois_per_image` if there are too
            few boxes.
        labels: [R], 0 for background.
        deltas: [R, 4], normalised; zeros for background.
    """
    boxes, overlaps, nearest = match_proposals(sample)
    chosen, fg_count = sample_rois(
        overlaps,
        sampling.rois_per_image,
        sampling.fg_fraction,
        sampling.fg_threshold,
        sampling.bg_thresholds,
        rng,
    )
    rois = box_ops.to_last_pixel(boxes[chosen], sampling.ends_are_inside)
    labels = np.zeros(len(chosen), np.int64)
    deltas = np.zeros((len(chosen), 4), np.float32)
    if fg_count:
        objects = sample.ground_truth[~sample.ground_truth.difficult]
        targets = nearest[chosen[:fg_count]]
        fg_labels = objects.labels[targets]
        goals = box_ops.to_last_pixel(objects.boxes[targets], sampling.ends_are_inside)
        raw = box_coder.encode(rois[:fg_count], goals)
        labels[:fg_count] = fg_labels
        deltas[:fg_count] = (raw - statistics.mean[fg_labels]) / statistics.std[fg_labels]
    return rois, labels, deltas


def hflip(sample: Sample) -> Sample:
    """The sample mirrored left to right: image, proposals and objects."""
    width = sample.proposals.image_size[1]
    proposals, objects = sample.proposals, sample.ground_truth
    return Sample(
        image_id=sample.image_id,
        image=sample.image[:, ::-1],
        proposals=replace(proposals, boxes=box_ops.flip(proposals.boxes, width)),
        ground_truth=replace(objects, boxes=box_ops.flip(objects.boxes, width)),
    )


def preprocess_training(
    sample: Sample,
    *,
    short_side: int,
    max_side: int,
    sampling: SamplingConfig,
    statistics: DeltaStatistics,
    rng: np.random.Generator,
) -> PreprocessedImage:
    """Sample the RoIs of a training image with their targets, and resize the image.

    Args:
        short_side, max_side: pixels; see `data.transforms.resize_factor`.
        statistics: by which the deltas are normalised.
    """
    rois, labels, deltas = sample_targets(sample, sampling, statistics, rng)
    resized = preprocess(sample.image, rois, short_side, max_side)
    return replace(resized, labels=labels, deltas=deltas)
