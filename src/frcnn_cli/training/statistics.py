"""Reading training samples, and the statistics that are needed before the first step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..data.content import ContentSketch, content_hash
from ..data.dataset import Dataset
from ..errors import DataError
from ..ops import box_coder
from ..ops import boxes as box_ops
from ..proposers.cache import ProposalSource
from ..runtime.executor import prefetch
from ..structures import Sample
from .roi_sampling import match_proposals
from .target_normalization import DeltaStatistics

MAX_CLASS_WEIGHT = 10.0
RECALL_THRESHOLDS = (0.5, 0.7)  # IoU


def read_sample(dataset: Dataset, source: ProposalSource, index: int, max_proposals: int) -> Sample:
    """Read an image with its objects and its best proposals, `max_proposals` of them at most."""
    return _read(dataset, source, index, max_proposals)[1]


def _read(
    dataset: Dataset, source: ProposalSource, index: int, max_proposals: int
) -> tuple[bytes, Sample]:
    """The content of an image file, and the sample that is made from it."""
    content, image, ground_truth = dataset.read(index)
    proposals = source(content, image).top(max_proposals)
    return content, Sample(
        image_id=dataset.image_id(index),
        image=image,
        proposals=proposals,
        ground_truth=ground_truth,
    )


@dataclass(frozen=True, kw_only=True)
class DatasetStatistics:
    """Statistics of a data set and its proposals. N: usable images, K: classes."""

    usable: NDArray[np.intp]  # [N], indices of images with a foreground or background RoI
    sizes: NDArray[np.int64]  # [N, 2], (height, width) of the usable images
    deltas: DeltaStatistics  # of all foreground RoIs
    object_counts: NDArray[np.int64]  # [K], objects that are not difficult
    recall: dict[float, float]  # by IoU: fraction of these objects that a proposal covers with it
    foreground_per_image: float  # mean number of foreground RoIs that could be sampled
    content: ContentSketch  # of all images, by which evaluation knows them again

    @property
    def balanced_weights(self) -> NDArray[np.float32]:
        """[K + 1], weights of the classes with which each has the same sum over its objects.

        Their mean over all objects is 1, but none is above MAX_CLASS_WEIGHT. Classes without
        objects and the background, in front, have 1.
        """
        counts = self.object_counts.astype(np.float64)
        present = counts > 0
        weights = np.ones(len(counts) + 1, np.float32)
        balanced = counts.sum() / (max(present.sum(), 1) * counts[present])
        weights[1:][present] = np.minimum(balanced, MAX_CLASS_WEIGHT)
        return weights

    @property
    def landscape(self) -> NDArray[np.bool_]:
        """[N], whether the usable image is at least as wide as high."""
        return self.sizes[:, 1] >= self.sizes[:, 0]


@dataclass(frozen=True, kw_only=True)
class _ImageStatistics:
    """One image's part of the statistics."""

    usable: bool
    size: tuple[int, int]
    fg_labels: NDArray[np.int64]  # of the foreground RoIs
    fg_deltas: NDArray[np.float32]
    object_labels: NDArray[np.int64]
    object_overlaps: NDArray[np.float32]  # IoU of each object with the proposal that fits it best


def compute_statistics(
    dataset: Dataset,
    source: ProposalSource,
    *,
    max_proposals: int,
    fg_threshold: float,
    bg_thresholds: tuple[float, float],
    class_agnostic: bool = False,
    ends_are_inside: bool = False,
    threads: int,
    on_image: Callable[[], None],
) -> DatasetStatistics:
    """Read every image once, and compute the proposals that are missing.

    The mean and deviation of the targets are taken by class and coordinate over all foreground RoIs
    and their mirror images, ground truth included, as in the reference code.

    Args:
        max_proposals: of each image; the best ones.
        fg_threshold, bg_thresholds: see `SamplingConfig`.
        class_agnostic: give every class the mean and deviation of the targets of all classes.
        ends_are_inside: see `SamplingConfig`.
        threads: that read ahead. on_image: called after each image.
    Raises:
        DataError: no image has a usable RoI.
    """

    def measure(index: int) -> tuple[str, _ImageStatistics]:
        content, sample = _read(dataset, source, index, max_proposals)
        return content_hash(content), _image_statistics(
            sample, fg_threshold, bg_thresholds, ends_are_inside
        )

    parts, hashes = [], []
    for _, future in prefetch(measure, range(len(dataset)), threads):
        image_hash, part = future.result()
        hashes.append(image_hash)
        parts.append(part)
        on_image()
    usable = np.array([part.usable for part in parts])
    if not usable.any():
        raise DataError(
            f"{dataset.name} {dataset.split}: no image has a proposal that overlaps an object",
            "check that the annotations belong to these images",
        )
    labels = np.concatenate([part.object_labels for part in parts])
    overlaps = np.concatenate([part.object_overlaps for part in parts])
    return DatasetStatistics(
        usable=np.flatnonzero(usable),
        sizes=np.array([part.size for part in parts])[usable],
        deltas=_delta_statistics(parts, len(dataset.classes), class_agnostic),
        object_counts=np.bincount(labels, minlength=len(dataset.classes) + 1)[1:],
        recall={
            iou: float((overlaps >= iou).mean()) if len(overlaps) else 0.0
            for iou in RECALL_THRESHOLDS
        },
        foreground_per_image=sum(len(part.fg_labels) for part in parts) / len(parts),
        content=ContentSketch.of(hashes),
    )


def _image_statistics(
    sample: Sample,
    fg_threshold: float,
    bg_thresholds: tuple[float, float],
    ends_are_inside: bool,
) -> _ImageStatistics:
    boxes, overlaps, nearest = match_proposals(sample)
    objects = sample.ground_truth[~sample.ground_truth.difficult]
    foreground = overlaps >= fg_threshold
    background = (overlaps >= bg_thresholds[0]) & (overlaps < bg_thresholds[1])
    targets = nearest[foreground]
    deltas = np.zeros((0, 4), np.float32)
    if foreground.any():
        deltas = box_coder.encode(
            box_ops.to_last_pixel(boxes[foreground], ends_are_inside),
            box_ops.to_last_pixel(objects.boxes[targets], ends_are_inside),
        )
    return _ImageStatistics(
        usable=bool((foreground | background).any()),
        size=sample.proposals.image_size,
        fg_labels=objects.labels[targets],
        fg_deltas=deltas,
        object_labels=objects.labels,
        object_overlaps=box_ops.iou(sample.proposals.boxes, objects.boxes).max(axis=0, initial=0),
    )


def _delta_statistics(
    parts: Sequence[_ImageStatistics], class_count: int, class_agnostic: bool
) -> DeltaStatistics:
    """Mean and standard deviation by class; 0 and 1 for the background and classes without RoIs."""
    labels = np.concatenate([part.fg_labels for part in parts])
    deltas = np.concatenate([part.fg_deltas for part in parts]).astype(np.float64)
    mean = np.zeros((class_count + 1, 4), np.float32)
    std = np.ones((class_count + 1, 4), np.float32)
    for label in range(1, class_count + 1):
        of_class = deltas if class_agnostic else deltas[labels == label]
        if not len(of_class):
            continue
        # in a mirrored image t_x has the other sign
        with_mirrored = np.concatenate([of_class, of_class * (-1, 1, 1, 1)])
        mean[label] = with_mirrored.mean(axis=0)
        spread = with_mirrored.std(axis=0)
        std[label] = np.where(spread > 1e-6, spread, 1)
    return DeltaStatistics(mean, std)
