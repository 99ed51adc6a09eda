"""frcnn eval"""

from __future__ import annotations

import math
import os
import time
from json import dumps
from typing import Annotated

import typer
from rich.table import Table

from ..config import DetectConfig
from ..data.datasets import DATASETS
from ..paths import DEFAULT_WEIGHTS, find_weights
from .console import ProgressLine, stderr, stdout
from .options import (
    Config,
    Data,
    Device,
    Jobs,
    Json,
    Limit,
    Quiet,
    Source,
    Split,
    Weights,
    open_named,
    proposal_source,
)

METRIC = "voc07 11-point AP at IoU 0.5"
DEFAULTS = DetectConfig()


def evaluate(
    dataset: Annotated[str, typer.Argument(help=f"One of {', '.join(DATASETS)}.")] = "voc",
    weights: Weights = DEFAULT_WEIGHTS,
    data: Data = None,
    split: Split = None,
    limit: Limit = None,
    max_proposals: Annotated[
        int, typer.Option(min=1, help="Proposals used in each image.")
    ] = DEFAULTS.max_proposals,
    proposals: Source = "fast",
    device: Device = "auto",
    jobs: Jobs = None,
    json: Json = False,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Mean average precision by the rules of the VOC2007 development kit.

    Example: frcnn eval voc2007 --split test
    """
    images = open_named(dataset, data, split, ("test", "val"), limit)
    file = find_weights(weights)
    from ..engine.detect import Detector
    from ..engine.evaluate import evaluate_dataset

    settings = DetectConfig(max_proposals=max_proposals)
    detector = Detector.load(file, proposal_source(quiet, proposals), settings, device)
    unknown = [name for name in images.classes if name not in detector.classes]
    images = images.with_classes(detector.classes)
    if unknown and not quiet:
        stderr.print(f"not known to {file.stem}, left out: {', '.join(unknown)}")
    start = time.perf_counter()
    with ProgressLine("evaluating", len(images), "images", quiet) as progress:
        result = evaluate_dataset(detector, images, jobs or os.cpu_count() or 1, progress.advance)
    seconds = time.perf_counter() - start
    ap = {
        name: None if math.isnan(value) else round(value, 6)
        for name, value in zip(detector.classes, result.ap.tolist(), strict=True)
    }
    answer = {
        "map": None if math.isnan(result.mean_ap) else round(result.mean_ap, 6),
        "ap": ap,
        "images": len(images),
        "objects": int(result.objects.sum()),
        "metric": METRIC,
        "seconds": round(seconds, 1),
        "weights": str(file),
    }
    if json:
        print(dumps(answer))
        return
    table = Table("class", "AP", "objects")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, count in zip(detector.classes, result.objects.tolist(), strict=True):
        value = ap[name]
        table.add_row(name, "no objects" if value is None else f"{value:.3f}", str(count))
    table.add_section()
    table.add_row("mean", f"{result.mean_ap:.4f}", str(answer["objects"]), style="bold")
    stdout.print(table)
    stdout.print(
        f"{METRIC}; {len(images)} images of {images.name} {images.split}, {answer['objects']} "
        f"objects (difficult ones ignored); {len(images) / seconds:.1f} images/s",
        soft_wrap=True,
    )
