"""The time that each method takes to detect in an image, without the proposals."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from ..data.collate import PreprocessedImage, preprocess_scales
from ..inference.detector import Detector
from ..runtime.timing import Work, synchronized_time
from .methods import METHODS, Method
from .photographs import Photograph

# Stages that happen once an image; the others once a region where regions are warped.
_ONCE = ("scale", "NMS")


@dataclass(frozen=True, kw_only=True)
class DetectionTime:
    """The time of a method: the fastest pass over each image, and the median over the images."""

    seconds: float
    stages: dict[str, float]  # seconds of each stage
    flops: float  # mean over the images
    extrapolated: bool  # some regions were measured; the times are for all of them


class _Stopwatch:
    """A StageHook that adds up the seconds of every stage."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, name: str, work: Callable[[], Work] | None = None) -> Iterator[None]:
        start = synchronized_time(self._device)
        yield
        self.seconds[name] += synchronized_time(self._device) - start


def time_detection(
    detectors: Mapping[str, Detector],
    pictures: Sequence[Photograph],
    *,
    regions: int,
    repeats: int,
    on_pass: Callable[[str], None] = lambda title: None,
) -> dict[str, DetectionTime]:
    """Time methods on photographs, in turn, so that all of them see the machine alike.

    The fastest of several passes is the one that other programs disturbed least.

    Args:
        detectors: of the METHODS with these keys.
        regions: of an image that are measured where the method is sampled.
        repeats: timed passes over each image; one over the first image, not timed, comes before.
        on_pass: called after each pass over an image, with the title of the method.
    """
    for name, detector in detectors.items():
        _one_image(detector, METHODS[name], pictures[0], regions)
        on_pass(METHODS[name].title)
    fastest: dict[str, list[dict[str, float]]] = {name: [] for name in detectors}
    for picture in pictures:
        passes: dict[str, list[dict[str, float]]] = {name: [] for name in detectors}
        for _ in range(repeats):
            for name, detector in detectors.items():
                passes[name].append(_one_image(detector, METHODS[name], picture, regions))
                on_pass(METHODS[name].title)
        for name, timed in passes.items():
            fastest[name].append(min(timed, key=lambda stages: sum(stages.values())))
    return {
        name: _over_images(detector, METHODS[name], pictures, regions, fastest[name])
        for name, detector in detectors.items()
    }


def _over_images(
    detector: Detector,
    method: Method,
    pictures: Sequence[Photograph],
    regions: int,
    timed: Sequence[dict[str, float]],
) -> DetectionTime:
    """The time of a method, from the seconds of every stage in each image."""
    names = dict.fromkeys(name for each in timed for name in each)
    return DetectionTime(
        seconds=statistics.median(sum(each.values()) for each in timed),
        stages={name: statistics.median(each.get(name, 0.0) for each in timed) for name in names},
        flops=statistics.fmean(detection_flops(detector, method, each) for each in pictures),
        extrapolated=method.sampled and any(len(each.boxes) > regions for each in pictures),
    )


def _one_image(
    detector: Detector, method: Method, picture: Photograph, regions: int
) -> dict[str, float]:
    """The seconds of every stage, for all regions."""
    boxes, factor = picture.boxes, 1.0
    if method.sampled and len(boxes) > regions:
        chosen = np.linspace(0, len(boxes) - 1, regions).astype(np.intp)
        boxes, factor = boxes[chosen], len(boxes) / regions
    prepared = preprocess_scales(picture.image, boxes, method.scales, method.max_size)
    watch = _Stopwatch(detector.device)
    detector.timed_by(watch).detect(prepared)
    return {
        name: seconds * (1.0 if name in _ONCE else factor)
        for name, seconds in watch.seconds.items()
    }


def detection_flops(detector: Detector, method: Method, picture: Photograph) -> float:
    """Floating-point operations of the convolutions and fully connected layers for an image."""
    prepared = preprocess_scales(picture.image, picture.boxes, method.scales, method.max_size)
    network = detector.network
    per_region = network.region_flops() + network.head_flops()
    total = 0.0
    for scaled in (prepared, *prepared.other_scales):
        total += network.image_flops(scaled.image.shape[:2])
        total += per_region * _region_count(detector, scaled)
    return total


def _region_count(detector: Detector, scaled: PreprocessedImage) -> int:
    """The number of RoIs that go through the layers."""
    rois = np.insert(scaled.rois * np.float32(scaled.scale), 0, 0, axis=1)
    return len(detector.network.distinct(torch.from_numpy(rois))[0])
