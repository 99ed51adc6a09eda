"""A training run as the commands show it: what is said before, progress, and the end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from statistics import fmean
from typing import TYPE_CHECKING

import typer

from .console import ProgressLine, say_error, stderr

if TYPE_CHECKING:
    from ..checkpoints.weights import WeightsHeader
    from ..data.dataset import Dataset
    from ..models.region_network import RegionNetwork
    from ..training.metrics import Step
    from ..training.trainer import Judge, Trainer


def say_facts(trainer: Trainer, seconds: float, held: int) -> None:
    """What the run is about to do.

    Args:
        seconds, held: what a trial step took, and the bytes of memory.
    """
    from ..training.setup import facts

    for line in facts(trainer):
        stderr.print(line)
    left = trainer.config.iterations - trainer.iteration
    if left == 0:
        stderr.print("all iterations are done")
        return
    stderr.print(
        f"a trial step took {seconds:.2f} s and {held / 1e9:.1f} GB: about "
        f"{_duration(seconds * left)} for {left:,} iterations"
    )


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{max(seconds / 60, 1):.0f} min"


def make_judge(trainer: Trainer, validation: Dataset, workers: int, quiet: bool) -> Judge:
    """Mean average precision of the network as it is on these images, with progress."""
    from ..training.validation import mean_average_precision

    def judge(model: RegionNetwork, header: WeightsHeader, check: Callable[[], None]) -> float:
        def on_image() -> None:
            progress.advance()
            check()

        with ProgressLine("validating", len(validation), "images", quiet) as progress:
            value = mean_average_precision(
                model,
                header,
                trainer.batches.source,
                validation,
                str(trainer.device),
                trainer.runtime.precision,
                workers,
                on_image,
            )
        if not quiet:
            stderr.print(f"iteration {trainer.iteration}: mAP {value:.1%}")
        return value

    return judge


def train_to_the_end(trainer: Trainer, quiet: bool) -> dict[str, float]:
    """Train with progress; when stopped, say how to go on and exit with 130.

    Returns:
        The iterations, the averages of the last ones, and the share of the time spent waiting for
        data.
    """
    from ..training.trainer import InterruptedRun

    recent: deque[Step] = deque(maxlen=100)
    left = trainer.config.iterations - trainer.iteration
    means: dict[str, float] = {}
    waited = seconds = 0.0
    try:
        with ProgressLine("training", left, "it", quiet) as progress:
            for step in trainer.steps():
                recent.append(step)
                waited, seconds = waited + step.waited, seconds + step.seconds
                means = {
                    "cls": round(fmean(each.cls for each in recent), 4),
                    "loc": round(fmean(each.loc for each in recent), 4),
                }
                progress.advance(f"cls {means['cls']:.3f} loc {means['loc']:.3f} lr {step.lr:.1e}")
    except InterruptedRun:
        if trainer.world.first:
            say_error(
                f"stopped after {trainer.iteration} of {trainer.config.iterations} iterations",
                f"go on with: frcnn train --resume {trainer.run}",
            )
        raise typer.Exit(130) from None
    share = round(waited / seconds, 4) if seconds else 0.0
    return {"iterations": trainer.iteration, **means, "waited": share}
