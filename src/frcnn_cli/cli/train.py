"""frcnn train"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import replace
from json import dumps
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..config import RECIPES, TrainConfig, check
from ..config import recipe as recipe_settings
from ..data.datasets import HELP, absolute
from ..errors import ConfigError
from .console import ProgressLine, say_error, stderr
from .options import (
    Config,
    Data,
    Device,
    Jobs,
    Json,
    Limit,
    Method,
    Quiet,
    Split,
    load_config,
    open_named,
    proposal_source,
)

if TYPE_CHECKING:
    from ..engine.train import Step, Trainer

RUNS = Path("runs/train")
PAPER = TrainConfig()


def _setting(text: str) -> object:
    """An option whose default the recipe decides."""
    return typer.Option(help=f"{text} [default: the recipe's].", show_default=False)


def _load_run(ctx: typer.Context, folder: Path | None) -> Path | None:
    """Take the settings of the run that is resumed."""
    if folder is not None:
        settings = folder / "config.toml"
        if not settings.is_file():
            raise ConfigError(f"no run in {folder}", f"expected a folder such as {RUNS}/run")
        load_config(ctx, settings)
    return folder


def train(
    dataset: Annotated[str, typer.Argument(help=HELP)] = "voc",
    data: Data = None,
    split: Split = None,
    limit: Limit = None,
    backbone: Annotated[str, typer.Option(help="The convolutional network.")] = PAPER.backbone,
    init: Annotated[
        Path | None,
        typer.Option(
            help="ImageNet weights (.pth, .safetensors) [default: torchvision's, downloaded]."
        ),
    ] = None,
    pixels: Annotated[
        Literal["caffe", "torchvision"] | None,
        typer.Option(
            help="Input that --init expects: RGB 0..255 minus Caffe's means, or torchvision's mean "
            "and deviation [default: caffe].",
            show_default=False,
        ),
    ] = None,
    recipe: Annotated[str, typer.Option(help=f"{', '.join(RECIPES)}.")] = "paper",
    iterations: Annotated[int | None, _setting("Batches to train")] = None,
    images_per_batch: Annotated[int | None, _setting("Images in a batch")] = None,
    rois_per_batch: Annotated[int | None, _setting("RoIs in a batch, over its images")] = None,
    scale: Annotated[int | None, _setting("Shorter side, pixels")] = None,
    max_size: Annotated[int | None, _setting("Longer side at most, pixels")] = None,
    lr: Annotated[float | None, _setting("Learning rate")] = None,
    max_proposals: Annotated[int | None, _setting("Proposals an image")] = None,
    seed: Annotated[int | None, _setting("Seed of all that is random")] = None,
    name: Annotated[str, typer.Option(help=f"Folder in {RUNS}.")] = "run",
    resume: Annotated[
        Path | None,
        typer.Option(callback=_load_run, is_eager=True, help="Go on with the run in this folder."),
    ] = None,
    proposals: Method = "fast",
    device: Device = "auto",
    jobs: Jobs = None,
    json: Json = False,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Train the network on a data set; the defaults are the paper's.

    Writes runs/train/NAME: last.safetensors (the weights), metrics.csv, config.toml,
    environment.json and the state for --resume.

    Example: frcnn train --data BCCD --recipe modern --iterations 500
    """
    overrides: dict[str, Any] = {
        "iterations": iterations,
        "images_per_batch": images_per_batch,
        "rois_per_batch": rois_per_batch,
        "scale": scale,
        "max_size": max_size,
        "lr": lr,
        "max_proposals": max_proposals,
        "seed": seed,
    }
    given = {key: value for key, value in overrides.items() if value is not None}
    settings = replace(recipe_settings(recipe), backbone=backbone, **given)
    check(settings)
    images = open_named(dataset, data, split, ("trainval", "train"), limit)
    from ..engine import runs
    from ..engine.train import prepare, read_state

    state = None if resume is None else read_state(resume)
    source = proposal_source(quiet, proposals)
    workers = jobs or os.cpu_count() or 1
    with ProgressLine("looking at the images", len(images), "images", quiet) as progress:
        trainer, facts = prepare(
            images, source, settings, init, pixels, state, None, device, workers, progress.advance
        )
    if not quiet:
        for line in facts:
            stderr.print(line)
    if resume is None:
        trainer.run = runs.create(RUNS, name)
        runs.describe(
            trainer.run,
            {
                "dataset": absolute(dataset),
                "data": data and data.resolve(),
                "split": split,
                "limit": limit,
                "init": init and init.resolve(),
                "pixels": pixels,
                "recipe": recipe,
                "backbone": backbone,
                "proposals": proposals,
                **{key: getattr(settings, key) for key in overrides},
            },
        )
    else:
        trainer.run = resume
    step = train_to_the_end(trainer, quiet)
    weights = trainer.run / "last.safetensors"
    if json:
        print(dumps({"run": str(trainer.run), "weights": str(weights), **step}))
    else:
        stderr.print(f"weights: {weights}")


def train_to_the_end(trainer: Trainer, quiet: bool) -> dict[str, float]:
    """Train with progress; when stopped, say how to go on and exit with 130.

    Returns:
        The iterations and the averages of the last ones.
    """
    from ..engine.train import InterruptedRun

    recent: deque[Step] = deque(maxlen=100)
    left = trainer.config.iterations - trainer.iteration
    means: dict[str, float] = {}
    try:
        with ProgressLine("training", left, "it", quiet) as progress:
            for step in trainer.steps():
                recent.append(step)
                means = {
                    "cls": round(fmean(each.cls for each in recent), 4),
                    "loc": round(fmean(each.loc for each in recent), 4),
                }
                progress.advance(f"cls {means['cls']:.3f} loc {means['loc']:.3f} lr {step.lr:.1e}")
    except InterruptedRun:
        say_error(
            f"stopped after {trainer.iteration} of {trainer.config.iterations} iterations",
            f"go on with: frcnn train --resume {trainer.run}",
        )
        raise typer.Exit(130) from None
    return {"iterations": trainer.iteration, **means}
