"""frcnn train"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from ..config import RECIPES, TrainConfig, check
from ..config import recipe as recipe_settings
from ..data.registry import HELP, absolute
from ..errors import ConfigError
from ..runtime.paths import find_weights
from .console import ProgressLine, stderr
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
    numbers,
    open_named,
    proposal_source,
    whole_numbers,
)
from .training import make_judge, say_facts, train_to_the_end

if TYPE_CHECKING:
    from ..data.dataset import Dataset
    from ..training.setup import Initialisation

RUNS = Path("runs/train")
PAPER = TrainConfig()
LATEST = "latest"
MOST_WORKERS = 8  # processes that make batches; more keep no GPU busier


class TrainCommand(TyperCommand):
    """Lets --resume stand alone, which takes the last run."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give a lone --resume its value."""
        given = []
        for arg, behind in zip(args, [*args, "-"][1:], strict=True):
            given += [arg, LATEST] if arg == "--resume" and behind.startswith("-") else [arg]
        return super().parse_args(ctx, given)


def _setting(text: str) -> object:
    """An option whose default the recipe decides."""
    return typer.Option(help=f"{text} [default: the recipe's].", show_default=False)


def _load_run(ctx: typer.Context, folder: Path | None) -> Path | None:
    """Take the settings of the run that is resumed."""
    if folder is None:
        return None
    if str(folder) == LATEST:
        from ..training.runs import latest
        from ..training.state import STATE_FILE

        folder = latest(RUNS, STATE_FILE)
    settings = folder / "config.toml"
    if not settings.is_file():
        raise ConfigError(f"no run in {folder}", f"expected a folder such as {RUNS}/run")
    load_config(ctx, settings)
    return folder


def train(
    dataset: Annotated[
        str, typer.Argument(help=f"{HELP} Several with + between them: voc2007+voc2012.")
    ] = "voc",
    data: Data = None,
    split: Split = None,
    limit: Limit = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help=f"The convolutional network [default: {PAPER.backbone}, or that of --weights].",
            show_default=False,
        ),
    ] = None,
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
    weights: Annotated[
        str | None,
        typer.Option("--weights", "-w", help="A detector to train further, with its classes."),
    ] = None,
    recipe: Annotated[str, typer.Option(help=f"{', '.join(RECIPES)}.")] = "paper",
    iterations: Annotated[int | None, _setting("Batches to train")] = None,
    images_per_batch: Annotated[int | None, _setting("Images in a batch")] = None,
    rois_per_batch: Annotated[int | None, _setting("RoIs in a batch, over its images")] = None,
    scales: Annotated[
        str | None, _setting("Shorter side, pixels; of several (480,576,688) each image draws one")
    ] = None,
    max_size: Annotated[int | None, _setting("Longer side at most, pixels")] = None,
    lr: Annotated[float | None, _setting("Learning rate")] = None,
    lr_steps: Annotated[
        str | None, _setting("Shares of the iterations after which the rate falls to a tenth")
    ] = None,
    train_from: Annotated[
        str | None,
        typer.Option(
            help="First layer that learns: conv3_1, fc6, bbox_pred … [default: the backbone's].",
            show_default=False,
        ),
    ] = None,
    dropout: Annotated[
        float | None, _setting("Share of the fully connected layers' outputs that is dropped")
    ] = None,
    loc_weight: Annotated[
        float | None, _setting("Weight of the box loss; 0: classification only")
    ] = None,
    clip_norm: Annotated[float | None, _setting("Largest norm of the gradient; 0: any")] = None,
    max_proposals: Annotated[int | None, _setting("Proposals an image")] = None,
    rank: Annotated[
        int | None,
        typer.Option(help="Of the fully connected layers, from the start [default: full]."),
    ] = None,
    seed: Annotated[int | None, _setting("Seed of all that is random")] = None,
    eval_every: Annotated[
        int, typer.Option(min=0, help="Iterations between validations; the best weights are kept.")
    ] = 0,
    eval_split: Annotated[str, typer.Option(help="Split to validate on.")] = "val",
    eval_limit: Annotated[
        int | None, typer.Option(min=1, help="Validate on the first N images.")
    ] = None,
    checkpoint_minutes: Annotated[
        float, typer.Option(min=0, help="Minutes between checkpoints.")
    ] = 5.0,
    precision: Annotated[
        str, typer.Option(help="fp32, bf16, or auto: bf16 where the processor has it.")
    ] = "auto",
    compile: Annotated[
        bool, typer.Option("--compile", help="Compile the convolutions with torch.compile.")
    ] = False,
    cache_features: Annotated[
        bool,
        typer.Option("--cache-features", help="Keep the features of frozen convolutions on disk."),
    ] = False,
    name: Annotated[str, typer.Option(help=f"Folder in {RUNS}.")] = "run",
    resume: Annotated[
        Path | None,
        typer.Option(
            callback=_load_run,
            is_eager=True,
            help="Go on with the run in this folder; alone: with the last one.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be trained, and stop.")
    ] = False,
    proposals: Method = "fast",
    device: Device = "auto",
    jobs: Jobs = None,
    json: Json = False,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Train the network on a data set; the defaults are the paper's.

    Writes runs/train/NAME: last.safetensors (the weights), metrics.csv, losses.svg, config.toml,
    environment.json, the state for --resume, and TensorBoard's events where it is installed.

    Example: frcnn train --data BCCD --recipe modern --iterations 500
    """
    chosen: dict[str, Any] = {
        "iterations": iterations,
        "images_per_batch": images_per_batch,
        "rois_per_batch": rois_per_batch,
        "scales": scales and whole_numbers(scales, "scales"),
        "max_size": max_size,
        "lr": lr,
        "lr_steps": lr_steps and numbers(lr_steps, "lr-steps"),
        "train_from": train_from,
        "dropout": dropout,
        "loc_weight": loc_weight,
        "clip_norm": clip_norm,
        "max_proposals": max_proposals,
        "rank": rank,
        "seed": seed,
        "backbone": backbone,
    }
    given = {key: value for key, value in chosen.items() if value is not None}
    settings = replace(recipe_settings(recipe, dataset), **given)
    if weights is None or resume is not None:
        check(settings)
    elif init is not None or pixels is not None:
        raise ConfigError("--weights goes with no --init or --pixels", "leave one of them out")
    if Path(name).name != name or name in ("", ".."):  # --resume would not find it
        raise ConfigError(
            f"--name {name} is not the name of a folder", "leave out what leads to it"
        )
    images = open_named(dataset, data, split, ("trainval", "train"), limit)
    validation = open_named(dataset, data, eval_split, (), eval_limit) if eval_every else None
    if validation is not None:
        validation.require_objects()
        seen = len(set(validation.paths) & set(images.paths))
        if seen and not quiet:
            stderr.print(
                f"{seen} of the {len(validation)} images of --eval-split {eval_split} are trained "
                "on: what is found on them says little; train on --split train",
                soft_wrap=True,
            )
    from ..proposers.registry import PROPOSERS
    from ..runtime.device import keep_freed_memory, pick_device
    from ..training import runs
    from ..training.distributed import world
    from ..training.setup import Initialisation, prepare
    from ..training.state import read_state
    from ..training.trainer import Runtime

    keep_freed_memory()
    origin = Initialisation(init, pixels, None if resume is None else read_state(resume))
    if origin.state is not None and origin.state["classes"] != list(images.classes):
        images = images.with_classes(origin.state["classes"])  # those of the run's --weights
    elif origin.state is None and weights is not None:
        origin, settings, images = _further(weights, settings, images, given)
    workers = jobs or os.cpu_count() or 1
    with world(device) as (place, own_device):
        runtime = Runtime(
            own_device,
            precision,
            min(workers, MOST_WORKERS) if pick_device(own_device).type == "cuda" else 1,
            checkpoint_minutes,
            eval_every,
            compile,
            cache_features,
        )
        measured = dry_run or not quiet
        quiet = quiet or not place.first
        source = proposal_source(quiet, proposals)
        with ProgressLine("looking at the images", len(images), "images", quiet) as progress:
            trainer = prepare(
                images, source, settings, origin, runtime, workers, progress.advance, place
            )
        left = trainer.config.iterations - trainer.iteration
        seconds, held = trainer.trial() if measured and left else (0.0, 0)
        if not quiet:
            say_facts(trainer, seconds, held)
        if dry_run:
            if json and place.first:
                print(dumps({"seconds_per_iteration": seconds, "bytes": held}))
            return
        if validation is not None and place.first:
            trainer.judge = make_judge(trainer, validation, workers, quiet)
        if place.first:
            trainer.run = resume or runs.create(RUNS, name)
            runs.describe(
                trainer.run,
                {
                    "dataset": absolute(dataset),
                    "data": data and data.resolve(),
                    "split": split,
                    "limit": limit,
                    "init": init and init.resolve(),
                    "pixels": pixels,
                    "weights": weights if resume else weights and find_weights(weights).resolve(),
                    "recipe": recipe,
                    "proposals": proposals
                    if proposals in PROPOSERS
                    else str(Path(proposals).resolve()),
                    "eval_every": eval_every,
                    "eval_split": eval_split,
                    "eval_limit": eval_limit,
                    "checkpoint_minutes": checkpoint_minutes,
                    "precision": precision,
                    "compile": compile,
                    "cache_features": cache_features,
                    **{key: _as_flag(getattr(settings, key)) for key in chosen},
                },
            )
        result = train_to_the_end(trainer, quiet)
    if not place.first:
        return
    assert trainer.run is not None
    weights_file = trainer.run / "last.safetensors"
    if json:
        print(dumps({"run": str(trainer.run), "weights": str(weights_file), **result}))
    elif not quiet:
        stderr.print(f"waited for data {result['waited']:.1%} of the time")
        if trainer.best >= 0:
            best = trainer.run / "best.safetensors"
            stderr.print(f"best on {eval_split}: mAP {trainer.best:.1%}, {best}")
        stderr.print(f"weights: {weights_file}")


def _as_flag(value: object) -> object:
    return ",".join(map(str, value)) if isinstance(value, tuple) else value


def _further(
    weights: str, settings: TrainConfig, images: Dataset, given: Mapping[str, Any]
) -> tuple[Initialisation, TrainConfig, Dataset]:
    """Start from a detector: with its backbone, its classes and, unless others are given, its
    scale and longest side."""
    from ..checkpoints.weights import load_weights
    from ..training.setup import Initialisation

    model, header = load_weights(find_weights(weights))
    if given.get("backbone", header.backbone) != header.backbone:
        raise ConfigError(f"the weights are of {header.backbone}", "leave out --backbone")
    settings = replace(
        settings,
        backbone=header.backbone,
        scales=settings.scales if "scales" in given else (header.scale,),
        max_size=settings.max_size if "max_size" in given else header.max_size,
    )
    if settings.rank is not None:
        raise ConfigError("--rank and --weights exclude each other", "frcnn compress lowers ranks")
    check(settings)
    return Initialisation(detector=(model, header)), settings, images.with_classes(header.classes)
