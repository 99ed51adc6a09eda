"""The command `frcnn eval`."""

from __future__ import annotations

from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..config import DetectConfig
from ..data.registry import HELP
from ..errors import FrcnnError
from ..runtime.files import check_absent, check_writable
from ..settings import check
from .config_options import FromConfig, options_of
from .console import ProgressLine, dumps, say_error, stderr
from .eval_options import check_options
from .eval_tables import (
    class_table,
    comparison_json,
    evaluation_json,
    show_comparison,
    show_evaluation,
)
from .options import (
    Classes,
    Config,
    Data,
    Device,
    Jobs,
    Json,
    Limit,
    Map,
    Method,
    Overwrite,
    Quiet,
    RunData,
    SkipDamaged,
    Split,
    Tile,
    ValShare,
    Weights,
    check_images,
    choose_weights,
    class_names,
    data_of_run,
    parse_map,
    tell_unused_share,
)
from .options import proposal_source as open_proposals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..data.dataset import Dataset
    from ..evaluation.dataset_reference import DatasetReference
    from ..evaluation.detection_set import DetectionSet
    from ..evaluation.metrics import Evaluation, Metric


@options_of(settings=FromConfig(DetectConfig, without=("score_threshold", "classes")))
def evaluate(
    ctx: typer.Context,
    dataset: Annotated[
        str | None,
        typer.Argument(
            help=f"{HELP} [default: voc, or that of the detections].", show_default=False
        ),
    ] = None,
    *,
    weights: Weights = None,
    data: Data = None,
    split: Split = None,
    val_share: ValShare = None,
    limit: Limit = None,
    skip_damaged: SkipDamaged = False,
    metric: Annotated[
        Literal["voc07", "voc", "coco"] | None,
        typer.Option(
            help="11-point AP, area under the curve (VOC2010 and later), or COCO's "
            "[default: voc for voc2012, coco for COCO files, else voc07].",
            show_default=False,
        ),
    ] = None,
    classes: Classes = None,
    renamed: Map = None,
    score: Annotated[
        float, typer.Option(help="Least score of detections that recall and precision count.")
    ] = 0.5,
    detections: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Evaluate these detections: a file of frcnn eval, COCO results, or a folder of "
            "VOC's .txt files.",
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            help="File for the detections; an unfinished file is continued "
            "[default: a file in runs/eval].",
            show_default=False,
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder for a report on the result: index.html.")
    ] = None,
    overwrite: Overwrite = False,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Test whether the second of two files, as for --from, is better."),
    ] = None,
    resamples: Annotated[int, typer.Option(min=2, help="Bootstrap samples for --compare.")] = 1000,
    fail_under: Annotated[
        float | None, typer.Option(help="Exit with status 1 if the mean AP is lower.")
    ] = None,
    settings: DetectConfig,
    protocol: Annotated[
        Literal["py-faster-rcnn", "fast-rcnn", "both"],
        typer.Option(
            help="Which boxes are evaluated: those above a score, at most --top in an image "
            "(py-faster-rcnn); or those of the paper's code, 40 of a class for each image, chosen "
            "over all images (fast-rcnn); or both, with the two means side by side."
        ),
    ] = "py-faster-rcnn",
    proposals: Method = "fast",
    batch: Annotated[
        int, typer.Option(min=1, help="Images in a pass, if of one size; more are faster on a GPU.")
    ] = 1,
    tile: Tile = None,
    device: Device = "auto",
    jobs: Jobs = None,
    json: Json = False,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Measure the average precision of a detector.

    The rules are those of VOC or COCO. Detections are saved image by image, so an evaluation that
    was stopped continues, and one that was finished needs no detection; --from takes those of
    another program.

    Example: frcnn eval voc2007 --split test --report out
    """
    from ..checkpoints.weights import read_header as read_weights_header
    from ..evaluation.coco import require_pycocotools
    from ..evaluation.dataset_reference import find_reference
    from ..evaluation.metrics import usual_metric
    from ..evaluation.protocol import candidates_only

    check(settings)
    files = list(compare) if compare is not None else [detections] if detections else []
    check_options(
        ctx, files, detections=detections, metric=metric, weights=weights, save=save, report=report,
        tile=tile, protocol=protocol, settings=settings, fail_under=fail_under,
    )  # fmt: skip
    if report is not None:
        _check_report(report, overwrite)
    weights_file = None if files else choose_weights(weights, quiet)
    of_run = RunData()
    if weights_file is not None and dataset is None and data is None:
        of_run = _data_of_run(weights_file, quiet)
        dataset, data = of_run.name, of_run.folder
    header = None if weights_file is None else read_weights_header(weights_file)
    share = header.val_share if val_share is None and header is not None else val_share
    reference = find_reference(files, dataset, data, split, share, of_run.renamed)
    whole = reference.open(stderr.print)
    if not quiet:
        tell_unused_share(val_share, [whole])
    metric = metric or usual_metric(whole.name, comparing=compare is not None)
    if metric == "coco":
        require_pycocotools()  # now rather than after hours
    whole = whole.renamed(parse_map(renamed or reference.renamed, whole.classes))
    if skip_damaged:  # before --limit, which counts the images that are left
        whole = check_images(whole, quiet=quiet, skip_damaged=True)
    else:
        check_images(whole.limited(limit), quiet=quiet, need_pixels=not files)
    if compare is not None:
        sets = [_from_file(path, whole, limit, classes, quiet) for path in compare]
        _compare(sets, compare, metric, resamples, json)
        return
    if weights_file is None:
        assert detections is not None
        detected = _from_file(detections, whole, limit, classes, quiet)
    else:

        def detect(settings: DetectConfig) -> DetectionSet:
            return _from_network(
                weights_file, settings, whole, limit, reference, classes=classes, save=save,
                proposals=proposals, device=device, workers=jobs, batch=batch, tile=tile,
                quiet=quiet,
            )  # fmt: skip

        detected = detect(candidates_only(settings) if protocol == "fast-rcnn" else settings)
        if protocol == "fast-rcnn":
            detected = detected.selected_over_images()
        detected = _of_classes(detected, classes)
    result = detected.evaluate(metric, score)
    # a calibration is for every class, and for the boxes that `frcnn detect` keeps
    is_whole = not classes and protocol != "fast-rcnn"
    answer = evaluation_json(result, detected, header if is_whole else None)
    if protocol == "both":
        original = detect(candidates_only(settings)).selected_over_images()
        other = _of_classes(original, classes).evaluate(metric, score)
        answer["protocols"] = {"py-faster-rcnn": result.mean_ap, "fast-rcnn": other.mean_ap}
    if report is not None:
        speed = answer.get("images_per_second")
        page = _write_report(report, detected, result, weights_file, speed, quiet)
        answer["report"] = str(page)
    if json:
        print(dumps(answer))
    else:
        show_evaluation(result, answer)
        if report is None and weights_file is not None and not quiet:
            stderr.print("next: --report FOLDER shows what is found wrongly, and where")
    if fail_under is not None:
        _check_mean_ap(result.mean_ap, fail_under)


def _check_report(folder: Path, overwrite: bool) -> None:
    """Check that the files of --report can be written, before the work whose result they show."""
    from ..evaluation.report.report import REPORT_FILES

    for name in REPORT_FILES:
        check_absent(folder / name, overwrite, "--report")
        check_writable(folder / name)


def _data_of_run(weights: Path, quiet: bool) -> RunData:
    """The data set that the run of these weights was trained on, which is told."""
    of_run = data_of_run(weights)
    if of_run.name is not None and not quiet:
        where = f" in {of_run.folder}" if of_run.folder else ""
        names = "".join(f" --map {each}" for each in of_run.renamed)
        stderr.print(f"data: {of_run.name}{where}{names}, of that run")
    return of_run


def _check_mean_ap(mean_ap: float, least: float) -> None:
    """Raise an error for a mean AP that is lower; without objects it is none at all."""
    if not mean_ap >= least:
        shown = "–, without objects," if isnan(mean_ap) else f"{mean_ap:.4f}"
        raise FrcnnError(
            f"the mean AP {shown} is below --fail-under {least:g}", "the results are on stdout"
        )


def _write_report(
    folder: Path,
    detected: DetectionSet,
    result: Evaluation,
    weights: Path | None,
    images_per_second: float | None,
    quiet: bool,
) -> Path:
    """Write the report, showing the progress; returns its page."""
    from ..evaluation.report.report import write_report
    from ..training.metrics import read_class_rows

    with ProgressLine("writing the report", len(detected.dataset), "images", quiet) as progress:
        return write_report(
            folder,
            detected.dataset,
            result,
            title=detected.title,
            proposals=detected.proposals,
            images_per_second=images_per_second,
            validations=[] if weights is None else read_class_rows(weights.parent),
            on_image=progress.advance,
        )


def _from_file(
    path: Path, whole: Dataset, limit: int | None, classes: Sequence[str] | None, quiet: bool
) -> DetectionSet:
    """Read the detections in a file, and print the classes that only it or the data set has."""
    from ..evaluation.detection_log import read_header
    from ..evaluation.detection_set import load_detection_set

    header = None if path.is_dir() else read_header(path)
    if header is not None and not quiet:
        _show_unmatched_classes(whole, header.classes, str(header.source.get("weights")))
    on_message = (lambda message: None) if quiet else stderr.print
    return _of_classes(load_detection_set(path, whole, limit, on_message), classes)


def _of_classes(detected: DetectionSet, classes: Sequence[str] | None) -> DetectionSet:
    """The detections of the classes that --classes names."""
    return detected.select_classes(class_names(classes, detected.dataset.classes))


def _from_network(
    weights: Path,
    settings: DetectConfig,
    whole: Dataset,
    limit: int | None,
    reference: DatasetReference,
    *,
    classes: Sequence[str] | None,
    save: Path | None,
    proposals: str,
    device: str,
    workers: int | None,
    batch: int,
    tile: int | None,
    quiet: bool,
) -> DetectionSet:
    """Detect in the data set, showing the progress; if interrupted, print how to continue."""
    from ..evaluation.detect_dataset import known_detections, open_log, training_overlap
    from ..evaluation.detection_set import class_labels, detect_set
    from ..inference.detector import Detector
    from ..runtime.device import keep_freed_memory

    keep_freed_memory()
    detector = Detector.load(weights, open_proposals(quiet, proposals), settings, device)
    class_labels(class_names(classes, detector.classes), detector.classes)  # may be unknown
    images = whole.limited(limit)
    if not quiet:
        _show_unmatched_classes(whole, detector.classes, weights.stem)
        overlap = training_overlap(detector.header, images)
        if overlap is not None:
            stderr.print(f"these weights were trained on {overlap}")
    with open_log(detector, weights, images, reference, save, tile) as log:
        known = len(known_detections(log, images))
        if known and not quiet:
            stderr.print(f"{known} of {len(images)} images are in {log.path} already")
        with ProgressLine("detecting", len(images) - known, "images", quiet) as progress:
            try:
                return detect_set(
                    detector,
                    images,
                    weights=weights,
                    log=log,
                    workers=workers,
                    batch=batch,
                    tile=tile,
                    on_image=progress.advance,
                )
            except KeyboardInterrupt:
                done = known + progress.done
                say_error(
                    f"stopped: {done} of {len(images)} images are in {log.path}",
                    "the same command continues from there",
                )
                raise typer.Exit(130) from None


def _show_unmatched_classes(whole: Dataset, classes: Sequence[str], owner: str) -> None:
    from ..data.dataset import match_classes

    match = match_classes(whole.classes, classes)
    for name, other in match.synonyms.items():
        stderr.print(f"class {name} of {whole.name} is taken for {other} of {owner}")
    if match.unmatched or match.unmatched_others:
        stderr.print(class_table(match.unmatched_others, match.unmatched, owner, whole.name))


def _compare(
    sets: Sequence[DetectionSet],
    files: tuple[Path, Path],
    metric: Metric,
    resamples: int,
    json: bool,
) -> None:
    """Compare two sets of detections of the same images, and print their differences."""
    from ..evaluation.detection_set import compare_detection_sets
    from ..evaluation.metrics import METRICS

    assert metric != "coco"
    result = compare_detection_sets(sets[0], sets[1], metric, resamples)
    names, images = sets[0].dataset.classes, len(sets[0].dataset)
    if json:
        answer = {
            "a": str(files[0]),
            "b": str(files[1]),
            "classes": comparison_json(names, result),
            "images": images,
            "resamples": resamples,
            "metric": METRICS[metric],
        }
        print(dumps(answer))
        return
    show_comparison(
        names,
        result,
        f"A {files[0]}, B {files[1]}; {METRICS[metric]}; {images} images, "
        f"drawn {resamples} times with replacement",
    )
