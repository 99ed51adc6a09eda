"""What compression costs in average precision, for many ranks in one pass over a data set.

The expensive part of an image, up to the outputs of the first fully connected layer, is computed
once: truncating that layer only projects its outputs on fewer directions.
"""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ..data.dataset import Dataset
from ..errors import FrcnnError
from ..evaluation.voc import evaluate
from ..inference.batching import ReadFailure
from ..inference.detector import Detector
from ..runtime.files import write_text
from ..runtime.svg import Series, axis, line_chart, stacked
from ..runtime.timing import synchronized_time
from ..structures import Detections
from .calibration import first_layer_outputs
from .compressor import METHODS, Compressor, Method
from .cost import HeadTimer
from .ranks import Ranks, for_parameter_budget, least_weights

X_LABEL = "weights kept in the fully connected layers, per cent"
SHARES = (0.03, 0.06, 0.12, 0.25, 0.5)  # of the weights


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
    milliseconds: float  # an image: its features and answers, and these layers for 2,000 RoIs


def candidates(compressor: Compressor, chosen: Ranks | None = None) -> list[Candidate]:
    """The whole network first, then a ladder of budgets for each method, and the chosen ranks."""
    spectra = compressor.spectra()
    whole: Ranks = {each.name: None for each in spectra}
    total = sum(each.weights for each in spectra) + compressor.other_weights
    least = least_weights(spectra, compressor.other_weights)
    ladder = [
        for_parameter_budget(spectra, compressor.other_weights, share)
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
    Raises:
        DataError: no image has an object.
    """
    dataset.require_objects()
    heads = [compressor.head(candidate.method, candidate.ranks) for candidate in candidates]
    found: list[list[Detections]] = [[] for _ in candidates]
    besides: list[float] = []  # seconds of an image without the fully connected layers

    truths = dataset.ground_truths()
    for image in detector.read_each(range(len(dataset)), dataset.read_image, workers):
        if isinstance(image, ReadFailure):
            raise image.error
        preprocessed = image.preprocessed
        with torch.inference_mode():
            start = synchronized_time(detector.device)
            pooled, inverse = detector.region_features(preprocessed)
            besides.append(synchronized_time(detector.device) - start)
            y = first_layer_outputs(detector.network, pooled)
            for head, detections in zip(heads, found, strict=True):
                output = head.heads(y)
                start = synchronized_time(detector.device)
                detections.append(detector.postprocess(output, inverse, preprocessed))
            # of the last head, which is as good as any
            besides[-1] += synchronized_time(detector.device) - start
        on_image()
    timer = HeadTimer(compressor.model, detector.device)
    seconds: dict[str, float] = {}  # by ranks: one time for all methods
    rest = sum(p.numel() for p in compressor.model.parameters()) - _weights(
        compressor, candidates[0].ranks
    )
    points = []
    for candidate, detections in zip(candidates, found, strict=True):
        weights = _weights(compressor, candidate.ranks)
        key = str(candidate.ranks)
        if key not in seconds:
            seconds[key] = timer(candidate.ranks) + statistics.median(besides)
        points.append(
            Point(
                candidate.method,
                candidate.ranks,
                evaluate(detections, truths, len(dataset.classes)).mean_ap,
                weights,
                2 * (rest + weights) / 1e6,
                1000 * seconds[key],
            )
        )
    return points


def _weights(compressor: Compressor, ranks: Ranks) -> int:
    return compressor.other_weights + sum(
        each.weights_at(ranks[each.name]) for each in compressor.spectra()
    )


def smallest_within(points: Sequence[Point], drop: float) -> Point:
    """The candidate with the fewest weights of those that lose at most `drop` points of mAP.

    Raises:
        FrcnnError: there is none.
    """
    limit = points[0].mean_ap - drop / 100
    within = [point for point in points[1:] if point.mean_ap >= limit]
    if not within:
        raise FrcnnError(
            f"no candidate loses at most {drop:g} points of mAP", "allow more with --map-drop"
        )
    return min(within, key=lambda point: (point.weights, -point.mean_ap))


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


def write_curve(
    weights: Path, points: Sequence[Point], method: Method, chosen: Ranks
) -> list[Path]:
    """The table and the picture beside a weights file; returns their paths."""
    table, picture = (weights.with_name(f"{weights.stem}-curve{end}") for end in (".csv", ".svg"))
    write_text(table, to_csv(points))
    write_text(picture, draw_curve(points, method, chosen))
    return [table, picture]


def draw_curve(points: Sequence[Point], method: Method, chosen: Ranks) -> str:
    """mAP, time and size against the weights that are left, the chosen point ringed."""
    size = "megabytes of the file", "{:.1f} MB"
    charts = [
        _chart(points, method, chosen, "mAP, per cent", "{:.1f}", lambda p: 100 * p.mean_ap),
        _chart(
            points, None, chosen, "milliseconds an image", "{:.0f} ms", lambda p: p.milliseconds
        ),
        _chart(points, None, chosen, *size, lambda p: p.megabytes),
    ]
    return stacked(charts)


def _chart(
    points: Sequence[Point],
    method: Method | None,
    chosen: Ranks,
    label: str,
    form: str,
    value: Callable[[Point], float],
) -> str:
    """One value against the weights; method: None where it depends on the ranks alone."""
    whole, small = points[0], points[1:]
    lines: dict[str, list[tuple[float, float]]] = {}
    mark = None
    for point in small:
        at = 100 * point.weights / whole.weights, value(point)
        if method is None and point.method != small[0].method:
            continue
        lines.setdefault("any method" if method is None else METHODS[point.method], []).append(at)
        if point.ranks == chosen and method in (None, point.method):
            ranks = ", ".join(f"{name} {rank or 'whole'}" for name, rank in chosen.items())
            mark = (*at, f"{ranks}: {form.format(at[1])}")
    every = [at for line in lines.values() for at in line]
    return line_chart(
        f"What compression costs: {label}",
        axis(X_LABEL, [x for x, _ in every], logarithmic=True),
        axis(label, [value(whole), *(y for _, y in every)]),
        [Series(name, line) for name, line in lines.items()],
        mark,
        (value(whole), f"whole: {form.format(value(whole))}"),
    )
