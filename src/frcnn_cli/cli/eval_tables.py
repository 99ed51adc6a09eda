"""The tables and JSON that `frcnn eval` prints."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from ..runtime.paths import WEIGHTS_SUFFIX
from .console import stdout

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..checkpoints.weights import WeightsHeader
    from ..evaluation.compare import Comparison
    from ..evaluation.detection_set import DetectionSet
    from ..evaluation.metrics import Evaluation

_FAR_FROM_PROBABILITIES = 0.05  # expected calibration error


def evaluation_json(
    result: Evaluation, detected: DetectionSet, header: WeightsHeader | None
) -> dict[str, Any]:
    """The JSON object that --json prints, with keys in this order.

    Args:
        header: of the weights that made the detections; None where these are those of a file, or
            not all that the weights detect, so that no calibration is fitted to them.
    """
    from ..evaluation.metrics import METRICS
    from ..evaluation.reliability import fit_calibration, reliability

    names, dataset = result.classes, detected.dataset
    answer: dict[str, Any] = {
        "map": _json_number(result.mean_ap),
        "ap": _by_class(names, result.ap),
        "images": len(dataset),
        "objects": int(result.object_counts.sum()),
        "metric": METRICS[result.metric],
        "dataset": dataset.name,
        "split": dataset.split,
        "score": result.score,
        "recall": _by_class(names, result.recall),
        "precision": _by_class(names, result.precision),
        "calibration_error": _json_number(reliability(result.matched).error),
        "seconds": round(detected.seconds, 1),
        "detections": str(detected.file),
    }
    if detected.weights is not None:
        answer["weights"] = detected.weights
    fitted = None if header is None else fit_calibration(result.matched)
    if header is not None and fitted is not None:
        whole = fitted.after(header.calibration)
        if whole.is_valid:
            answer["calibration"] = {
                "slope": round(whole.slope, 4),
                "offset": round(whole.offset, 4),
                "error": _json_number(reliability(result.matched, calibration=fitted).error),
            }
    if result.coco_metrics:
        answer["coco"] = {key: _json_number(value) for key, value in result.coco_metrics.items()}
    if detected.full_images:
        answer["full_images"] = detected.full_images
    if detected.new_images:
        answer["images_per_second"] = round(detected.new_images / detected.seconds, 2)
    return answer


def _json_number(value: float) -> float | None:
    """The rounded number; None for NaN, which JSON lacks."""
    return None if math.isnan(value) else round(float(value), 6)


def _by_class(names: Sequence[str], values: Iterable[float]) -> dict[str, float | None]:
    return {name: _json_number(value) for name, value in zip(names, values, strict=True)}


def class_table(
    only_weights: tuple[str, ...], only_data: tuple[str, ...], weights: str, data: str
) -> Table:
    """A table of the classes that only the weights or only the data set have."""
    table = Table(f"only in {weights}: without objects", f"only in {data}: left out")
    for index in range(max(len(only_weights), len(only_data))):
        table.add_row(
            *(names[index] if index < len(names) else "" for names in (only_weights, only_data))
        )
    return table


def _fraction(value: float, digits: int = 3) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def _table(*columns: str) -> Table:
    table = Table(*columns)
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def show_evaluation(result: Evaluation, answer: dict[str, Any]) -> None:
    """Print a row for each class, the mean, and the rules by which they were computed.

    Args:
        answer: from `evaluation_json`.
    """
    table = _table("class", "AP", "objects", "recall", "precision")
    columns = (result.ap, result.object_counts, result.recall, result.precision)
    for name, ap, objects, recall, precision in zip(result.classes, *columns, strict=True):
        shown = "no objects" if math.isnan(ap) else f"{ap:.3f}"
        table.add_row(name, shown, str(objects), _fraction(recall), _fraction(precision))
    table.add_section()
    table.add_row("mean", _fraction(result.mean_ap, 4), str(answer["objects"]), style="bold")
    stdout.print(table)
    if result.coco_metrics:
        figures = (f"{name} {_fraction(value)}" for name, value in result.coco_metrics.items())
        stdout.print("   ".join(figures), soft_wrap=True)
    pace = f"; {answer['images_per_second']} images/s" if "images_per_second" in answer else ""
    stdout.print(
        f"{answer['metric']}; {answer['images']} images of {answer['dataset']} {answer['split']}, "
        f"{answer['objects']} objects (difficult ones are ignored, duplicates count as false); "
        f"recall and precision from score {result.score:g} on{pace}",
        soft_wrap=True,
    )
    if "full_images" in answer:
        stdout.print(
            f"{answer['full_images']} of {answer['images']} images have as many detections as "
            "--top allows, and many objects: with a larger --top more may be found",
            soft_wrap=True,
        )
    if "calibration" in answer:
        _show_calibration(answer)
    if "protocols" in answer:
        means = (f"{name} {_fraction(value, 4)}" for name, value in answer["protocols"].items())
        stdout.print(f"mean by protocol: {', '.join(means)}", soft_wrap=True)
    if "detections" in answer:
        stdout.print(f"detections: {answer['detections']}", soft_wrap=True)
    if "report" in answer:
        stdout.print(f"report: {answer['report']}", soft_wrap=True)


def _show_calibration(answer: dict[str, Any]) -> None:
    """Say how to make the scores probabilities, if they are far from that."""
    error, fitted = answer["calibration_error"], answer["calibration"]
    if error > _FAR_FROM_PROBABILITIES and fitted["error"] < error / 2:
        weights = Path(answer["weights"])
        calibrated = f"{weights.stem}-calibrated{WEIGHTS_SUFFIX}"
        stdout.print(
            f"a score is on average {error:.2f} away from the share of its detections that are "
            f"right (expected calibration error); {fitted['error']:.2f} with the weights that this "
            "command writes:",
            soft_wrap=True,
        )
        stdout.print(
            f"  frcnn weights export {shlex.quote(str(weights))} "
            f"--calibration {fitted['slope']},{fitted['offset']} --out {shlex.quote(calibrated)}",
            soft_wrap=True,
        )


def comparison_json(names: Sequence[str], result: Comparison) -> list[dict[str, Any]]:
    """The rows that --compare --json prints: one for each class, the mean last."""
    columns = (result.a, result.b, result.difference, result.low, result.high)
    return [
        {
            "class": name,
            **dict(
                zip(("a", "b", "difference", "low", "high"), map(_json_number, row), strict=True)
            ),
            "certain": bool(certain),
        }
        for name, *row, certain in zip(
            [*names, "mean"], *columns, result.certain.tolist(), strict=True
        )
    ]


def show_comparison(names: Sequence[str], result: Comparison, rules: str) -> None:
    """Print a row for each class and the mean, with whether the difference may be chance.

    Args:
        names: of the classes. rules: a line on how the comparison was made.
    """
    table = _table("class", "A", "B", "B - A", "95 % interval", "")
    columns = (result.a, result.b, result.difference, result.low, result.high)
    rows = zip([*names, "mean"], *columns, result.certain.tolist(), strict=True)
    for name, a, b, difference, low, high, certain in rows:
        if name == "mean":
            table.add_section()
        verdict = "may be chance"
        if certain:
            verdict = "B is better" if difference > 0 else "A is better"
        elif math.isnan(difference):
            verdict = "no objects"
        signed = ("–" if math.isnan(v) else f"{v:+.3f}" for v in (difference, low, high))
        middle, *ends = signed
        table.add_row(name, _fraction(a), _fraction(b), middle, " … ".join(ends), verdict)
    stdout.print(table)
    stdout.print(rules, soft_wrap=True)
