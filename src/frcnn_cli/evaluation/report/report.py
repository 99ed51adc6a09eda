"""Write the report of an evaluation: an HTML page, and its curves as files."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from ...data.dataset import Dataset
from ...proposers.cache import ProposalSource
from ...runtime.csv_cells import cell
from ...runtime.files import write_texts
from ..confusion import ImageCounts, confusion_matrix, image_counts
from ..diagnosis import ERROR_TYPES, MISSED, Diagnosis, by_size, diagnose, score_histogram
from ..matching import Floats
from ..metrics import METRICS, Evaluation, Metric
from ..reliability import reliability
from . import charts
from .gallery import error_examples
from .page import ClassRow, Confusion, ErrorRow, ImageRow, Page
from .proposal_recall import proposal_recall

REPORT_FILES = ("index.html", "images.csv", "curves/all.svg")
EXAMPLES_PER_TYPE = 12
WORST_IMAGES = 20
MATRIX_CLASSES = 31  # the most, background included, of which the matrix is shown
CONFUSED_PAIRS = 15
BINS = 20  # of the histogram of scores
SHEET_COLUMNS = 5  # of curves/all.svg
ERROR_DESCRIPTIONS = {
    "localisation": "an object of the class, IoU 0.1 to 0.5",
    "similar class": "an object of a similar class, IoU 0.1 or more",
    "other class": "an object of another class, IoU 0.1 or more",
    "background": "no object",
    "duplicate": "an object that a better detection has found",
    "missed": "objects that no detection is about",
}
# Fast R-CNN, Table 1: FRCN trained on VOC2007 trainval, VOC2007 test, AP in per cent.
PAPER_AP = {
    "aeroplane": 74.5, "bicycle": 78.3, "bird": 69.2, "boat": 53.2, "bottle": 36.6, "bus": 77.3,
    "car": 78.2, "cat": 82.0, "chair": 40.7, "cow": 72.7, "diningtable": 67.9, "dog": 79.6,
    "horse": 79.2, "motorbike": 73.0, "person": 69.0, "pottedplant": 30.1, "sheep": 65.4,
    "sofa": 70.2, "train": 75.8, "tvmonitor": 65.8,
}  # fmt: skip
PAPER_NOTE = "Fast R-CNN with VGG16, trained on trainval, 11-point AP on test (Table 1)."
CURVE_NOTES: dict[Metric, str] = {
    "voc07": ", whose mean at recall 0, 0.1 … 1 is AP",
    "voc": ", whose mean over the recall is AP",
    "coco": "; AP is the mean over ten such curves, at IoU 0.5, 0.55 … 0.95",
}
RULES = (
    "Difficult objects are ignored. A second detection of an object is a false positive. Equal "
    "scores rank in the order of the images."
)


def write_report(
    folder: Path,
    dataset: Dataset,
    evaluation: Evaluation,
    *,
    title: str,
    proposals: ProposalSource | None = None,
    images_per_second: float | None = None,
    validations: Sequence[tuple[int, Mapping[str, float]]] = (),
    on_image: Callable[[], None] | None = None,
) -> Path:
    """Write index.html, images.csv and curves/*.svg.

    Args:
        folder: made if it does not exist.
        dataset: the images that `evaluation` is of; its classes may be more.
        title: name of the detector.
        proposals: those of the detections, for their recall; None if they are not known.
        images_per_second: speed of the detection; None if the detections were read from a file.
        validations: of the training of the detector: (iteration, class -> AP).
        on_image: called after each image whose proposals were looked up.
    Returns:
        The path of the page.
    Raises:
        FrcnnError: the folder cannot be written to.
    """
    dataset = dataset.with_classes(evaluation.classes)
    recall, recall_note = proposal_recall(
        dataset, evaluation.ground_truths, proposals, on_image or (lambda: None)
    )
    diagnosis = diagnose(evaluation.matched, _similar_labels(dataset), evaluation.rule)
    curves = _curves(evaluation)
    paper = PAPER_AP if dataset.name == "voc2007" else {}
    rows = _image_rows(image_counts(evaluation.matched, evaluation.score), dataset)
    sizes = by_size(evaluation.matched, evaluation.rule)
    reliable = reliability(evaluation.matched)
    page = Page(
        title=f"{title} on {dataset.name} {dataset.split}",
        tiles=_tiles(evaluation, len(dataset), images_per_second),
        rules=f"{METRICS[evaluation.metric]}. {RULES}",
        classes=_class_rows(evaluation, paper),
        mean=_mean_row(evaluation, paper),
        paper=PAPER_NOTE if paper else "",
        score=evaluation.score,
        curves=curves,
        curve_note=CURVE_NOTES[evaluation.metric],
        errors=_error_rows(evaluation, diagnosis),
        confusion=_confusion(evaluation),
        worst=[row for row in rows if row.false + row.missed][:WORST_IMAGES],
        sizes=[(name, ap, count) for name, (ap, count) in sizes.items()],
        histogram=charts.histogram_chart(*score_histogram(evaluation.matched, BINS)),
        reliability=charts.reliability_chart(reliable),
        calibration_error=_shown(reliable.error),
        recall=recall,
        recall_note=recall_note,
        examples=error_examples(evaluation.matched, diagnosis, dataset, EXAMPLES_PER_TYPE),
        validations=validations,
    )
    page_file, images_file, sheet_file = (folder / name for name in REPORT_FILES)
    texts = {
        images_file: _images_csv(rows),
        sheet_file: charts.curve_sheet(curves, SHEET_COLUMNS),
        page_file: page.html(),
    }
    for name, curve in zip(_file_names(evaluation.classes), curves, strict=True):
        texts[folder / "curves" / f"{name}.svg"] = charts.with_style(curve)
    write_texts(texts)
    return page_file


def _similar_labels(dataset: Dataset) -> list[list[int]]:
    """The groups of similar classes, as labels."""
    return [
        [dataset.classes.index(name) + 1 for name in group if name in dataset.classes]
        for group in dataset.similar
    ]


def _file_names(classes: Sequence[str]) -> list[str]:
    """A name for each class that is unique and safe in any file system."""
    return [
        f"{k:02d}-{re.sub(r'[^A-Za-z0-9]+', '_', name)[:60]}" for k, name in enumerate(classes, 1)
    ]


def _tiles(
    evaluation: Evaluation, image_count: int, images_per_second: float | None
) -> list[tuple[str, str]]:
    tiles = [
        (_shown(evaluation.mean_ap), "mean AP"),
        (f"{image_count:,}", "images"),
        (f"{int(evaluation.object_counts.sum()):,}", "objects"),
        (f"{len(evaluation.matched.detections):,}", "detections"),
    ]
    if images_per_second is not None:
        tiles.append((f"{images_per_second:g}", "images/s"))
    return tiles + [
        (_shown(value), name) for name, value in evaluation.coco_metrics.items() if name != "AP"
    ]


def _shown(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _confusion(evaluation: Evaluation) -> Confusion:
    """The confusions of all classes, as a matrix if they are few, and the most frequent ones."""
    counts = confusion_matrix(evaluation.matched, evaluation.score)
    names = ["background", *evaluation.classes]
    order = [*range(1, len(names)), 0]
    rows, columns = np.nonzero(counts * (1 - np.eye(len(names), dtype=np.int64)))
    of_classes = (rows > 0) & (columns > 0)
    pairs = sorted(
        zip(rows[of_classes].tolist(), columns[of_classes].tolist(), strict=True),
        key=lambda pair: -counts[pair],
    )
    is_small = len(names) <= MATRIX_CLASSES
    return Confusion(
        names=[names[label] for label in order] if is_small else [],
        counts=counts[np.ix_(order, order)].tolist() if is_small else [],
        pairs=[(names[a], names[b], int(counts[a, b])) for a, b in pairs[:CONFUSED_PAIRS]],
    )


def _image_rows(counts: ImageCounts, dataset: Dataset) -> list[ImageRow]:
    """A row for each image, those with the most errors first."""
    order = np.argsort(-(counts.false + counts.missed), kind="stable")
    return [
        ImageRow(
            name=dataset.image_id(index),
            found=int(counts.found[index]),
            false=int(counts.false[index]),
            missed=int(counts.missed[index]),
        )
        for index in order.tolist()
    ]


def _images_csv(rows: Sequence[ImageRow]) -> str:
    """A table of all images."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "found", "false", "missed"])
    writer.writerows([cell(row.name), row.found, row.false, row.missed] for row in rows)
    return text.getvalue()


def _class_rows(evaluation: Evaluation, paper: dict[str, float]) -> list[ClassRow]:
    columns = (
        evaluation.ap.tolist(),
        evaluation.object_counts.tolist(),
        evaluation.recall.tolist(),
        evaluation.precision.tolist(),
    )
    return [
        ClassRow(
            name=name,
            ap=ap,
            paper_ap=paper.get(name, math.nan) / 100,
            object_count=count,
            recall=recall,
            precision=precision,
        )
        for name, ap, count, recall, precision in zip(evaluation.classes, *columns, strict=True)
    ]


def _mean_row(evaluation: Evaluation, paper: dict[str, float]) -> ClassRow:
    return ClassRow(
        name="mean",
        ap=evaluation.mean_ap,
        paper_ap=fmean(paper.values()) / 100 if paper else math.nan,
        object_count=int(evaluation.object_counts.sum()),
        recall=_mean(evaluation.recall),
        precision=_mean(evaluation.precision),
    )


def _mean(values: Floats) -> float:
    """The mean of the values that are not NaN; NaN if there are none."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else math.nan


def _curves(evaluation: Evaluation) -> list[str]:
    curves = []
    for name, ranking in zip(evaluation.classes, evaluation.rankings, strict=True):
        point = ranking.at(evaluation.score)
        shown = None if any(map(math.isnan, point)) else point
        curves.append(charts.curve_chart(name, *ranking.full_curve, shown))
    return curves


def _error_rows(evaluation: Evaluation, diagnosis: Diagnosis) -> list[ErrorRow]:
    confident = evaluation.matched.detections.scores >= evaluation.score
    rows = []
    for number, error_type in enumerate(ERROR_TYPES):
        if number == MISSED:  # objects, which have no score
            total = confident_count = int(diagnosis.missed.sum())
        else:
            errors = diagnosis.error_type == number
            total, confident_count = int(errors.sum()), int((errors & confident).sum())
        rows.append(
            ErrorRow(
                error_type=error_type,
                description=ERROR_DESCRIPTIONS[error_type],
                confident=confident_count,
                total=total,
                gain=float(diagnosis.gain[number]),
            )
        )
    return rows
