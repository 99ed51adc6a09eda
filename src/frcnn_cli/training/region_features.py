"""The stage of R-CNN and SPPnet that stores the features of all regions of the training images."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.collate import PreprocessedImage, preprocess_scales
from ..data.dataset import Dataset
from ..inference.detector import Detector
from ..ops import boxes as box_ops
from ..runtime.executor import prefetch
from ..runtime.signals import StopSignal
from .region_store import RegionStore
from .roi_sampling import match_proposals
from .statistics import read_sample

SAVE_SECONDS = 20.0  # between two saves of the index


def store_features(
    detector: Detector,
    dataset: Dataset,
    store: RegionStore,
    *,
    threads: int,
    on_image: Callable[[], None] = lambda: None,
) -> bool:
    """Compute the features of the regions of all images that the store lacks.

    The regions of an image are its objects that are not difficult, and its proposals; the features
    are those that the detector computes in detection, at its scales.

    Args:
        threads: that read images ahead. on_image: called after each image.
    Returns:
        Whether all images are done; False where SIGINT or SIGTERM came before.
    Raises:
        FrcnnError: an image is missing, or the disk is full.
    """
    config, header = detector.config, detector.header

    def prepare(index: int) -> PreprocessedImage:
        sample = read_sample(dataset, detector.proposals, index, config.max_proposals)
        scales = config.scales or (header.scale,)
        side = config.max_size or header.max_size
        regions = box_ops.to_last_pixel(
            match_proposals(sample)[0], detector.network.ends_are_inside
        )
        return preprocess_scales(sample.image, regions, scales, side)

    stop, saved_at = StopSignal(), time.monotonic()
    todo = range(store.images, len(dataset))
    with stop:
        for _, future in prefetch(prepare, todo, threads):
            store.add(*region_features(detector, future.result()))
            on_image()
            if stop.requested or time.monotonic() - saved_at > SAVE_SECONDS:
                store.save()
                saved_at = time.monotonic()
            if stop.requested:
                return store.images == len(dataset)
    store.save()
    return True


@torch.inference_mode()
def region_features(
    detector: Detector, image: PreprocessedImage
) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
    """The regions of an image at all its scales, one scale after the other.

    Returns:
        boxes: [R, 4], pixels of the original image.
        features: [R, U], of the last hidden layer.
    """
    scales: Sequence[PreprocessedImage] = (image, *image.other_scales)
    features = []
    for scaled in scales:
        maps, rois, inverse = detector.extract_features(scaled)
        pool = detector.network.features_in_chunks(maps, len(rois))
        hidden = detector.network.box_head(pool(rois))[inverse]
        features.append(hidden.to("cpu", torch.float16).numpy())
    boxes = np.concatenate([scaled.rois for scaled in scales])
    return (
        box_ops.from_last_pixel(boxes, detector.network.ends_are_inside),
        np.concatenate(features),
    )
