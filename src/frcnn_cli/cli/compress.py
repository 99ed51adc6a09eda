"""frcnn compress"""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..config import COMPRESSION_RANK, FINETUNE_LR, RECIPES, DetectConfig, TrainConfig, compression
from ..data.registry import SPECS, absolute, has_years, names_dataset
from ..errors import ConfigError
from ..runtime.paths import WEIGHTS_SUFFIX, data_dir, find_weights
from .compress_tables import show_costs, show_points, show_report
from .console import ProgressLine, stderr, stdout
from .options import (
    Config,
    Data,
    Device,
    Jobs,
    Json,
    Limit,
    Quiet,
    Split,
    Weights,
    image_files,
    open_named,
    proposal_source,
)
from .train import RUNS
from .training import train_to_the_end

if TYPE_CHECKING:
    from ..checkpoints.weights import WeightsHeader
    from ..compression.calibration import Calibration
    from ..compression.compressor import Compressor, Method
    from ..compression.curve import Point
    from ..compression.ranks import Ranks
    from ..data.dataset import Dataset
    from ..inference.detector import Detector
    from ..models.region_network import RegionNetwork


def compress(
    weights: Weights,
    rank: Annotated[
        str | None,
        typer.Option(
            help=f"Singular values kept: 128, or fc6=1024,fc7=256 [default: {COMPRESSION_RANK}].",
            show_default=False,
        ),
    ] = None,
    energy: Annotated[
        float | None, typer.Option(help="Share of each layer's energy to keep, 0 to 1.")
    ] = None,
    params: Annotated[
        float | None,
        typer.Option(
            help="Share of the weights to keep, 0 to 1, ranks shared out over the layers."
        ),
    ] = None,
    speedup: Annotated[
        float | None, typer.Option(help="How many times faster the layers become, as measured.")
    ] = None,
    map_drop: Annotated[
        float | None,
        typer.Option(help="The smallest within this loss, in points of mAP, on --curve's data."),
    ] = None,
    calibrate: Annotated[
        str | None,
        typer.Option(
            help="Data set or photographs by which to keep what real inputs use; none: plain SVD "
            "[default: the weights' own data set, when --data or FRCNN_DATA is given].",
            show_default=False,
        ),
    ] = None,
    images: Annotated[int, typer.Option(min=2, help="Images to calibrate with.")] = 200,
    curve: Annotated[
        str | None,
        typer.Option(help="Data set on which to measure mAP against rank: CSV and picture."),
    ] = None,
    finetune: Annotated[
        int | None,
        typer.Option(min=1, help="Iterations to train the result further, on --calibrate's data."),
    ] = None,
    keep_full: Annotated[
        bool,
        typer.Option(
            "--keep-full",
            help="Keep the full layers too: detection scores with them what the small ones find.",
        ),
    ] = False,
    data: Data = None,
    split: Split = None,
    limit: Limit = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="File to write [default: WEIGHTS-rRANK or WEIGHTS-small.safetensors].",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Show everything, write nothing.")] = False,
    device: Device = "auto",
    jobs: Jobs = None,
    json: Json = False,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Make a network smaller and faster: its fully connected layers at low rank.

    The result is in half precision and is used like any other weights file. With calibration
    images it keeps what the layers put out on them instead of their weights, and is then trained
    to answer as the whole network does. --split and --limit are of the curve's data.

    Example: frcnn compress --weights runs/train/run/last.safetensors --rank 256
    """
    settings = compression(rank, energy, params, speedup, map_drop)
    if map_drop is not None and curve is None:
        raise ConfigError("--map-drop needs a data set to measure on", "add --curve voc2007")
    if curve is None and (split is not None or limit is not None):
        raise ConfigError("--split and --limit are of the curve's data", "add --curve voc2007")
    if finetune is not None and (calibrate is None or not names_dataset(calibrate) or dry_run):
        raise ConfigError(
            "--finetune needs a data set to train on, and weights to write",
            f"add --calibrate with one of: {', '.join(SPECS)}; leave out --dry-run",
        )
    if finetune is not None and keep_full:
        raise ConfigError(
            "--finetune and --keep-full exclude each other",
            "the small layers would no longer stand in for the full ones",
        )
    source = find_weights(weights)
    ending = "small" if settings is None or settings.rank is None else f"r{settings.rank}"
    target = out or source.with_name(f"{source.stem}-{ending}{WEIGHTS_SUFFIX}")
    if target.resolve() == source.resolve():
        raise ConfigError(f"{target} holds the full weights", "choose another --out")
    if target.suffix != WEIGHTS_SUFFIX or target.is_dir():
        raise ConfigError(f"{target} is no name for weights", f"end it in {WEIGHTS_SUFFIX}")
    workers = jobs or os.cpu_count() or 1
    from ..checkpoints.weights import load_weights, save_weights
    from ..compression.compressor import Compressor, check, with_costs
    from ..compression.cost import measure, measure_model
    from ..compression.curve import smallest_within, write_curve
    from ..inference.detector import Detector
    from ..runtime.device import keep_freed_memory

    keep_freed_memory()
    model, header = load_weights(source)
    check(model, header, settings)
    judged = None
    if curve is not None:
        judged = open_named(curve, data, split, ("val", "test"), limit)
        judged = judged.with_classes(header.classes)
        judged.require_objects()
    detector = Detector(model, header, proposal_source(quiet), DetectConfig(), device)
    seen = calibrate or _own_data(header, curve, data)
    folder = _folder(seen, curve, data)
    calibration = None
    if seen != "none":
        calibration = _calibrate(detector, seen, folder, images, workers, quiet)
    compressor = Compressor(model, header, calibration)
    ranks = None if settings is None else compressor.choose(settings)
    method: Method | None = None
    points: list[Point] = []
    if judged is not None:
        points = _measure_curve(detector, compressor, ranks, judged, workers, quiet)
    if ranks is None:
        assert map_drop is not None
        point = smallest_within(points, map_drop)
        method, ranks = point.method, point.ranks
    _distil(compressor, [ranks], quiet)
    report = compressor.report(ranks, method)
    if points and not dry_run:
        for path in write_curve(target, points, report.method, ranks):
            stderr.print(f"curve: {path}")
    header = compressor.apply(report, keep_full)
    if finetune is not None:
        model, header = _finetune(
            detector, header, seen, folder, finetune, target.stem, device, workers, quiet
        )
    if not dry_run:
        save_weights(target, model, header, half=True)  # kept if what follows fails
    before = measure(source, device)
    after = measure_model(model, header, device) if dry_run else measure(target, device)
    if not dry_run:
        save_weights(target, model, with_costs(header, before, after), half=True)
    if json:
        answer = {
            "out": None if dry_run else str(target),
            **asdict(report),
            "finetuned": finetune or 0,
            "before": asdict(before),
            "after": asdict(after),
            "curve": [asdict(point) for point in points],
        }
        print(dumps(answer))
        return
    if not quiet:
        if points:
            show_points(points)
        show_report(report, keep_full, finetune)
        show_costs(before, after)
    stdout.print("nothing written (--dry-run)" if dry_run else str(target), soft_wrap=True)


def _own_data(header: WeightsHeader, curve: str | None, data: Path | None) -> str:
    """The data set to calibrate on where none is named, if it is at hand; else "none"."""
    trained_on = str(header.provenance.get("data", "")).partition(" ")[0]
    if has_years(trained_on) and data_dir(_folder(trained_on, curve, data)) is not None:
        return trained_on
    return "none" if _folder("voc", curve, data) is None else "voc"


def _folder(name: str, curve: str | None, data: Path | None) -> Path | None:
    """--data, unless it is the folder of the curve's data set and not of this one."""

    def kind(name: str) -> str:
        return "years" if has_years(name) else name.partition(":")[0]

    return data if curve is None or kind(name) == kind(curve) else None


def _calibrate(
    detector: Detector,
    name: str,
    data: Path | None,
    count: int,
    workers: int,
    quiet: bool,
) -> Calibration:
    """Moments of the layers on images of a data set or on photographs."""
    from ..compression.calibration import calibrate

    if names_dataset(name):
        dataset = open_named(name, data, None, ("train", "trainval"), None)
        paths, source = list(dataset.paths), f"{dataset.name} {dataset.split}"
    else:
        paths, source = image_files([name]), name
    paths = [paths[len(paths) * i // count] for i in range(count)] if len(paths) > count else paths
    with ProgressLine("calibrating", len(paths), "images", quiet) as progress:
        return calibrate(detector, paths, source, workers, progress.advance)


def _finetune(
    detector: Detector,
    header: WeightsHeader,
    name: str,
    data: Path | None,
    iterations: int,
    run_name: str,
    device: str,
    workers: int,
    quiet: bool,
) -> tuple[RegionNetwork, WeightsHeader]:
    """Train the compressed network of `detector` with the usual engine, in a run folder."""
    from ..checkpoints.weights import load_weights
    from ..training import runs
    from ..training.setup import Initialisation, prepare
    from ..training.trainer import WEIGHTS_FILE, Runtime

    dataset = open_named(name, data, None, ("train", "trainval"), None)
    settings = replace(
        RECIPES["modern"],
        backbone=header.backbone,
        iterations=iterations,
        lr=FINETUNE_LR,
        dropout=TrainConfig.dropout,  # with which it was measured: docs/compression.md
        scales=(header.scale,),
        max_size=header.max_size,
    )
    origin = Initialisation(detector=(detector.network, header))
    with ProgressLine("looking at the images", len(dataset), "images", quiet) as progress:
        trainer = prepare(
            dataset.with_classes(header.classes),
            detector.proposals,
            settings,
            origin,
            Runtime(device),
            workers,
            progress.advance,
        )
    trainer.run = runs.create(RUNS, run_name)
    described = {
        "dataset": absolute(name),
        "data": data and data.resolve(),
        "split": dataset.split,
        "recipe": "modern",
        "backbone": settings.backbone,
        "iterations": iterations,
        "lr": settings.lr,
        "dropout": settings.dropout,
        "scales": f"{header.scale}",
        "max_size": settings.max_size,
    }
    runs.describe(trainer.run, described)
    train_to_the_end(trainer, quiet)
    return load_weights(trainer.run / WEIGHTS_FILE)


def _distil(compressor: Compressor, choices: list[Ranks], quiet: bool) -> None:
    """The heads of these ranks, if they are to be distilled: here, where progress is shown."""
    from ..compression.distillation import STEPS

    if compressor.calibration is None:
        return
    with ProgressLine("distilling", STEPS * len(choices), "steps", quiet) as progress:
        for ranks in choices:
            compressor.head("aware", ranks, progress.advance)


def _measure_curve(
    detector: Detector,
    compressor: Compressor,
    ranks: Ranks | None,
    dataset: Dataset,
    workers: int,
    quiet: bool,
) -> list[Point]:
    from ..compression.curve import candidates, measure_curve

    ladder = candidates(compressor, ranks)
    _distil(compressor, [each.ranks for each in ladder if each.method == "aware"], quiet)
    with ProgressLine(f"{len(ladder)} candidates", len(dataset), "images", quiet) as progress:
        return measure_curve(detector, compressor, ladder, dataset, workers, progress.advance)
