"""frcnn eval"""

from __future__ import annotations

import os
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..config import DetectConfig
from ..data.registry import HELP
from ..errors import ConfigError, FrcnnError
from ..runtime.paths import DEFAULT_WEIGHTS, find_weights
from .console import ProgressLine
from .eval_input import RUNS, DatasetSpec, Found, dataset_spec, from_file, from_network, only
from .eval_tables import by_class, comparison_rows, number, show_comparison, show_evaluation
from .options import (
    Cascade,
    Config,
    Data,
    Device,
    Jobs,
    Json,
    Limit,
    Method,
    Precision,
    Quiet,
    Split,
    Vote,
    Weights,
    whole_numbers,
)

if TYPE_CHECKING:
    from ..evaluation.evaluate import Evaluation, Metric

DEFAULTS = DetectConfig()


def evaluate(
    dataset: Annotated[
        str | None,
        typer.Argument(
            help=f"{HELP} [default: voc, or that of the detections].", show_default=False
        ),
    ] = None,
    weights: Weights = DEFAULT_WEIGHTS,
    data: Data = None,
    split: Split = None,
    limit: Limit = None,
    metric: Annotated[
        Literal["voc07", "voc", "coco"] | None,
        typer.Option(
            help="11-point AP, area under the curve (VOC2010 on), or COCO's "
            "[default: voc for voc2012, coco for COCO files, else voc07].",
            show_default=False,
        ),
    ] = None,
    classes: Annotated[
        str, typer.Option(help="Only these, by name: cat,dog [default: all].", show_default=False)
    ] = "",
    score: Annotated[
        float, typer.Option(help="Detections from here on count for recall and precision.")
    ] = 0.5,
    max_proposals: Annotated[
        int, typer.Option(min=1, help="Proposals used in each image.")
    ] = DEFAULTS.max_proposals,
    detections: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Judge the detections in a file of frcnn eval, of COCO results, or in a folder "
            "of VOC's .txt files.",
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            help="File for the detections; gone on with where there are some "
            f"[default: one in {RUNS}].",
            show_default=False,
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder for index.html, a page about the result.")
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Two files of detections, as for --from: is the second one better?"),
    ] = None,
    resamples: Annotated[int, typer.Option(min=2, help="Draws of --compare's bootstrap.")] = 1000,
    fail_under: Annotated[
        float | None, typer.Option(help="Exit with status 1 where the mean AP is lower.")
    ] = None,
    proposals: Method = "fast",
    precision: Precision = "fp32",
    cascade: Cascade = DEFAULTS.cascade,
    scales: Annotated[
        str,
        typer.Option(
            help="Shorter side, pixels; of several (480,600) each box takes the one that brings it "
            "nearest to 224² pixels [default: the weights'].",
            show_default=False,
        ),
    ] = "",
    max_size: Annotated[
        int | None, typer.Option(min=1, help="Longer side at most [default: the weights'].")
    ] = None,
    vote: Vote = DEFAULTS.vote_threshold,
    box_regression: Annotated[
        bool, typer.Option(help="Refine the boxes; without it the proposals are the boxes.")
    ] = DEFAULTS.box_regression,
    batch: Annotated[
        int, typer.Option(min=1, help="Images of one size in a pass; more serves a GPU.")
    ] = 1,
    device: Device = "auto",
    jobs: Jobs = None,
    json: Json = False,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Average precision of a detector, or of detections in a file, by the rules of VOC or COCO.

    Detections are saved as they come: an evaluation that was stopped goes on, and one that was
    done answers at once.

    Example: frcnn eval voc2007 --split test --report out
    """
    if compare is not None and (detections, save, report, fail_under) != (None,) * 4:
        raise ConfigError(
            "--compare goes with no --from, --save, --report or --fail-under", "run eval for each"
        )
    files = list(compare) if compare is not None else [detections] if detections else []
    place = dataset_spec(files, dataset, data, split)
    metric = metric or _usual_metric(place, compare is not None)
    wanted = [name.strip() for name in classes.split(",") if name.strip()]
    if compare is not None:
        _compare(place, compare, limit, wanted, metric, resamples, json, quiet)
        return
    whole = place.open()
    if detections is not None:
        found = from_file(detections, whole, limit, quiet)
    else:
        settings = DetectConfig(
            max_proposals=max_proposals,
            vote_threshold=vote,
            precision=precision,
            cascade=cascade,
            scales=whole_numbers(scales, "scales"),
            max_size=max_size,
            box_regression=box_regression,
        )
        workers = jobs or os.cpu_count() or 1
        found = from_network(
            find_weights(weights), whole, limit, place.describe(whole), settings, proposals, save,
            device, workers, batch, quiet,
        )  # fmt: skip
    found = only(found, wanted)
    from ..evaluation import evaluate as engine

    truths = found.images.ground_truths()
    result = engine.evaluate(found.detections, truths, found.images.classes, metric, score)
    answer = _answer(result, found, engine.METRICS[metric])
    if report is not None:
        from ..evaluation.report.report import write_report

        with ProgressLine("writing the report", len(found.images), "images", quiet) as progress:
            page = write_report(report, found.images, truths, result, answer, progress.advance)
        answer["report"] = str(page)
    if json:
        print(dumps(answer))
    else:
        show_evaluation(result, answer)
    if fail_under is not None and not result.mean_ap >= fail_under:
        raise FrcnnError(
            f"the mean AP {result.mean_ap:.4f} is below --fail-under {fail_under:g}",
            "the figures are on stdout",
        )


def _usual_metric(place: DatasetSpec, comparing: bool) -> Metric:
    if place.name.startswith("coco:"):
        return "voc" if comparing else "coco"
    return "voc" if place.name == "voc2012" else "voc07"


def _answer(result: Evaluation, found: Found, metric: str) -> dict[str, Any]:
    """What --json prints."""
    names = result.classes
    answer: dict[str, Any] = {
        "map": number(result.mean_ap),
        "ap": by_class(names, result.ap),
        "images": len(found.images),
        "objects": int(result.objects.sum()),
        "metric": metric,
        "dataset": found.images.name,
        "split": found.images.split,
        "score": result.score,
        "recall": by_class(names, result.recall),
        "precision": by_class(names, result.precision),
        "seconds": round(found.seconds, 1),
        **found.origin,
    }
    if result.figures:
        answer["coco"] = {key: number(value) for key, value in result.figures.items()}
    if found.new:
        answer["images_per_second"] = round(found.new / found.seconds, 2)
    return answer


def _compare(
    place: DatasetSpec,
    files: tuple[Path, Path],
    limit: int | None,
    wanted: list[str],
    metric: Metric,
    resamples: int,
    json: bool,
    quiet: bool,
) -> None:
    """Two sets of detections of the same images."""
    if metric == "coco":
        raise ConfigError("--compare knows no --metric coco", "take voc07 or voc")
    whole = place.open()
    a, b = (only(from_file(path, whole, limit, quiet), wanted) for path in files)
    from ..evaluation import evaluate as engine
    from ..evaluation.compare import compare
    from ..evaluation.voc import judge

    truths, names = a.images.ground_truths(), a.images.classes
    judged = [judge(each.detections, truths, len(names)) for each in (a, b)]
    result = compare(judged[0], judged[1], metric, resamples)
    if json:
        answer = {
            "a": str(files[0]),
            "b": str(files[1]),
            "classes": comparison_rows(names, result),
            "images": len(a.images),
            "resamples": resamples,
            "metric": engine.METRICS[metric],
        }
        print(dumps(answer))
        return
    show_comparison(
        names,
        result,
        f"A {files[0]}, B {files[1]}; {engine.METRICS[metric]}; {len(a.images)} images, "
        f"drawn {resamples} times with replacement",
    )
