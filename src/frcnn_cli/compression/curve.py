"""Mean average precision against rank: many compressed heads in one pass over a data set.

The expensive part of an image, up to the outputs of the first fully connected layer, is computed
once for all heads: see `Compressor`.
"""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ..data.collate import PreprocessedImage
from ..data.dataset import Dataset
from ..errors import FrcnnError
from ..evaluation.voc import evaluate_voc
from ..inference.batching import ReadFailure
from ..inference.detector import Detector
from ..models.region_network import RegionNetwork
from ..runtime.files import write_texts
from ..runtime.svg import Series, axis, line_chart, sheet
from ..runtime.timing import synchronized_time
from ..structures import Detections
from .calibration import first_layer_outputs
from .compressor import Compressor
from .cost import HeadTimer
from .ranks import Ranks, fewest_weights, ranks_for_budget
from .report import METHODS, Method

X_LABEL = "weights kept in the fully connected layers, per cent"
BUDGETS = (0.03, 0.06, 0.12, 0.25, 0.5)  # fractions of the weights


@dataclass(frozen=True)
class Candidate:
    """One way to compress a network."""

    method: Method
    ranks: Ranks


@dataclass(frozen=True, kw_only=True)
class Point:
    """A candidate with its accuracy and its cost."""

    method: Method
    ranks: Ranks
    mean_ap: float  # VOC2007, 0..1
    weights: int  # of the fully connected layers
    megabytes: float  # of the file
    milliseconds: float  # an image with 2,000 RoIs, proposals and decoding excluded


def candidates(compressor: Compressor, chosen: Ranks | None = None) -> list[Candidate]:
    """The full network first, then, for each method, the BUDGETS and the chosen ranks."""
    spectra, other_weights = compressor.spectra(), compressor.other_weights
    total = compressor.weights_at(compressor.full_rank)
    least = fewest_weights(spectra, other_weights)
    choices = [
        ranks_for_budget(spectra, other_weights, fraction)
        for fraction in BUDGETS
        if fraction * total >= least
    ]
    if chosen is not None:
        choices.append(chosen)
    different = [
        ranks
        for i, ranks in enumerate(choices)
        if ranks not in [compressor.full_rank, *choices[:i]]
    ]
    different.sort(key=compressor.weights_at)
    return [Candidate("plain", compressor.full_rank)] + [
        Candidate(method, ranks) for method in compressor.bases for ranks in different
    ]


def measure_curve(
    detector: Detector,
    compressor: Compressor,
    candidates: Sequence[Candidate],
    dataset: Dataset,
    *,
    half: bool,
    workers: int,
    on_image: Callable[[], None],
) -> list[Point]:
    """The mean average precision of every candidate, in the order of `candidates`.

    Args:
        detector: has the compressor's network, which is not compressed yet.
        dataset: its labels number the detector's classes.
        half: the files would hold float16 weights instead of float32.
        workers: threads that read ahead. on_image: called after each image.
    Raises:
        DataError: no image has an object. ImageError: an image is missing or damaged.
    """
    dataset.require_objects()
    heads = [compressor.head(each.method, each.ranks) for each in candidates]
    detections: list[list[Detections]] = [[] for _ in candidates]
    seconds: list[float] = []  # of each image, without the fully connected layers
    for image in detector.read_each(range(len(dataset)), dataset.read_image, workers):
        if isinstance(image, ReadFailure):
            raise image.error
        by_head, taken = _detect_with_each(detector, heads, image.preprocessed)
        for all_images, one_image in zip(detections, by_head, strict=True):
            all_images.append(one_image)
        seconds.append(taken)
        on_image()
    truths, class_count = dataset.ground_truths(), len(dataset.classes)
    mean_aps = [evaluate_voc(each, truths, class_count).mean_ap for each in detections]
    return _points(compressor, candidates, mean_aps, statistics.median(seconds), half)


@torch.inference_mode()
def _detect_with_each(
    detector: Detector, heads: Sequence[RegionNetwork], image: PreprocessedImage
) -> tuple[list[Detections], float]:
    """The detections of every head in one image, and the seconds that one head needs for it besides
    its fully connected layers."""
    start = synchronized_time(detector.device)
    features, inverse = detector.region_features(image)
    seconds = synchronized_time(detector.device) - start
    outputs = first_layer_outputs(detector.network, features)
    detections = []
    for head in heads:
        output = head.heads(outputs)
        start = synchronized_time(detector.device)
        detections.append(detector.postprocess(output, inverse, image))
        postprocess_seconds = synchronized_time(detector.device) - start
    return detections, seconds + postprocess_seconds  # the heads hardly differ in the latter


def _points(
    compressor: Compressor,
    candidates: Sequence[Candidate],
    mean_aps: Sequence[float],
    other_seconds: float,
    half: bool,
) -> list[Point]:
    timer = HeadTimer(compressor.network, compressor.network.device)
    seconds: dict[str, float] = {}  # by ranks: the time is the same for all methods
    parameters = sum(parameter.numel() for parameter in compressor.network.parameters())
    other_parameters = parameters - compressor.weights_at(compressor.full_rank)
    points = []
    for candidate, mean_ap in zip(candidates, mean_aps, strict=True):
        weights = compressor.weights_at(candidate.ranks)
        key = str(candidate.ranks)
        if key not in seconds:
            seconds[key] = timer(candidate.ranks) + other_seconds
        points.append(
            Point(
                method=candidate.method,
                ranks=candidate.ranks,
                mean_ap=mean_ap,
                weights=weights,
                megabytes=(2 if half else 4) * (other_parameters + weights) / 1e6,
                milliseconds=1000 * seconds[key],
            )
        )
    return points


def smallest_within(points: Sequence[Point], drop: float) -> Point:
    """The candidate with the fewest weights of those that lose at most `drop` points of mAP.

    Args:
        points: the full network first.
    Raises:
        FrcnnError: every candidate loses more.
    """
    limit = points[0].mean_ap - drop / 100
    within = [point for point in points[1:] if point.mean_ap >= limit]
    if not within:
        # without candidates, where the layers are too small, the full network itself
        best = max(points[1:] or points, key=lambda point: (point.mean_ap, -point.weights))
        ranks = ",".join(f"{name}={rank}" for name, rank in best.ranks.items() if rank is not None)
        lost = 100 * (points[0].mean_ap - best.mean_ap)
        raise FrcnnError(
            f"no candidate loses at most {drop:g} points of mAP"
            + (f"; the best one loses {lost:.2g}" if ranks else ""),
            "allow more with --map-drop"
            + (f", or take the ranks of that one: --rank {ranks}" if ranks else ""),
        )
    return min(within, key=lambda point: (point.weights, -point.mean_ap))


def to_csv(points: Sequence[Point]) -> str:
    """The points as a table; the rank of a layer at full rank is empty."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    names = list(points[0].ranks)
    table.writerow(["method", *names, "map", "weights", "megabytes", "milliseconds"])
    for point in points:
        ranks = [point.ranks[name] or "" for name in names]
        table.writerow(
            [
                point.method if any(ranks) else "whole",
                *ranks,
                f"{point.mean_ap:.4f}",
                point.weights,
                f"{point.megabytes:.2f}",
                f"{point.milliseconds:.1f}",
            ]
        )
    return text.getvalue()


def curve_files(weights: Path) -> list[Path]:
    """The files of a curve beside a weights file: WEIGHTS-curve.csv and WEIGHTS-curve.svg."""
    return [weights.with_name(f"{weights.stem}-curve{end}") for end in (".csv", ".svg")]


def write_curve(
    weights: Path, points: Sequence[Point], method: Method, chosen: Ranks
) -> list[Path]:
    """Write the table and the chart beside a weights file.

    Returns:
        The two paths; see `curve_files`.
    """
    table, chart = curve_files(weights)
    write_texts({table: to_csv(points), chart: draw_curve(points, method, chosen)})
    return [table, chart]


def draw_curve(points: Sequence[Point], method: Method, chosen: Ranks) -> str:
    """An SVG of mAP, time and size against the weights left; the chosen point is ringed."""
    time, size = "milliseconds an image", "megabytes of the file"
    charts = [
        _chart(points, method, chosen, "mAP, per cent", "{:.1f}", lambda p: 100 * p.mean_ap),
        _chart(points, None, chosen, time, "{:.0f} ms", lambda p: p.milliseconds),
        _chart(points, None, chosen, size, "{:.1f} MB", lambda p: p.megabytes),
    ]
    return sheet(charts)


def _chart(
    points: Sequence[Point],
    method: Method | None,
    chosen: Ranks,
    label: str,
    form: str,
    value: Callable[[Point], float],
) -> str:
    """A chart of one value against the weights.

    Args:
        method: of the ringed point; None if the value depends on the ranks alone.
        form: format of the value, with its unit. value: the value of a point.
    """
    full, compressed = points[0], points[1:]
    lines: dict[str, list[tuple[float, float]]] = {}
    mark = None
    for point in compressed:
        at = 100 * point.weights / full.weights, value(point)
        if method is None and point.method != compressed[0].method:
            continue
        lines.setdefault("any method" if method is None else METHODS[point.method], []).append(at)
        if point.ranks == chosen and method in (None, point.method):
            ranks = ", ".join(f"{name} {rank or 'full'}" for name, rank in chosen.items())
            mark = (*at, f"{ranks}: {form.format(at[1])}")
    every = [at for line in lines.values() for at in line]
    return line_chart(
        f"What compression costs: {label}",
        axis(X_LABEL, [x for x, _ in every], logarithmic=True),
        axis(label, [value(full), *(y for _, y in every)]),
        [Series(name, line) for name, line in lines.items()],
        mark=mark,
        level=(value(full), f"full rank: {form.format(value(full))}"),
    )
