"""Reading training samples, and what must be known of all of them before the first step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Dataset
from ..errors import DataError
from ..ops import box_coder
from ..ops import boxes as box_ops
from ..proposers.cache import ProposalSource
from ..runtime.executor import prefetch
from ..structures import Sample
from .roi_sampling import match
from .target_normalization import DeltaStatistics


def read_sample(dataset: Dataset, source: ProposalSource, index: int, max_proposals: int) -> Sample:
    """Image, objects and the best proposals of one image."""
    content, image, ground_truth = dataset.read(index)
    proposals = source(content, image).top(max_proposals)
    return Sample(
        image_id=dataset.image_id(index),
        image=image,
        proposals=proposals,
        ground_truth=ground_truth,
    )


RECALL_AT = (0.5, 0.7)  # IoU


@dataclass(frozen=True)
class DatasetStatistics:
    """What a data set and its proposals offer."""

    usable: NDArray[np.intp]  # images with at least one foreground or background RoI
    sizes: NDArray[np.int64]  # (height, width) of each usable image
    deltas: DeltaStatistics
    objects: NDArray[np.int64]  # of each class, that are not difficult
    recall: dict[float, float]  # IoU -> share of them that a proposal overlaps by as much
    foreground: float  # RoIs an image

    @property
    def landscape(self) -> NDArray[np.bool_]:
        """Of each usable image: whether it is at least as wide as high."""
        return self.sizes[:, 1] >= self.sizes[:, 0]


@dataclass(frozen=True)
class _Facts:
    """One image's part of a survey."""

    usable: bool
    size: tuple[int, int]
    labels: NDArray[np.int64]  # of the foreground RoIs
    deltas: NDArray[np.float32]
    objects: NDArray[np.int64]  # label of each
    best: NDArray[np.float32]  # IoU of each with the proposal that covers it best


def survey(
    dataset: Dataset,
    source: ProposalSource,
    max_proposals: int,
    fg_threshold: float,
    bg_thresholds: tuple[float, float],
    workers: int,
    on_image: Callable[[], None],
) -> DatasetStatistics:
    """Look at every image once, making the proposals that are missing.

    Target statistics are taken over all foreground RoIs and their mirror images, ground truth
    included, by class and coordinate, as the original does.

    Args:
        on_image: called after each image.
    Raises:
        DataError: no image has a usable RoI.
    """

    def look(index: int) -> _Facts:
        sample = read_sample(dataset, source, index, max_proposals)
        boxes, overlaps, nearest = match(sample)
        objects = sample.ground_truth[~sample.ground_truth.difficult]
        foreground = overlaps >= fg_threshold
        background = (overlaps >= bg_thresholds[0]) & (overlaps < bg_thresholds[1])
        target = nearest[foreground]
        deltas = np.zeros((0, 4), np.float32)
        if foreground.any():
            deltas = box_coder.encode(boxes[foreground], objects.boxes[target])
        best = box_ops.iou(sample.proposals.boxes, objects.boxes).max(axis=0, initial=0)
        return _Facts(
            bool((foreground | background).any()),
            sample.proposals.image_size,
            objects.labels[target],
            deltas,
            objects.labels,
            best,
        )

    facts = []
    for _, future in prefetch(look, range(len(dataset)), workers):
        facts.append(future.result())
        on_image()
    usable = np.array([each.usable for each in facts])
    if not usable.any():
        raise DataError(
            f"{dataset.name} {dataset.split}: no image has a proposal that overlaps an object",
            "check that the annotations belong to these images",
        )
    labels = np.concatenate([each.objects for each in facts])
    best = np.concatenate([each.best for each in facts])
    return DatasetStatistics(
        np.flatnonzero(usable),
        np.array([each.size for each in facts])[usable],
        _statistics(facts, len(dataset.classes)),
        np.bincount(labels, minlength=len(dataset.classes) + 1)[1:],
        {iou: float((best >= iou).mean()) if len(best) else 0.0 for iou in RECALL_AT},
        sum(len(each.labels) for each in facts) / len(facts),
    )


def _statistics(facts: list[_Facts], class_count: int) -> DeltaStatistics:
    labels = np.concatenate([each.labels for each in facts])
    deltas = np.concatenate([each.deltas for each in facts]).astype(np.float64)
    mean = np.zeros((class_count + 1, 4), np.float32)
    std = np.ones((class_count + 1, 4), np.float32)
    for label in range(1, class_count + 1):
        own = deltas[labels == label]
        if not len(own):
            continue
        both = np.concatenate([own, own * (-1, 1, 1, 1)])  # mirrored: t_x changes its sign
        mean[label] = both.mean(axis=0)
        spread = both.std(axis=0)
        std[label] = np.where(spread > 1e-6, spread, 1)
    return DeltaStatistics(mean, std)
