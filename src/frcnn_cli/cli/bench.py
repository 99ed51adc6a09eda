"""The command `frcnn bench`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..config import BenchConfig
from ..runtime.files import check_absent, check_writable, write_text
from ..runtime.paths import find_weights, proposals_dir
from .config_options import FromConfig, options_of
from .console import dumps, progress_lines, stderr, stdout
from .options import (
    Config,
    Data,
    Json,
    Limit,
    Overwrite,
    Quiet,
    Split,
    on_command_line,
    open_named,
    refuse,
)
from .options import proposal_source as open_proposals

if TYPE_CHECKING:
    from ..bench.bench import Bench
    from ..bench.quality import Quality


@options_of(settings=FromConfig(BenchConfig))
def bench(
    ctx: typer.Context,
    *,
    settings: BenchConfig,
    svg: Annotated[
        Path | None, typer.Option(help="Write a chart of the shares of the stages (Figure 2).")
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            "--weights",
            "-w",
            help="Trained weights, whose mAP is measured too; may be given several times.",
        ),
    ] = None,
    dataset: Annotated[str, typer.Option(help="Data set for --weights.")] = "voc2007",
    split: Split = None,
    data: Data = None,
    limit: Limit = None,
    overwrite: Overwrite = False,
    json: Json = False,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Time R-CNN, SPPnet and Fast R-CNN side by side.

    Photographs, proposals and backbone are the same. No data set is needed; the weights are
    random, and the time does not depend on them. Beside each speed-up over R-CNN stand the paper's
    (Table 4) and the ratio of floating-point operations, which it would be at equal operations a
    second. Times with ≈ are extrapolated: R-CNN's from some regions of an image. Trained weights of
    the three detectors can be compared beside them.

    Example: frcnn bench --backbone alexnet --images 1
    """
    from ..bench.bench import bench as run
    from ..bench.chart import stage_chart
    from ..bench.quality import measure_quality

    if not weights:
        refuse("for --weights", **on_command_line(ctx, "dataset", "split", "data", "limit"))
    if svg is not None:
        check_absent(svg, overwrite, "--svg")
        check_writable(svg)
    files = [find_weights(name) for name in weights or ()]
    images = (
        open_named(dataset, data, split, ("val", "test"), limit, quiet=quiet) if files else None
    )
    result = run(settings, proposals_dir(), progress_lines(quiet))
    qualities = []
    if images is not None:
        source = open_proposals(quiet)
        qualities = measure_quality(files, images, source, settings.device, progress_lines(quiet))
    if svg is not None:
        write_text(svg, stage_chart(result))
    if json:
        print(dumps({**result.as_json(), "weights": [asdict(each) for each in qualities]}))
        return
    _show(result)
    if images is not None:
        _show_quality(qualities, f"{len(images)} images of {images.name} {images.split}")
    if svg is not None and not quiet:
        stderr.print(f"chart: {svg}")


def _show_quality(qualities: list[Quality], images: str) -> None:
    from rich.table import Table

    table = Table("trained weights", "detector", "backbone", "mAP", "s/image")
    for each in qualities:
        table.add_row(
            each.weights,
            each.detector,
            each.backbone,
            f"{100 * each.mean_ap:.1f}",
            f"{each.seconds:.3g}",
        )
    stdout.print(table)
    stdout.print(f"{images}; with reading them", soft_wrap=True)


def _show(result: Bench) -> None:
    from rich.table import Table

    from ..bench.methods import LEVERS, METHODS
    from ..bench.training import WAYS

    table = Table("", "s/image", "speed-up", "paper", "FLOP ratio")
    for name, time in result.detection.items():
        paper = result.paper(name)
        table.add_row(
            METHODS[name].title,
            f"{'≈ ' if time.extrapolated else ''}{time.seconds:.3g}",
            f"{result.speedup(name):.1f}×",
            "" if paper is None else f"{paper:g}×",
            f"{result.flop_ratio(name):.1f}×",
        )
    for column in table.columns[1:]:
        column.justify = "right"
    stdout.print(table)
    levers = ", ".join(f"{name} {result.lever(name):.1f}×" for name in LEVERS)
    stdout.print(f"each step: {levers}", soft_wrap=True)
    if result.training:
        table = Table("training, a batch of 128 RoIs", "s", "speed-up")
        for name, each in result.training.items():
            about = "≈ " if each.extrapolated else ""
            table.add_row(
                WAYS[name].title,
                f"{about}{each.seconds:.3g}",
                f"{result.training_speedup(name):.1f}×",
            )
        stdout.print(table)
    config = result.config
    stdout.print(
        f"{config.backbone} in {config.precision} on {result.device}; auto is "
        f"{result.auto_precision}; {len(result.images)} images, {result.proposals:.0f} proposals "
        "each; the fastest pass over an image, the median over images",
        soft_wrap=True,
    )
