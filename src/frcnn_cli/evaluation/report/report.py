"""The page about an evaluation, and its curves as files."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from ...data import images as image_files
from ...data.dataset import Dataset
from ...errors import ImageError
from ...proposers.cache import ProposalSource
from ...proposers.registry import DEFAULT, PROPOSERS
from ...runtime.files import write_atomically
from ...runtime.paths import proposals_dir
from ...structures import GroundTruth
from ..diagnosis import KINDS, MISSED, Diagnosis, by_size, diagnose, score_histogram
from ..evaluate import Evaluation, Metric
from ..matching import Floats
from ..recall import best_overlaps, recall_table
from . import charts
from .gallery import pictures
from .page import ClassRow, ErrorRow, Page

PER_KIND = 12  # pictures of each kind of error
BINS = 20
COUNTS = (100, 300, 1000, 2000)
ABOUT = {
    "localisation": "an object of the class, IoU 0.1 to 0.5",
    "similar class": "an object of a similar class, IoU 0.1 or more",
    "other class": "an object of another class, IoU 0.1 or more",
    "background": "no object",
    "duplicate": "an object that a better detection has found",
    "missed": "objects without any detection of the kinds above",
}
# Fast R-CNN, Table 1: FRCN trained on VOC2007 trainval, VOC2007 test, in per cent.
PAPER = {
    "aeroplane": 74.5, "bicycle": 78.3, "bird": 69.2, "boat": 53.2, "bottle": 36.6, "bus": 77.3,
    "car": 78.2, "cat": 82.0, "chair": 40.7, "cow": 72.7, "diningtable": 67.9, "dog": 79.6,
    "horse": 79.2, "motorbike": 73.0, "person": 69.0, "pottedplant": 30.1, "sheep": 65.4,
    "sofa": 70.2, "train": 75.8, "tvmonitor": 65.8,
}  # fmt: skip
CURVE_NOTES: dict[Metric, str] = {
    "voc07": ", of which AP is the mean at recall 0, 0.1 … 1",
    "voc": ", of which AP is the mean over the recall",
    "coco": "; AP is a mean over ten such curves, at IoU 0.5, 0.55 … 0.95",
}
PAPER_NOTE = "Fast R-CNN with VGG16, trained on trainval, 11-point AP on test (Table 1)."


def write_report(
    folder: Path,
    dataset: Dataset,
    truths: Sequence[GroundTruth],
    result: Evaluation,
    answer: dict[str, Any],
    on_image: Callable[[], None],
) -> Path:
    """Write index.html and curves/*.svg.

    Args:
        dataset: with the classes of `result`. truths: of its images.
        answer: what --json prints.
        on_image: called after each image whose proposals were looked up.
    Returns:
        The page's path.
    Raises:
        FrcnnError: the folder cannot be written to.
    """
    curves = _curves(result)
    page = _page(dataset, truths, result, answer, curves, on_image).html()
    files = {folder / "index.html": page, folder / "curves" / "all.svg": charts.sheet(curves, 5)}
    for name, curve in zip(_file_names(result.classes), curves, strict=True):
        files[folder / "curves" / f"{name}.svg"] = charts.alone(curve)
    for path, text in files.items():
        write_atomically(path, partial(_write, text.encode()))
    return folder / "index.html"


def _page(
    dataset: Dataset,
    truths: Sequence[GroundTruth],
    result: Evaluation,
    answer: dict[str, Any],
    curves: Sequence[str],
    on_image: Callable[[], None],
) -> Page:
    judged = result.judged
    similar = [
        [dataset.classes.index(name) + 1 for name in group if name in dataset.classes]
        for group in dataset.similar
    ]
    diagnosis = diagnose(judged, similar, result.rule)
    recall, recall_note = _proposal_recall(dataset, truths, on_image)
    paper = PAPER if dataset.name == "voc2007" else {}
    return Page(
        title=f"{Path(answer.get('weights') or answer['detections']).stem} on {dataset.name} "
        f"{dataset.split}",
        tiles=_tiles(result, answer),
        rules=f"{answer['metric']}. Difficult objects are ignored, a second detection of an object "
        "is false, equal scores rank in the order of the images.",
        classes=[
            ClassRow(name, ap, paper.get(name, math.nan) / 100, objects, recall, precision)
            for name, ap, objects, recall, precision in zip(
                result.classes,
                result.ap.tolist(),
                result.objects.tolist(),
                result.recall.tolist(),
                result.precision.tolist(),
                strict=True,
            )
        ],
        mean=ClassRow(
            "mean",
            result.mean_ap,
            fmean(paper.values()) / 100 if paper else math.nan,
            int(result.objects.sum()),
            _mean(result.recall),
            _mean(result.precision),
        ),
        paper=PAPER_NOTE if paper else "",
        score=result.score,
        curves=curves,
        curve_note=CURVE_NOTES[result.metric],
        errors=_errors(result, diagnosis),
        sizes=[(name, ap, count) for name, (ap, count) in by_size(judged, result.rule).items()],
        histogram=charts.histogram_chart(*score_histogram(judged, BINS)),
        recall=recall,
        recall_note=recall_note,
        pictures=pictures(judged, diagnosis, dataset, PER_KIND),
        pictures_note="No errors, or no image files to show them in.",
    )


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _file_names(classes: Sequence[str]) -> list[str]:
    """Safe in any folder, and each once."""
    return [
        f"{k:02d}-{re.sub(r'[^A-Za-z0-9]+', '_', name)[:60]}" for k, name in enumerate(classes, 1)
    ]


def _mean(values: Floats) -> float:
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else math.nan


def _tiles(result: Evaluation, answer: dict[str, Any]) -> list[tuple[str, str]]:
    tiles = [
        (f"{result.mean_ap:.3f}", "mean AP"),
        (f"{answer['images']:,}", "images"),
        (f"{answer['objects']:,}", "objects"),
        (f"{len(result.judged.detections):,}", "detections"),
    ]
    if "images_per_second" in answer:
        tiles.append((f"{answer['images_per_second']:g}", "images/s"))
    return tiles + [
        (f"{value:.3f}", name) for name, value in result.figures.items() if name != "AP"
    ]


def _curves(result: Evaluation) -> list[str]:
    made = []
    for name, ranking in zip(result.classes, result.ranked, strict=True):
        recall, precision = ranking.whole_curve
        point = ranking.at(result.score)
        shown = None if any(map(math.isnan, point)) else point
        made.append(charts.curve_chart(name, recall, precision, shown))
    return made


def _errors(result: Evaluation, diagnosis: Diagnosis) -> list[ErrorRow]:
    confident = result.judged.detections.scores >= result.score
    rows = []
    for number, kind in enumerate(KINDS):
        own = diagnosis.missed if number == MISSED else diagnosis.kind == number
        sure = own if number == MISSED else own & confident
        gain = float(diagnosis.gain[number])
        rows.append(ErrorRow(kind, ABOUT[kind], int(sure.sum()), int(own.sum()), gain))
    return rows


def _proposal_recall(
    dataset: Dataset, truths: Sequence[GroundTruth], on_image: Callable[[], None]
) -> tuple[list[tuple[str, list[float]]], str]:
    """Recall at IoU 0.5 and 0.7 and MABO, of the proposals that are in the cache."""
    source = ProposalSource(PROPOSERS[DEFAULT](1), proposals_dir())
    overlaps, labels = [np.zeros((0, len(COUNTS)), np.float32)], [np.zeros(0, np.int64)]
    images = 0
    for path, truth in zip(dataset.paths, truths, strict=True):
        on_image()
        try:
            proposals = source.cached(image_files.read_bytes(path))
        except ImageError:
            continue
        if proposals is not None:
            images += 1
            overlaps.append(best_overlaps(proposals, truth, COUNTS))
            labels.append(truth.labels[~truth.difficult])
    best = np.concatenate(overlaps)
    if not len(best):
        return [], "There are no proposals of these images in the cache."
    table = recall_table(best, np.concatenate(labels), COUNTS)
    rows = [(count, [row["0.5"], row["0.7"], row["mabo"]]) for count, row in table.items()]
    return rows, (
        f"Share of {len(best):,} objects that the first proposals of an image cover "
        f"(selective search, {images:,} of {len(dataset):,} images), and the mean over the classes "
        "of the average best overlap."
    )
