"""Choosing the RoIs of a training image and what the network should say of each.

N: proposals with the ground truth; R: RoIs of the image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..data.collate import PreprocessedImage, preprocess
from ..ops import box_coder
from ..ops import boxes as box_ops
from ..ops.sampling import sample_rois
from ..structures import Sample
from .target_normalization import DeltaStatistics


@dataclass(frozen=True)
class Sampling:
    """How RoIs are chosen; the values are in config.TrainConfig."""

    rois_per_image: int
    fg_fraction: float
    fg_threshold: float
    bg_thresholds: tuple[float, float]


def match(sample: Sample) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.intp]]:
    """Ground truth joined to the proposals, and what each box overlaps. N boxes.

    Objects marked difficult take no part.

    Returns:
        boxes: [N, 4]. max_overlaps: [N], IoU with the nearest object, 0 without any.
        nearest: [N], its index among the objects that are not difficult.
    """
    objects = sample.ground_truth[~sample.ground_truth.difficult].boxes
    boxes = np.concatenate([objects, sample.proposals.boxes])
    if not len(objects):
        return boxes, np.zeros(len(boxes), np.float32), np.zeros(len(boxes), np.intp)
    overlaps = box_ops.iou(boxes, objects)
    nearest = overlaps.argmax(axis=1)
    return boxes, overlaps[np.arange(len(boxes)), nearest], nearest


def sample_targets(
    sample: Sample,
    sampling: Sampling,
    statistics: DeltaStatistics,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Choose the RoIs of a training image.

    Returns:
        rois [R, 4], labels [R] (0 for background), normalised deltas [R, 4] (0 for background).
    """
    boxes, overlaps, nearest = match(sample)
    chosen, fg_count = sample_rois(
        overlaps,
        sampling.rois_per_image,
        sampling.fg_fraction,
        sampling.fg_threshold,
        sampling.bg_thresholds,
        rng,
    )
    rois = boxes[chosen]
    labels = np.zeros(len(chosen), np.int64)
    deltas = np.zeros((len(chosen), 4), np.float32)
    if fg_count:
        objects = sample.ground_truth[~sample.ground_truth.difficult]
        target = nearest[chosen[:fg_count]]
        labels[:fg_count] = objects.labels[target]
        raw = box_coder.encode(rois[:fg_count], objects.boxes[target])
        own = labels[:fg_count]
        deltas[:fg_count] = (raw - statistics.mean[own]) / statistics.std[own]
    return rois, labels, deltas


def hflip(sample: Sample) -> Sample:
    """The left-right mirror image of a sample."""
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
    short_side: int,
    max_side: int,
    sampling: Sampling,
    statistics: DeltaStatistics,
    rng: np.random.Generator,
) -> PreprocessedImage:
    """Draw the RoIs of a training image and resize it; sides in pixels."""
    rois, labels, deltas = sample_targets(sample, sampling, statistics, rng)
    plain = preprocess(sample.image, rois, short_side, max_side)
    return replace(plain, labels=labels, deltas=deltas)
