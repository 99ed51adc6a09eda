"""From samples to batches.

R: RoIs of the batch; B: images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ..ops import box_coder
from ..ops import boxes as box_ops
from ..ops.sampling import sample_rois
from ..structures import Batch, RoiTargets, Sample
from . import transforms

MIN_SIDE = 32  # pixels; of less the convolutions of some backbones leave nothing


@dataclass(frozen=True)
class PixelStatistics:
    """What a backbone's weights expect: (pixel - mean) / std, RGB, pixels in 0..255."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class DeltaStatistics:
    """Mean and standard deviation of the regression targets, [K + 1, 4] each, by class."""

    mean: NDArray[np.float32]
    std: NDArray[np.float32]


@dataclass(frozen=True)
class Sampling:
    """How RoIs are chosen; the values are in config.TrainConfig."""

    rois_per_image: int
    fg_fraction: float
    fg_threshold: float
    bg_thresholds: tuple[float, float]


@dataclass(frozen=True)
class Prepared:
    """One image at network scale, with its RoIs. R here counts the RoIs of this image."""

    image: NDArray[np.uint8]  # h×w×3, resized
    scale: float
    original_size: tuple[int, int]
    rois: NDArray[np.float32]  # R×4, pixels of the original image
    labels: NDArray[np.int64] | None = None  # R; None when detecting
    deltas: NDArray[np.float32] | None = None  # R×4
    others: tuple[Prepared, ...] = ()  # the image at other scales, with RoIs of their own


def prepare(
    image: NDArray[np.uint8], rois: NDArray[np.float32], short_side: int, max_side: int
) -> Prepared:
    """Resize one image for the network; sides in pixels."""
    height, width = image.shape[:2]
    factor = transforms.resize_factor((height, width), short_side, max_side)
    return Prepared(transforms.resize(image, factor), factor, (height, width), rois)


def prepare_scales(
    image: NDArray[np.uint8],
    rois: NDArray[np.float32],
    short_sides: Sequence[int],
    max_side: int,
) -> Prepared:
    """Resize one image to several scales, each RoI going to the one where its area is nearest to
    224² pixels (section 2.3's pyramid, from He et al. 2014)."""
    factors = [transforms.resize_factor(image.shape[:2], side, max_side) for side in short_sides]
    areas = box_ops.area(rois)[:, None] * np.square(factors)
    level = np.abs(areas - 224**2).argmin(axis=1)
    first, *others = (
        prepare(image, rois[level == index], side, max_side)
        for index, side in enumerate(short_sides)
    )
    return replace(first, others=tuple(others))


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


def draw_rois(
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
        kind = labels[:fg_count]
        deltas[:fg_count] = (raw - statistics.mean[kind]) / statistics.std[kind]
    return rois, labels, deltas


def mirror(sample: Sample) -> Sample:
    """The left-right mirror image of a sample."""
    width = sample.proposals.image_size[1]
    proposals, objects = sample.proposals, sample.ground_truth
    return Sample(
        sample.image_id,
        sample.image[:, ::-1],
        replace(proposals, boxes=box_ops.flip(proposals.boxes, width)),
        replace(objects, boxes=box_ops.flip(objects.boxes, width)),
    )


def prepare_training(
    sample: Sample,
    short_side: int,
    max_side: int,
    sampling: Sampling,
    statistics: DeltaStatistics,
    rng: np.random.Generator,
) -> Prepared:
    """Draw the RoIs of a training image and resize it; sides in pixels."""
    rois, labels, deltas = draw_rois(sample, sampling, statistics, rng)
    plain = prepare(sample.image, rois, short_side, max_side)
    return replace(plain, labels=labels, deltas=deltas)


def collate(
    prepared: Sequence[Prepared],
    pixels: PixelStatistics,
    size: tuple[int, int] = (1, 1),
) -> Batch:
    """Put images of one pass together, padded at the right and bottom with zeros (the mean).

    Args:
        prepared: B images, all with targets or all without.
        size: (height, width) to pad to at least.
    """
    tensors = [transforms.to_tensor(item.image, pixels.mean, pixels.std) for item in prepared]
    height = max(MIN_SIDE, size[0], *(tensor.shape[1] for tensor in tensors))
    width = max(MIN_SIDE, size[1], *(tensor.shape[2] for tensor in tensors))
    images = torch.zeros((len(tensors), 3, height, width)).to(memory_format=torch.channels_last)
    rois = []
    for index, (tensor, item) in enumerate(zip(tensors, prepared, strict=True)):
        images[index, :, : tensor.shape[1], : tensor.shape[2]] = tensor
        scaled = box_ops.scale(item.rois, item.scale)
        rois.append(np.insert(scaled, 0, index, axis=1))
    labels = [item.labels for item in prepared if item.labels is not None]
    deltas = [item.deltas for item in prepared if item.deltas is not None]
    targets = None
    if labels:
        targets = RoiTargets(
            torch.from_numpy(np.concatenate(labels)), torch.from_numpy(np.concatenate(deltas))
        )
    return Batch(
        images,
        torch.from_numpy(np.concatenate(rois)),
        tuple(item.scale for item in prepared),
        tuple(item.original_size for item in prepared),
        targets,
    )
