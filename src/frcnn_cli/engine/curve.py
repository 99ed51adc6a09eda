"""What compression costs in average precision, for many ranks in one pass over a data set.

The expensive part of an image, up to the outputs of the first fully connected layer, is computed
once: truncating that layer only projects its outputs on fewer directions.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..data.batching import Prepared
from ..data.dataset import Dataset
from ..evaluation.voc import evaluate
from ..models.low_rank import Basis
from ..structures import Detections, GroundTruth, HeadOutput
from .chart import Series, axis, line_chart
from .compress import METHODS, Compressor, Method
from .detect import Detector
from .measure import HeadTimer
from .prefetch import prefetch
from .ranks import Ranks, by_share

SHARES = (0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.45, 0.6)  # of the weights


@dataclass(frozen=True)
class Candidate:
    """One way to compress a network."""

    method: Method
    ranks: Ranks


@dataclass(frozen=True)
class Point:
    """A candidate and what it came to."""

    method: Method
    ranks: Ranks
    mean_ap: float
    weights: int  # of the fully connected layers
    megabytes: float  # of the file, in half precision
    milliseconds: float  # of these layers, for 2,000 RoIs


def candidates(compressor: Compressor, chosen: Ranks | None = None) -> list[Candidate]:
    """The whole network first, then a ladder of budgets for each method, and the chosen ranks."""
    spectra = compressor.spectra()
    whole: Ranks = {each.name: None for each in spectra}
    total = sum(each.weights for each in spectra) + compressor.other_weights
    least = compressor.other_weights + sum(each.outputs + each.inputs for each in spectra)
    ladder = [
        by_share(spectra, compressor.other_weights, share)
        for share in SHARES
        if share * total >= least
    ]
    if chosen is not None:
        ladder.append(chosen)
    different = [ranks for i, ranks in enumerate(ladder) if ranks not in [whole, *ladder[:i]]]
    different.sort(key=lambda ranks: _weights(compressor, ranks))
    return [Candidate("plain", whole)] + [
        Candidate(method, ranks) for method in compressor.bases for ranks in different
    ]


class _Head:
    """The fully connected layers of one candidate, from the outputs of the first one on."""

    def __init__(self, compressor: Compressor, candidate: Candidate) -> None:
        self._model = compressor.model
        device = compressor.model.feature_scale.device
        self._steps: list[tuple[nn.Linear, Tensor | None, Tensor | None]] = []
        for name, layer in compressor.layers.items():
            rank = candidate.ranks[name]
            basis: Basis = compressor.bases[candidate.method][name]
            if rank is None:
                self._steps.append((layer, None, None))
            else:
                directions = basis.vectors[:, :rank].float().to(device)
                self._steps.append((layer, directions, basis.mean.float().to(device)))

    def __call__(self, y: Tensor) -> HeadOutput:
        """From W x of the first layer, [R, u]."""
        x = y
        for index, (layer, directions, mean) in enumerate(self._steps):
            if index:
                x = nn.functional.linear(x, layer.weight)
            if directions is not None and mean is not None:
                x = mean + ((x - mean) @ directions) @ directions.T
            x = (x + layer.bias).relu()
        logits = self._model.cls_score(x)
        deltas = self._model.bbox_pred(x)
        return HeadOutput(logits, deltas.view(len(deltas), logits.shape[1], 4))


def measure_curve(
    detector: Detector,
    compressor: Compressor,
    candidates: Sequence[Candidate],
    dataset: Dataset,
    workers: int,
    on_image: Callable[[], None],
) -> list[Point]:
    """The mean average precision of every candidate.

    Args:
        detector: with the whole network, the compressor's. dataset: numbered by its classes.
        workers: threads that read ahead. on_image: called after each image.
    """
    heads = [_Head(compressor, candidate) for candidate in candidates]
    first = next(iter(compressor.layers.values()))
    found: list[list[Detections]] = [[] for _ in candidates]
    truths: list[GroundTruth] = []

    def read(index: int) -> tuple[Prepared, GroundTruth]:
        content, image, truth = dataset.read(index)
        return detector.prepare(content, image), truth

    for _, future in prefetch(read, range(len(dataset)), workers):
        prepared, truth = future.result()
        truths.append(truth)
        with torch.inference_mode():
            pooled, kind = detector.pool(prepared)
            y = nn.functional.linear(pooled, first.weight)
            for head, detections in zip(heads, found, strict=True):
                detections.append(detector.answer(head(y), kind, prepared))
        on_image()
    timer = HeadTimer(compressor.model, detector.device)
    rest = sum(p.numel() for p in compressor.model.parameters()) - _weights(
        compressor, candidates[0].ranks
    )
    points = []
    for candidate, detections in zip(candidates, found, strict=True):
        weights = _weights(compressor, candidate.ranks)
        points.append(
            Point(
                candidate.method,
                candidate.ranks,
                evaluate(detections, truths, len(dataset.classes)).mean_ap,
                weights,
                2 * (rest + weights) / 1e6,
                1000 * timer(candidate.ranks),
            )
        )
    return points


def _weights(compressor: Compressor, ranks: Ranks) -> int:
    return compressor.other_weights + sum(
        each.weights_at(ranks[each.name]) for each in compressor.spectra()
    )


def smallest_within(points: Sequence[Point], drop: float) -> Point | None:
    """The candidate with the fewest weights of those that lose at most `drop` points of mAP."""
    limit = points[0].mean_ap - drop / 100
    within = [point for point in points[1:] if point.mean_ap >= limit]
    return min(within, key=lambda point: point.weights, default=None)


def to_csv(points: Sequence[Point]) -> str:
    """The points as a table; ranks of layers that stay whole are empty."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    names = list(points[0].ranks)
    table.writerow(["method", *names, "map", "weights", "megabytes", "milliseconds"])
    for point in points:
        ranks = [point.ranks[name] or "" for name in names]
        method = point.method if any(ranks) else "whole"
        table.writerow(
            [
                method,
                *ranks,
                f"{point.mean_ap:.4f}",
                point.weights,
                f"{point.megabytes:.2f}",
                f"{point.milliseconds:.1f}",
            ]
        )
    return text.getvalue()


def draw_curve(points: Sequence[Point], chosen: Ranks) -> str:
    """mAP against the weights that are left, one line a method, the chosen point ringed."""
    whole = points[0]
    share = [100 * point.weights / whole.weights for point in points]
    average = [100 * point.mean_ap for point in points]
    methods = list(dict.fromkeys(point.method for point in points[1:]))
    lines = [
        Series(
            METHODS[method],
            [
                (x, y)
                for point, x, y in zip(points[1:], share[1:], average[1:], strict=True)
                if point.method == method
            ],
        )
        for method in methods
    ]
    mark = None
    for point, x, y in zip(points[1:], share[1:], average[1:], strict=True):
        if point.ranks == chosen and point.method == methods[-1]:
            ranks = ", ".join(f"{name} {rank or 'whole'}" for name, rank in chosen.items())
            mark = (x, y, f"{ranks}: {point.megabytes:.1f} MB, {point.milliseconds:.0f} ms")
    return line_chart(
        "What compression costs",
        axis("weights kept in the fully connected layers, per cent", share[1:], logarithmic=True),
        axis("mean average precision, per cent", average),
        lines,
        mark,
        (100 * whole.mean_ap, f"whole: {whole.megabytes:.1f} MB, {whole.milliseconds:.0f} ms"),
    )
