"""The command `frcnn train`."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..config import VAL_SHARE, TrainConfig, TrainRuntimeConfig
from ..data.registry import HELP, absolute_name, is_voc_challenge
from ..errors import ConfigError, SplitError
from ..recipes import AUTO, RECIPES, is_papers
from ..recipes import recipe as recipe_settings
from ..runtime.files import size_text
from ..runtime.launcher import is_first_process
from ..runtime.paths import RUNS, find_weights
from ..settings import check, flag_of
from .config_options import FromConfig, options_of
from .console import dumps, progress_lines, stderr
from .data_tables import show_check
from .options import (
    Config,
    Data,
    Jobs,
    Json,
    Limit,
    Map,
    Method,
    Quiet,
    SkipDamaged,
    Split,
    ValShare,
    on_command_line,
    open_named,
    proposal_source,
    refuse,
    tell_unused_share,
)
from .resume import load_run, of_new_run

if TYPE_CHECKING:
    from ..data.dataset import Dataset
    from ..training.initialisation import Initialisation
    from ..training.learner import Learner
    from ..training.train import TrainResult


def _defaults(name: str) -> str:
    """What the help says about the default of a training setting; nothing of one that is off."""
    paper, modern = (_text(getattr(RECIPES[recipe], name)) for recipe in ("paper", "modern"))
    if paper == modern:
        return paper and f"default: {paper}"
    return f"paper: {paper}, modern: {modern}"


def _text(value: Any) -> str:
    """A value as its option takes it; "" for False."""
    values = value if isinstance(value, tuple) else (value,) if value is not False else ()
    return ",".join(f"{each:g}" if isinstance(each, float) else str(each) for each in values)


@options_of(
    chosen=FromConfig(TrainConfig, only_given=True, default_note=_defaults),
    runtime=FromConfig(TrainRuntimeConfig),
)
def train(
    ctx: typer.Context,
    dataset: Annotated[
        str, typer.Argument(help=f"{HELP} Several are joined by +: voc2007+voc2012.")
    ] = "voc",
    *,
    data: Data = None,
    split: Split = None,
    val_share: ValShare = None,
    limit: Limit = None,
    skip_damaged: SkipDamaged = False,
    renamed: Map = None,
    init: Annotated[
        Path | None,
        typer.Option(
            callback=of_new_run,
            help="ImageNet weights (.pth, .safetensors), or random [default: torchvision's, "
            "downloaded].",
        ),
    ] = None,
    pixels: Annotated[
        Literal["caffe", "torchvision"] | None,
        typer.Option(
            callback=of_new_run,
            help="Input that --init expects: RGB 0..255 minus Caffe's means, or torchvision's mean "
            "and deviation [default: caffe].",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            "-w",
            callback=of_new_run,
            help="A detector to train further; classes that it lacks get new outputs.",
        ),
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            callback=of_new_run,
            help=f"{', '.join(RECIPES)}; auto is the paper's for VOC2007, VOC2012 and COCO, else "
            "modern's with iterations that fit the number of images.",
        ),
    ] = AUTO,
    chosen: dict[str, Any],
    eval_split: Annotated[str, typer.Option(help="Split to validate on.")] = "val",
    eval_limit: Annotated[
        int | None, typer.Option(min=1, help="Validate on the first N images.")
    ] = None,
    runtime: TrainRuntimeConfig,
    name: Annotated[str, typer.Option(callback=of_new_run, help=f"Folder in {RUNS}.")] = "run",
    resume: Annotated[
        Path | None,
        typer.Option(
            callback=load_run,
            is_eager=True,
            help="Continue the run of this name or folder; without a value, the last run.",
        ),
    ] = None,
    stage: Annotated[
        Literal["finetune", "features", "svm", "boxes"] | None,
        typer.Option(
            help="Run this stage alone, of a training that has several [default: all].",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be trained, and stop.")
    ] = False,
    proposals: Method = "fast",
    jobs: Jobs = None,
    json: Json = False,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Train a detector on a data set.

    Writes runs/train/NAME: last.safetensors (the weights), metrics.csv, losses.svg, config.toml,
    environment.json, the state for --resume, and TensorBoard's events where it is installed.

    Example: frcnn train mydata --iterations 500
    """
    if not runtime.eval_every:
        refuse("for --eval-every", **on_command_line(ctx, "eval_split", "eval_limit"))
    start = weights if resume is None else None  # a detector to train further
    if start is not None and (init, pixels) != (None, None):
        raise ConfigError("--weights excludes --init and --pixels", "leave out one of them")
    detector = chosen.get("detector") or _detector_of(start)
    settings = replace(recipe_settings(recipe, dataset, detector), **chosen)
    if start is None:  # those of a detector are checked together with it
        check(settings)
    _check_name(name)
    shown = is_first_process() and not quiet
    opened = partial(
        open_named,
        dataset,
        data,
        val_share=val_share,
        quiet=not shown,
        skip_damaged=skip_damaged,
        renamed=renamed,
    )
    images = opened(split, ("trainval", "train"), limit, part="train")
    settings = replace(recipe_settings(recipe, dataset, detector, len(images)), **chosen)
    validation = None
    if runtime.eval_every:
        try:
            validation = opened(eval_split, (), eval_limit)
        except SplitError:
            if split is not None or eval_split != "val":
                raise
            images, validation = _held_back(images, val_share, eval_limit, shown)
    if shown:
        tell_unused_share(val_share, [images])
    if dry_run and shown and not json:
        _show_data(images, validation, jobs)
    from ..runtime.device import keep_freed_memory
    from ..training.train import train as run

    keep_freed_memory()
    if runtime.precision == "auto" and is_papers(recipe, dataset):
        runtime = replace(runtime, precision="fp32")  # as the paper's code
    may_differ = recipe != "paper" and not is_voc_challenge(dataset)  # from the paper's start
    if (weights, init, pixels, resume) == (None,) * 4 and may_differ:
        start = _included_start(settings, shown)
    initialisation, settings = _initialisation(start, init, pixels, settings, chosen)

    def on_ready(learner: Learner) -> None:
        if quiet and not dry_run:
            return
        seconds, memory = learner.trial() if learner.iterations_left else (0.0, 0)
        if shown:
            _show_plan(learner, seconds, memory)
        if dry_run and json and is_first_process():
            print(dumps({"seconds_per_iteration": seconds, "bytes": memory}))

    result = run(
        settings,
        images,
        folder=RUNS / name,
        resume=resume,
        initialisation=initialisation,
        proposals=proposal_source(not shown, proposals),
        validation=validation,
        runtime=runtime,
        threads=jobs,
        settings={
            "dataset": absolute_name(dataset),
            "data": data and data.resolve(),
            "split": split,
            "val_share": val_share,
            "limit": limit,
            "skip_damaged": skip_damaged,
            "renamed": renamed or None,
            "init": init if init == Path("random") else init and init.resolve(),
            "pixels": pixels,
            "weights": weights if start is None else find_weights(start).resolve(),
            "recipe": recipe,
            "proposals": _absolute_method(proposals),
            "eval_split": eval_split,
            "eval_limit": eval_limit,
            **_as_options(settings),
            **_as_options(runtime, without=("device",)),
        },
        stage=stage,
        dry_run=dry_run,
        progress=progress_lines(not shown),
        on_message=lambda message: stderr.print(message, soft_wrap=True) if shown else None,
        on_ready=on_ready,
    )
    if result is not None and is_first_process():
        _show_result(result, eval_split, json, quiet)


def _check_name(name: str) -> None:
    """Refuse a --name of which --resume would not find the run."""
    if Path(name).name != name or name in ("", ".."):
        raise ConfigError(
            f"--name {name} is not the name of a folder", f"give the name of a folder in {RUNS}"
        )


def _held_back(
    images: Dataset, val_share: float | None, limit: int | None, shown: bool
) -> tuple[Dataset, Dataset]:
    """The images to train on and those to validate on, by content, of data without a split val."""
    from ..data.splits import hash_split

    share = VAL_SHARE if val_share is None else val_share
    training, validation = (hash_split(images, part, share) for part in ("train", "val"))
    if shown:
        stderr.print(training.notes[-1])
    return training, validation.limited(limit)


def _included_start(settings: TrainConfig, shown: bool) -> str | None:
    """The name of the included detector, if training has to start from it without a network."""
    from ..training.initialisation import included_detector

    name = included_detector(settings)
    if name is not None and shown:
        stderr.print(
            f"there are no ImageNet weights here, so training starts from {name}, "
            "a detector that is included (--init FILE for others)"
        )
    return name


def _detector_of(weights: str | None) -> str:
    """The name of the detector in a weights file; without one the default."""
    if weights is None:
        return TrainConfig.detector
    from ..checkpoints.weights import read_header

    return read_header(find_weights(weights)).detector


def _initialisation(
    weights: str | None,
    init: Path | None,
    pixels: str | None,
    settings: TrainConfig,
    chosen: dict[str, Any],
) -> tuple[Initialisation, TrainConfig]:
    """The weights to start from, and the settings that go with them."""
    from ..training.initialisation import Initialisation, continue_from

    if weights is None:
        return Initialisation(imagenet_weights=init, pixels=pixels), settings
    return continue_from(find_weights(weights), settings, chosen)


def _absolute_method(proposals: str) -> str:
    """The same --proposals with an absolute path, for use from any working folder."""
    from ..proposers.registry import PROPOSERS

    return proposals if proposals in PROPOSERS else str(Path(proposals).resolve())


def _as_options(config: Any, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The values of a configuration by the names of their options, for config.toml."""
    named = {each.name: flag_of(type(config), each.name) for each in fields(config)}
    return {
        flag.replace("-", "_"): getattr(config, name)
        for name, flag in named.items()
        if flag and name not in without
    }


def _show_data(images: Dataset, validation: Dataset | None, jobs: int | None) -> None:
    """Print what `frcnn data check` finds in the images of the run."""
    from ..data.check_data import check_data

    splits = [images] if validation is None else [images, validation]
    show_check(check_data(splits, threads=jobs, progress=progress_lines(False)), stderr)


def _show_plan(learner: Learner, seconds: float, memory: int) -> None:
    """Print what the run is about to do.

    Args:
        seconds, memory: time of a trial step, and the memory that it used, in bytes.
    """
    from ..training.setup import describe_run

    for line in describe_run(learner):
        stderr.print(line)
    left = learner.iterations_left
    if left == 0:
        stderr.print("all iterations are done")
        return
    stderr.print(
        f"a trial step took {seconds:.2f} s and {memory / 1e9:.1f} GB: about "
        f"{_duration(seconds * left)} for {left:,} iterations"
    )


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"


def _show_result(result: TrainResult, eval_split: str, json: bool, quiet: bool) -> None:
    """Print the results of the run."""
    if json:
        losses = {"cls": result.cls, "loc": result.loc}
        answer = {
            "run": str(result.folder),
            "weights": str(result.weights),
            "iterations": result.iterations,
            **{key: round(loss, 4) for key, loss in losses.items() if loss is not None},
            "waited": round(result.waited, 4),
            "stages": [asdict(each) for each in result.stages],
        }
        print(dumps(answer))
    elif not quiet:
        stderr.print(f"waited for data {result.waited:.1%} of the time")
        if result.best_mean_ap is not None:
            stderr.print(
                f"best on {eval_split}: mAP {result.best_mean_ap:.1%}, {result.best_weights}"
            )
        for each in result.stages:
            stderr.print(f"{each.name}: {_duration(each.seconds)}, {size_text(each.bytes)}")
        stderr.print(f"weights: {result.weights}")
        from ..checkpoints.weights import read_header

        is_small = bool(read_header(result.weights).ranks)
        smaller = "" if is_small else "frcnn compress makes them smaller, "
        stderr.print(f"next: frcnn eval measures them, {smaller}frcnn detect PHOTO uses them")
