"""frcnn compress"""

from __future__ import annotations

from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..config import CompressConfig
from ..errors import ConfigError
from ..paths import WEIGHTS_SUFFIX, find_weights
from .console import stdout
from .options import Config, Json, Quiet, Weights

if TYPE_CHECKING:
    from ..engine.compress import LayerReport

DEFAULTS = CompressConfig()


def compress(
    weights: Weights,
    rank: Annotated[
        int, typer.Option(min=1, help="Singular values kept in each layer.")
    ] = DEFAULTS.rank,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File to write [default: WEIGHTS-rRANK.safetensors]."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Make a network smaller and faster by truncated SVD of its fully connected layers.

    The result is in half precision and is used like any other weights file.

    Example: frcnn compress --weights runs/train/run/last.safetensors --rank 256
    """
    source = find_weights(weights)
    target = out or source.with_name(f"{source.stem}-r{rank}{WEIGHTS_SUFFIX}")
    if target.resolve() == source.resolve():
        raise ConfigError(f"{target} holds the full weights", "choose another --out")
    from ..engine.checkpoint import load_weights, save_weights
    from ..engine.compress import compress as compress_model

    model, header = load_weights(source)
    header, reports = compress_model(model, header, CompressConfig(rank))
    save_weights(target, model, header, half=True)
    before, after = source.stat().st_size, target.stat().st_size
    if json:
        layers = [asdict(report) for report in reports]
        print(dumps({"out": str(target), "bytes": [before, after], "layers": layers}))
        return
    if not quiet:
        for report in reports:
            stdout.print(_line(report, rank), soft_wrap=True)
    total = sum(report.before for report in reports) / sum(report.after for report in reports)
    stdout.print(
        f"{target}: {before / 1e6:.1f} -> {after / 1e6:.1f} MB, {total:.2f} times fewer weights in "
        "the fully connected layers",
        soft_wrap=True,
    )


def _line(report: LayerReport, rank: int) -> str:
    shape = f"{report.name} {report.shape[0]}×{report.shape[1]}"
    if report.rank is not None:
        return f"{shape}: rank {rank}, {report.before:,} -> {report.after:,} weights"
    if rank >= report.break_even:
        return (
            f"{shape}: left whole, rank {rank} is not below its break-even {report.break_even:.1f}"
        )
    return f"{shape}: left whole, an output layer"
