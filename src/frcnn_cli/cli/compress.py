"""The command `frcnn compress`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..config import COMPRESSION_RANK, CompressConfig
from ..data.registry import DATASETS, absolute_name, names_dataset, open_dataset
from ..errors import ConfigError, WeightsError
from ..runtime.files import check_absent
from ..runtime.paths import RUNS, last_run
from .compress_tables import show_costs, show_points, show_report
from .config_options import FromConfig, options_of
from .console import dumps, progress_lines, stderr, stdout
from .options import (
    Config,
    Data,
    Device,
    Jobs,
    Json,
    Limit,
    Map,
    Overwrite,
    Quiet,
    RunData,
    SkipDamaged,
    Split,
    choose_weights,
    data_of_run,
    on_command_line,
    open_named,
    parse_map,
    proposal_source,
    refuse,
)

if TYPE_CHECKING:
    from ..compression.compress import CompressResult


@options_of(size=FromConfig(CompressConfig, only_given=True))
def compress(
    ctx: typer.Context,
    *,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            "-w",
            help="Name or path of a weights file; last, best or the name of a run in "
            f"{RUNS} [default: the last run].",
            show_default=False,
        ),
    ] = None,
    rank: Annotated[
        str | None,
        typer.Option(
            help=f"Singular values kept: 128, or fc6=1024,fc7=256 [default: {COMPRESSION_RANK}].",
            show_default=False,
        ),
    ] = None,
    size: dict[str, Any],
    calibrate: Annotated[
        str | None,
        typer.Option(
            help="Data set or photographs on which the outputs of the layers are kept; none: SVD "
            "of the weights [default: the data of the run, else the weights' own data set with "
            "--data or FRCNN_DATA].",
            show_default=False,
        ),
    ] = None,
    images: Annotated[int, typer.Option(min=2, help="Images to calibrate with.")] = 200,
    curve: Annotated[
        str | None,
        typer.Option(help="Data set on which to measure mAP at several ranks: a CSV and an SVG."),
    ] = None,
    finetune: Annotated[
        int | None,
        typer.Option(min=1, help="Iterations to train the result further, on --calibrate's data."),
    ] = None,
    keep_full: Annotated[
        bool,
        typer.Option(
            "--keep-full",
            help="Keep the full layers too; they score the proposals that the small ones choose.",
        ),
    ] = False,
    data: Data = None,
    split: Split = None,
    limit: Limit = None,
    skip_damaged: SkipDamaged = False,
    renamed: Map = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="File to write [default: WEIGHTS-rRANK or WEIGHTS-small.safetensors].",
        ),
    ] = None,
    overwrite: Overwrite = False,
    dry_run: Annotated[bool, typer.Option(help="Compute and show, but write nothing.")] = False,
    device: Device = "auto",
    jobs: Jobs = None,
    json: Json = False,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Make a detector smaller and faster by layers of low rank.

    They replace its fully connected layers; the result is used like any other weights file. With
    calibration images, the low-rank layers approximate the outputs of the full layers on them
    rather than the weights, and are then trained to give the outputs of the full network. --split
    and --limit apply to the data set of --curve, --map to those of --curve and --finetune; without
    it, classes of the run's data are renamed as in the run.

    Example: frcnn compress --weights last --rank 256
    """
    settings = _compress_config(rank, size)
    chosen = (weights, rank, calibrate, curve, finetune, out)
    is_default = chosen == (None,) * 6 and not (size or keep_full)
    if curve is None:
        refuse(
            "for the data set of --curve",
            split=split,
            limit=limit,
            skip_damaged=skip_damaged or None,
        )
    if renamed and curve is None and finetune is None:
        raise ConfigError("--map is for --curve and --finetune", "leave it out, or add one")
    from ..checkpoints.weights import read_header
    from ..compression.calibration_data import NONE, folder_of
    from ..compression.compress import compress as run
    from ..compression.compress import default_target
    from ..compression.curve import curve_files
    from ..runtime.device import keep_freed_memory

    if calibrate == NONE:
        refuse("for a calibration", **on_command_line(ctx, "images"))
    keep_freed_memory()
    source = _source(weights, quiet)
    if is_default and (ranks := read_header(source).ranks):
        _say_small(source, ranks, json, quiet)
        return
    target = None if dry_run else out or default_target(source, settings)
    if target is not None:
        for file in (target, *(curve_files(target) if curve is not None else ())):
            check_absent(file, overwrite)
    of_run, share = data_of_run(source), read_header(source).val_share
    measured_on = None
    if curve is not None:
        measured_on = open_named(
            curve,
            data,
            split,
            ("val", "test"),
            limit,
            part="val",
            val_share=share,
            quiet=quiet,
            skip_damaged=skip_damaged,
            renamed=renamed or _renamed_in(of_run, curve, data),
        )
    if calibrate is None and data is None:
        calibrate, data = _calibration_of_run(of_run, quiet)
    names: dict[str, str] = {}
    if finetune and calibrate is not None:
        names = _new_names(renamed, of_run, calibrate, folder_of(calibrate, measured_on, data))
    result = run(
        source,
        settings,
        calibrate=calibrate or "auto",
        images=images,
        curve=measured_on,
        finetune=finetune or 0,
        keep_full=keep_full,
        out=target,
        data=data,
        renamed=names,
        proposals=proposal_source(quiet),
        device=device,
        workers=jobs,
        progress=progress_lines(quiet),
        on_message=lambda message: stderr.print(message, soft_wrap=True),
    )
    if json:
        print(dumps(_as_json(result, finetune)))
        return
    if not quiet:
        if result.curve:
            show_points(result.curve)
        show_report(result.report, keep_full, finetune)
        show_costs(result.before, result.after)
    stdout.print("nothing written (--dry-run)" if target is None else str(target), soft_wrap=True)
    if target is not None and not quiet:
        stderr.print(f"next: frcnn detect PHOTO --weights {target}")


def _as_json(result: CompressResult, finetune: int | None) -> dict[str, Any]:
    """The object that --json prints."""
    return {
        "out": None if result.path is None else str(result.path),
        **asdict(result.report),
        "finetuned": finetune or 0,
        "before": asdict(result.before),
        "after": asdict(result.after),
        "curve": [asdict(point) for point in result.curve],
    }


def _compress_config(rank: str | None, size: Mapping[str, float]) -> CompressConfig:
    """The settings for --rank and the other options of size.

    Args:
        rank: "256", or "fc6=1024,fc7=256". Without any option, COMPRESSION_RANK is meant.
        size: the other options that are given, by the name of their field.
    Raises:
        ConfigError: a value is not understood or out of range, or more than one is given.
    """
    if rank is None:
        return CompressConfig(**(size or {"rank": COMPRESSION_RANK}))  # type: ignore[arg-type]
    pairs = [[each.strip() for each in part.partition("=")] for part in rank.split(",")]
    numbers = [value if equals else name for name, equals, value in pairs]
    names = [name for name, equals, _ in pairs if equals and name]
    understood = all(number.isdecimal() and len(number) < 10 for number in numbers)
    if understood and numbers == [rank.strip()]:
        return CompressConfig(rank=int(rank), **size)  # type: ignore[arg-type]
    if not understood or len(set(names)) < len(pairs):
        raise ConfigError(f"--rank {rank} is not understood", "expected 256, or fc6=1024,fc7=256")
    ranks = dict(zip(names, map(int, numbers), strict=True))
    return CompressConfig(ranks=ranks, **size)  # type: ignore[arg-type]


def _say_small(weights: Path, ranks: Mapping[str, int], json: bool, quiet: bool) -> None:
    """Say that the weights of a run are small already, and print them as the result."""
    if not quiet:
        of_rank = ", ".join(f"{name} of rank {rank}" for name, rank in ranks.items())
        stderr.print(f"nothing to do: these weights are small from the start ({of_rank})")
        stderr.print(f"next: frcnn detect PHOTO --weights {weights}", soft_wrap=True)
    if json:
        print(dumps({"out": str(weights), "ranks": ranks}))
    else:
        stdout.print(str(weights), soft_wrap=True)


def _renamed_in(of_run: RunData, name: str, folder: Path | None) -> tuple[str, ...]:
    """The values of --map of the run, if this data set is the one that it was trained on."""
    same = (absolute_name(name), folder and folder.resolve()) == (of_run.name, of_run.folder)
    return of_run.renamed if same else ()


def _new_names(
    given: Sequence[str] | None, of_run: RunData, name: str, folder: Path | None
) -> dict[str, str]:
    """The new names of classes for a data set to train further on: of --map, else of the run."""
    texts = given or _renamed_in(of_run, name, folder)
    return parse_map(texts, open_dataset(name, folder, part="train").classes) if texts else {}


def _calibration_of_run(of_run: RunData, quiet: bool) -> tuple[str | None, Path | None]:
    """The data set and its folder to calibrate on: those of the run, if they are still there."""
    name, folder, _ = of_run
    is_there = name is not None and (
        folder.is_dir() if folder is not None else name not in DATASETS and names_dataset(name)
    )
    if name is None or not is_there:
        return None, None
    if not quiet:
        where = f" in {folder}" if folder is not None else ""
        stderr.print(
            f"calibrating on {name}{where}, the data of the run (--calibrate none: on none)"
        )
    return name, folder


def _source(weights: str | None, quiet: bool) -> Path:
    """The weights to compress: those of --weights, else of the last run."""
    if weights is None and last_run() is None:
        raise WeightsError(
            f"no run in {RUNS} to compress",
            "train one with frcnn train, or give --weights FILE; the included weights are small "
            "from the start",
        )
    return choose_weights(weights, quiet)
