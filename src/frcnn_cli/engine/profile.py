"""Where the time of a detection goes, as Figure 2 of the paper, with the floor beside it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import nn

from ..data import images
from ..data.batching import PixelStatistics, Prepared, collate, prepare
from ..data.sources import Pixels, Source
from ..errors import DataError, FrcnnError
from ..ops.roi_pool import distinct_cells
from ..proposers.methods import FILE
from ..structures import Batch, HeadOutput, Proposals
from .describe import feature_flops
from .detect import Detector
from .draw import draw
from .scoring import SCREEN, Pool, above

PASSES = 3  # over each picture, after one that does not count
_GEMM, _COPY = 2048, 2**26  # a side of the product; floats that are copied
_LONG = 0.05  # seconds of a product, after which no larger one is tried

Given = TypeVar("Given")


@dataclass(frozen=True)
class Stage:
    """One stage of a detection."""

    name: str
    milliseconds: float  # an image, median
    floor: float | None  # milliseconds that its arithmetic (or bytes) takes at the measured rate


@dataclass(frozen=True)
class Profile:
    """What `frcnn detect --profile` shows."""

    stages: list[Stage]
    pictures: int
    rois: float  # an image
    distinct: float  # of them, that fall on cells of their own
    gemm_flops: float  # floating-point operations per second of a large product
    copy_bytes: float  # bytes read and written per second of a large copy
    failures: tuple[str, ...]  # of pictures that could not be read or proposed for


class _Clock:
    """Collects the milliseconds of stages, waiting for the device at their ends."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.times: dict[str, list[float]] = {}
        self.floors: dict[str, list[float]] = {}

    def __call__(self, name: str, work: Callable[[], Given], floor: float | None = None) -> Given:
        """Run a stage; `floor` in seconds."""
        start = time.perf_counter()
        result = work()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.times.setdefault(name, []).append(1000 * (time.perf_counter() - start))
        if floor is not None:
            self.floors.setdefault(name, []).append(1000 * floor)
        return result

    def stages(self) -> list[Stage]:
        """The median of each."""
        return [
            Stage(
                name,
                statistics.median(times),
                statistics.median(self.floors[name]) if name in self.floors else None,
            )
            for name, times in self.times.items()
        ]


def gemm_rate(device: torch.device, dtype: torch.dtype = torch.float32) -> float:
    """Floating-point operations per second of a large product; of a smaller one that takes long,
    in a type that the processor does not multiply: the large one would take minutes."""
    for size in (_GEMM // 8, _GEMM // 4, _GEMM // 2, _GEMM):
        a = torch.rand(size, size, device=device).to(dtype)
        seconds = _fastest(partial(torch.mm, a, a), device)
        if seconds > _LONG:
            break
    return 2 * size**3 / seconds


def copy_rate(device: torch.device) -> float:
    """Bytes per second, read and written, of a large copy."""
    a = torch.rand(_COPY, device=device)
    b = torch.empty_like(a)
    return 2 * 4 * _COPY / _fastest(lambda: b.copy_(a), device)


def _fastest(work: Callable[[], object], device: torch.device) -> float:
    clock = _Clock(device)
    for _ in range(6):
        clock("work", work)
    return min(clock.times["work"]) / 1000


@torch.inference_mode()
def profile(detector: Detector, sources: Iterable[Source]) -> Profile:
    """Time every stage of detecting in the sources, one after the other, nothing overlapped.

    Proposals are made anew, whatever is in the cache, unless they are a file's.

    Raises:
        FrcnnError: the first failure, where nothing can be measured.
    """
    gemm, copy = gemm_rate(detector.device, detector.dtype), copy_rate(detector.device)
    clock, rois, distinct = _Clock(detector.device), list[int](), list[int]()
    failures: list[FrcnnError] = []
    for source in sources:
        try:
            content, image = source.read()
            for number in range(PASSES + 1):
                warm = _Clock(detector.device) if number == 0 else clock
                counts = _one(detector, content, image, warm, gemm, copy)
        except FrcnnError as error:
            failures.append(error)
            continue
        rois.append(counts[0])
        distinct.append(counts[1])
    if not rois:
        raise failures[0] if failures else DataError("nothing to measure", "give a picture")
    mean, words = statistics.fmean, tuple(failure.message for failure in failures)
    return Profile(clock.stages(), len(rois), mean(rois), mean(distinct), gemm, copy, words)


def _one(
    detector: Detector,
    content: bytes | None,
    image: Pixels,
    clock: _Clock,
    gemm: float,
    copy: float,
) -> tuple[int, int]:
    """One picture; returns the number of its RoIs and of the distinct ones.

    Args:
        content: of its file; None where it has none.
    """
    model, header, device, source = (
        detector.model,
        detector.header,
        detector.device,
        detector.source,
    )

    def propose() -> Proposals:
        if source.method.name == FILE and content is not None:
            return source(content, image)
        return source.method.propose(image)

    if content is not None:
        clock("decode", lambda: images.decode(content, "the picture"))
    proposals = clock("propose", propose)
    boxes = proposals.top(detector.config.max_proposals).boxes
    pixels = PixelStatistics(header.pixel_mean, header.pixel_std)

    def scale() -> tuple[Prepared, Batch, torch.Tensor]:
        prepared = prepare(image, boxes, header.scale, header.max_size)
        batch = collate([prepared], pixels)
        x = batch.images.to(device, detector.dtype, memory_format=torch.channels_last)
        return prepared, batch, x

    prepared, batch, scaled = clock("scale", scale)
    flops = feature_flops(model, (scaled.shape[2], scaled.shape[3]))
    features = clock(
        "conv", lambda: model.features(scaled).float() * model.feature_scale, flops / gemm
    )
    bins = model.pooled_size**2 * features.shape[1]

    def pool() -> tuple[torch.Tensor, torch.Tensor]:
        chosen, kind = distinct_cells(batch.rois, 1 / model.stride)
        pooled = Pool(model, features, len(chosen))(batch.rois[chosen].to(device))
        return pooled, kind.to(device)

    found, _ = pool()
    count = len(found)
    bytes_ = detector.dtype.itemsize * (features.numel() + count * bins)
    x, kind = clock("RoI pool", pool, bytes_ / copy)
    place = torch.arange(count, device=device)
    if detector.cascade:
        low = SCREEN * detector.config.score_threshold

        def screen() -> torch.Tensor:
            logits = model.cls_score(model.screen_hidden(x)).float()
            return above(logits, detector.wanted, low)

        layers = [*{**model.fc_layers, **model.screen}.values(), model.cls_score]
        place = clock("screen", screen, sum(map(_flops, layers)) * count / gemm)
        x = x[place]
    for name, layer in model.fc_layers.items():
        x = clock(name, partial(_activated, layer, x), _flops(layer) * len(x) / gemm)

    def heads() -> tuple[torch.Tensor, HeadOutput]:
        logits = model.cls_score(x).float()
        kept = above(logits, detector.wanted, detector.config.score_threshold)
        deltas = model.bbox_pred(x[kept]).float()
        return kept, HeadOutput(logits[kept], deltas.view(len(kept), len(detector.wanted), 4))

    kept, output = heads()
    both = _flops(model.cls_score) * len(x) + _flops(model.bbox_pred) * len(kept)
    clock("heads", heads, both / gemm)
    row = torch.full((count,), -1, device=device)
    row[place[kept]] = torch.arange(len(kept), device=device)
    detections = clock("NMS", lambda: detector.answer(output, row[kind], prepared))
    clock("draw", lambda: draw(image, detections, detector.classes))
    return len(kind), count


def _activated(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return layer(x).relu_()


def _flops(module: nn.Module) -> int:
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    return 2 * sum(layer.weight.numel() for layer in layers)
