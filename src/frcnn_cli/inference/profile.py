"""Measures the time of each stage of detection (Fast R-CNN, Figure 2), with a lower bound.

The stages are those of the pipeline itself, which calls a hook around each of them. A GPU is not
made to wait between them: its own clock times them.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch

from ..data import images
from ..data.collate import PreprocessedImage
from ..data.sources import Pixels, Source
from ..errors import DataError, FrcnnError, with_image
from ..proposers.registry import FILE
from ..runtime.timing import Mark, Work, synchronized_time
from .detector import Detector
from .drawing import draw

PASSES = 3  # timed passes over each image, after one that is not timed
_MATRIX_SIDE, _COPY_SIZE = 8192, 2**26  # largest matrices multiplied; number of floats copied
_LONG_PRODUCT = 0.05  # seconds; after a product that takes longer, no larger one is measured


@dataclass(frozen=True)
class Stage:
    """The time of one stage of detection."""

    name: str
    milliseconds: float  # for an image, median
    floor: float | None  # lower bound, milliseconds: the work of the stage at the measured rates


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The measurements of `frcnn detect --profile`."""

    stages: list[Stage]
    pictures: int  # number of images that were measured
    rois: float  # mean number of RoIs in an image
    distinct: float  # mean number of RoIs with different features in an image
    gemm_flops: float  # floating-point operations per second in a large matrix product
    copy_bytes: float  # bytes read and written per second in a large copy
    failures: tuple[str, ...]  # error messages of images that could not be read or proposed for


class _Clock:
    """A StageHook that adds up the time and the lower bound of every stage, for each image."""

    def __init__(self, device: torch.device, gemm_flops: float, copy_bytes: float) -> None:
        self._device, self._gemm_flops, self._copy_bytes = device, gemm_flops, copy_bytes
        self._parts: list[tuple[str, Mark, Mark]] = []  # of stages, with their beginning and end
        self._floors: dict[str, float] = {}
        self._images: dict[str, list[float]] = defaultdict(list)
        self._image_floors: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def __call__(self, name: str, work: Callable[[], Work] | None = None) -> Iterator[None]:
        begun = Mark.on(self._device)
        yield
        self._parts.append((name, begun, Mark.on(self._device)))
        if work is not None:
            least = work()
            floor = least.flops / self._gemm_flops + least.bytes / self._copy_bytes
            self._floors[name] = self._floors.get(name, 0.0) + floor

    def end_image(self, counts: bool) -> None:
        """Begin the next image; the sums of the last one are kept if `counts` is set."""
        if counts:
            sums: dict[str, float] = {}
            for name, begun, ended in self._parts:
                sums[name] = sums.get(name, 0.0) + ended.seconds_since(begun)
            for name, seconds in sums.items():
                self._images[name].append(1000 * seconds)
            for name, floor in self._floors.items():
                self._image_floors[name].append(1000 * floor)
        self._parts, self._floors = [], {}

    def stages(self) -> list[Stage]:
        """The medians of each stage over the images; stages are in the order of their beginning."""
        floors = {name: statistics.median(each) for name, each in self._image_floors.items()}
        return [
            Stage(name, statistics.median(times), floors.get(name))
            for name, times in self._images.items()
        ]


def gemm_rate(device: torch.device, dtype: torch.dtype = torch.float32) -> float:
    """Floating-point operations per second of a large matrix product.

    The product is as large as the device computes in _LONG_PRODUCT seconds or a little more: a GPU
    needs a large one, and in a type that a processor only emulates, a large one takes minutes.
    """
    for size in (_MATRIX_SIDE >> shift for shift in range(5, -1, -1)):
        a = torch.rand(size, size, device=device).to(dtype)
        seconds = _fastest(partial(torch.mm, a, a), device)
        if seconds > _LONG_PRODUCT:
            break
    return 2 * size**3 / seconds


def copy_rate(device: torch.device) -> float:
    """Bytes per second, read and written, of a large copy."""
    a = torch.rand(_COPY_SIZE, device=device)
    b = torch.empty_like(a)
    return 2 * 4 * _COPY_SIZE / _fastest(lambda: b.copy_(a), device)


def _fastest(work: Callable[[], object], device: torch.device) -> float:
    seconds = []
    for _ in range(6):
        start = synchronized_time(device)
        work()
        seconds.append(synchronized_time(device) - start)
    return min(seconds)


def profile(detector: Detector, sources: Iterable[Source]) -> Profile:
    """Time every stage of detection in each source; stages do not overlap.

    Proposals are computed without the cache, unless they come from a file.

    Raises:
        FrcnnError: no image could be measured; the error is that of the first.
    """
    gemm, copy = gemm_rate(detector.device, detector.dtype), copy_rate(detector.device)
    clock, rois, distinct = _Clock(detector.device, gemm, copy), list[int](), list[int]()
    first: FrcnnError | None = None
    failures: list[str] = []
    for source in sources:
        try:
            content, image = source.read()
            for number in range(PASSES + 1):
                preprocessed = _detect_once(detector, clock, content, image)
                clock.end_image(counts=number > 0)
        except FrcnnError as error:
            first = first or error
            failures.append(with_image(error, source.name))
            continue
        rois.append(preprocessed.roi_count)
        scales = [preprocessed, *preprocessed.other_scales]
        distinct.append(sum(len(detector.extract_features(each)[1]) for each in scales))
    if not rois:
        raise first or DataError("nothing to measure", "give an image")
    return Profile(
        stages=clock.stages(),
        pictures=len(rois),
        rois=statistics.fmean(rois),
        distinct=statistics.fmean(distinct),
        gemm_flops=gemm,
        copy_bytes=copy,
        failures=tuple(failures),
    )


def _detect_once(
    detector: Detector, clock: _Clock, content: bytes | None, image: Pixels
) -> PreprocessedImage:
    """Detect the objects in one image, and draw them.

    Args:
        content: the bytes of the image file; None for an image without a file.
    """
    timed = detector.timed_by(clock)
    if content is not None:
        with clock("decode"):
            images.decode(content, "the picture")
    from_file = detector.proposals.method.name == FILE
    preprocessed = timed.preprocess(content if from_file else None, image)
    (detections,) = timed.detect_batch([preprocessed])
    with clock("draw"):
        draw(image, detections, detector.classes)
    return preprocessed
