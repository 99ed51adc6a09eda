"""Training from one call: `frcnn_cli.train`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..config import TrainConfig, TrainRuntimeConfig
from ..data.dataset import Dataset, match_classes
from ..errors import ConfigError
from ..proposers.cache import ProposalSource
from ..proposers.registry import proposal_source
from ..runtime.files import check_writable
from ..runtime.locks import sole_process
from ..runtime.paths import BEST_FILE, WEIGHTS_FILE
from ..runtime.progress import Progress, silent
from . import runs
from .distributed import World, join_processes
from .initialisation import Initialisation
from .learner import Learner
from .metrics import MetricsSummary, StepMetrics
from .pictures import write_batches
from .setup import set_up
from .stages import FINETUNE, StageInputs, StageReport, check_stage, run_stages, stages_of
from .state import read_state
from .svm import require_sklearn
from .trainer import Trainer
from .validation import check_validation_images, make_validator

DEFAULT_FOLDER = Path("runs/train/run")


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """The result of a finished run."""

    folder: Path
    weights: Path  # after the last iteration, or the last stage
    iterations: int  # done, those before a resumption included
    cls: float | None  # mean losses of the last iterations; None if none was left to do
    loc: float | None
    waited: float  # fraction of the time, 0..1, in which training waited for batches
    best_weights: Path | None  # with the best validation; None without validation
    best_mean_ap: float | None  # of that validation, 0..1
    stages: tuple[StageReport, ...] = ()  # what each took, where there is more than one


def train(
    config: TrainConfig,
    dataset: Dataset,
    *,
    folder: Path = DEFAULT_FOLDER,
    resume: Path | None = None,
    initialisation: Initialisation | None = None,
    proposals: ProposalSource | str = "fast",
    validation: Dataset | None = None,
    runtime: TrainRuntimeConfig | None = None,
    threads: int | None = None,
    settings: Mapping[str, object] | None = None,
    stage: str | None = None,
    dry_run: bool = False,
    progress: Progress = silent,
    on_message: Callable[[str], None] = lambda message: None,
    on_ready: Callable[[Learner], None] = lambda learner: None,
    on_step: Callable[[StepMetrics], None] = lambda metrics: None,
) -> TrainResult | None:
    """Train a detector on a data set, in a folder of its own.

    The folder gets last.safetensors (the weights), metrics.csv, losses.svg, config.toml,
    environment.json, batches.jpg, the state for `resume`, TensorBoard's events where it is
    installed and, with validation, best.safetensors, validation.csv, validation_classes.csv,
    validation.svg and predictions.jpg. Where training has more stages than one, the folder gets
    their files too (see `stages`).

    Args:
        folder: is created; if it exists already, the same name with the next free number.
        resume: folder of a run to continue; replaces `folder` and `initialisation`.
        initialisation: weights to start from; None for torchvision's ImageNet weights.
        proposals: a row of PROPOSERS, the path of a file of boxes, or a source.
        validation: images to validate on every `runtime.eval_every` iterations and at the end.
        threads: that read images for statistics and validation; None for one for each core.
        settings: content of config.toml; None for the fields of `config` and `runtime`.
        stage: run this stage alone: finetune, features, svm or boxes; None for all that are left.
        dry_run: end before the first iteration and write nothing.
        progress: shows the progress of the statistics, the iterations and the validations.
        on_message: called with lines for the user.
        on_ready: called before the first iteration, with the learner, which holds everything.
        on_step: called after each iteration.
    Returns:
        What the run left; None after a dry run.
    Raises:
        InterruptedRun: SIGINT, SIGTERM or SIGHUP came; the run can be resumed.
        FrcnnError: settings, data or weights cannot be trained with, or the run cannot go on.
    """
    runtime = runtime or TrainRuntimeConfig()
    threads = threads or os.cpu_count() or 1
    check_stage(config, stage)
    if config.classifier == "svm":
        require_sklearn()  # now rather than after hours
    if not dry_run:
        check_writable((resume or folder.parent) / WEIGHTS_FILE)
    source = proposals if isinstance(proposals, ProposalSource) else proposal_source(proposals)
    if validation is not None:
        shared = check_validation_images(validation, dataset)
        if shared:
            on_message(
                f"{shared} of the {len(validation)} validation images are trained on, so the "
                "validation says little; train on others, with --split train or without --split"
            )
    for name, known in _synonyms(dataset, initialisation).items():
        on_message(f"class {name} of {dataset.name} is taken for {known} of the weights")
    if runtime.patience and (validation is None or not runtime.eval_every):
        raise ConfigError("--patience counts validations", "add --eval-every")
    state = None if resume is None else read_state(resume)
    with join_processes(runtime.device) as (world, device), ExitStack() as stack:
        with progress("reading the images", len(dataset), "images") as advance:
            learner = set_up(
                config,
                dataset,
                source,
                initialisation=initialisation,
                state=state,
                runtime=replace(runtime, device=device),
                world=world,
                threads=threads,
                on_image=lambda: advance(""),
            )
        on_ready(learner)
        if dry_run:
            return None
        if stage not in (None, FINETUNE) and learner.iterations_left:
            raise ConfigError(
                f"--stage {stage} comes after fine-tuning, which has {learner.iterations_left:,} "
                "iterations left",
                "continue without --stage",
            )
        if settings is None:
            settings = {**asdict(config), **asdict(runtime)}
        folder = stack.enter_context(open_folder(world, resume, folder, settings))
        if world.first and not learner.iteration:
            write_batches(folder, learner.batches)
        validate = None
        if validation is not None:
            validate = make_validator(
                learner,
                validation,
                threads=threads,
                folder=folder,
                progress=progress,
                on_message=on_message,
            )
        trainer = Trainer(
            learner,
            folder=folder,
            validate=validate,
            state=state,
        )
        result = run(trainer, progress, on_step)
        if trainer.ended_early:
            on_message(
                f"ended after {result.iterations:,} iterations: the last {runtime.patience} "
                "validations were no better than the best one"
            )
        if stage == FINETUNE or len(stages_of(config)) == 1:
            return result
        if world.size > 1:
            on_message(f"the other stages run in one process: frcnn train --resume {folder}")
            return result
        return _later_stages(result, learner, stage, threads, progress, on_message)


def _later_stages(
    result: TrainResult,
    learner: Learner,
    stage: str | None,
    threads: int,
    progress: Progress,
    on_message: Callable[[str], None],
) -> TrainResult:
    """Run the stages after fine-tuning; for the arguments see `train`.

    Raises:
        InterruptedRun, FrcnnError: see `run_stages`.
    """
    inputs = StageInputs(
        folder=result.folder,
        config=learner.config,
        dataset=learner.batches.dataset,
        source=learner.batches.source,
        runtime=learner.runtime,
        threads=threads,
        progress=progress,
        on_message=on_message,
    )
    weights, reports = run_stages(inputs, stage)
    return replace(result, weights=weights, stages=tuple(reports))


def _synonyms(dataset: Dataset, initialisation: Initialisation | None) -> Mapping[str, str]:
    """The classes of a data set that the detector to train further knows by another word."""
    if initialisation is None or initialisation.detector is None:
        return {}
    return match_classes(dataset.classes, initialisation.detector[1].classes).synonyms


@contextmanager
def open_folder(
    world: World, resume: Path | None, folder: Path, settings: Mapping[str, object]
) -> Iterator[Path]:
    """The folder of a run, with its settings written: `resume`, or a new one (see `runs.create`).

    No other run can be in the folder until the block ends.

    Raises:
        DataError: it cannot be made, or see `runs.write_settings`.
        FrcnnError: another process trains in it.
    """
    with ExitStack() as stack:
        if world.first:
            folder = resume or runs.create(folder)
            stack.enter_context(sole_process(folder))
            runs.write_settings(folder, settings)
        yield Path(world.of_first(str(folder)))


def run(
    trainer: Trainer,
    progress: Progress = silent,
    on_step: Callable[[StepMetrics], None] = lambda metrics: None,
) -> TrainResult:
    """Train to the end.

    Raises:
        InterruptedRun, FrcnnError: see `Trainer.steps`.
    """
    summary = MetricsSummary()
    with progress("training", trainer.learner.iterations_left, "it") as advance:
        for metrics in trainer.steps():
            summary.add(metrics)
            advance(f"cls {summary.cls:.3f} loc {summary.loc:.3f} lr {metrics.lr:.1e}")
            on_step(metrics)
    validated = trainer.best >= 0
    return TrainResult(
        folder=trainer.folder,
        weights=trainer.folder / WEIGHTS_FILE,
        iterations=trainer.learner.iteration,
        cls=summary.cls,
        loc=summary.loc,
        waited=summary.waited,
        best_weights=trainer.folder / BEST_FILE if validated else None,
        best_mean_ap=trainer.best if validated else None,
    )
