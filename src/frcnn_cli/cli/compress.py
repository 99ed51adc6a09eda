"""The command `frcnn compress`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ..config import COMPRESSION_RANK, CompressConfig
from ..data.registry import DATASETS, names_dataset
from ..errors import ConfigError, WeightsError
from ..runtime.files import check_absent
from ..runtime.paths import RUNS, known_weights, last_run
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
    Overwrite,
    Quiet,
    SkipDamaged,
    Split,
    Weights,
    choose_weights,
    data_of_run,
    open_named,
    proposal_source,
)


@options_of(size=FromConfig(CompressConfig, only_given=True))
def compress(
    *,
    weights: Weights = None,
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
    """Make a network smaller and faster: replace its fully connected layers by low-rank ones.

    The result has the precision of the weights and is used like any other weights file. With
    calibration images, the low-rank layers approximate the outputs of the full layers on them
    rather than the weights, and are then trained to give the outputs of the full network. --split
    and --limit apply to the data set of --curve.

    Example: frcnn compress --weights last --rank 256
    """
    settings = CompressConfig.parse(rank, **size)
    is_default = weights is None and rank is None and not size
    if curve is None and (split is not None or limit is not None):
        raise ConfigError("--split and --limit apply to --curve", "add --curve voc2007")
    from ..checkpoints.weights import read_header
    from ..compression.compress import compress as run
    from ..compression.compress import default_target
    from ..compression.curve import curve_files
    from ..runtime.device import keep_freed_memory

    keep_freed_memory()
    source = _source(weights, quiet)
    if is_default and (ranks := read_header(source).ranks):
        of_rank = ", ".join(f"{name} of rank {rank}" for name, rank in ranks.items())
        stderr.print(f"nothing to do: these weights are small from the start ({of_rank})")
        stderr.print(f"next: frcnn detect PHOTO --weights {source}", soft_wrap=True)
        stdout.print(str(source), soft_wrap=True)
        return
    target = None if dry_run else out or default_target(source, settings)
    if target is not None:
        for file in (target, *(curve_files(target) if curve is not None else ())):
            check_absent(file, overwrite)
    measured_on = None
    if curve is not None:
        measured_on = open_named(
            curve,
            data,
            split,
            ("val", "test"),
            limit,
            part="val",
            val_share=read_header(source).val_share,
            quiet=quiet,
            skip_damaged=skip_damaged,
        )
    if calibrate is None and data is None:
        calibrate, data = _calibration_of_run(source, quiet)
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
        proposals=proposal_source(quiet),
        device=device,
        workers=jobs,
        progress=progress_lines(quiet),
        on_message=lambda message: stderr.print(message, soft_wrap=True),
    )
    if json:
        answer = {
            "out": None if target is None else str(target),
            **asdict(result.report),
            "finetuned": finetune or 0,
            "before": asdict(result.before),
            "after": asdict(result.after),
            "curve": [asdict(point) for point in result.curve],
        }
        print(dumps(answer))
        return
    if not quiet:
        if result.curve:
            show_points(result.curve)
        show_report(result.report, keep_full, finetune)
        show_costs(result.before, result.after)
    stdout.print("nothing written (--dry-run)" if target is None else str(target), soft_wrap=True)
    if target is not None and not quiet:
        stderr.print(f"next: frcnn detect PHOTO --weights {target}")


def _calibration_of_run(weights: Path, quiet: bool) -> tuple[str | None, Path | None]:
    """The data set and its folder to calibrate on: those of the run, if they are still there."""
    name, folder, _ = data_of_run(weights)
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
            f"name weights: --weights {' or '.join(known_weights())}",
        )
    return choose_weights(weights, quiet)
