"""The training loop: steps, checkpoints, metrics and validation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..checkpoints.weights import WeightsHeader, save_weights
from ..errors import FrcnnError
from ..models.region_network import RegionNetwork
from ..runtime.paths import BEST_FILE
from ..runtime.signals import StopSignal
from ..structures import Batch
from .batches import explain_killed_workers
from .feature_cache import FeatureCache
from .interruption import InterruptedRun
from .learner import Learner
from .metrics import MetricsLog, StepMetrics
from .state import checkpoint_header, save_checkpoint

FEATURES_FOLDER = "features"

# Returns the mean average precision, 0..1, of a network in evaluation mode. It calls its last
# argument after every image, and does not catch the exceptions of that call.
Validator = Callable[[RegionNetwork, WeightsHeader, Callable[[], None]], float]


class Trainer:
    """A training run in a folder.

    Of several processes that train together, the first one validates and writes.

    Args:
        folder: of this run alone.
        validate: called every `runtime.eval_every` iterations and after the last one.
        state: of the run to resume, from `read_state`; None for a new run.
    Attributes:
        validated: the iteration of the last validation, 0 before the first.
        best: the highest mean average precision of a validation, -1 before the first.
        ended_early: whether `runtime.patience` was used up, which ends the run.
    """

    def __init__(
        self,
        learner: Learner,
        *,
        folder: Path,
        validate: Validator | None = None,
        state: dict[str, Any] | None = None,
    ) -> None:
        self.learner, self.folder = learner, folder
        self.validate = validate
        self.validated: int = 0 if state is None else state["validated"]
        self.best: float = -1.0 if state is None else state["best"]
        self.ended_early = False
        self._cache: FeatureCache | None = None
        if learner.runtime.cache_features:
            self._cache = FeatureCache(folder / FEATURES_FOLDER, learner.network, learner.normalize)
        self._saved_at = time.monotonic()

    def steps(self) -> Iterator[StepMetrics]:
        """Train to the end or until `runtime.patience` is used up, yielding after every iteration.

        Checkpoints are written on the way and at the end.

        Raises:
            InterruptedRun: SIGINT, SIGTERM or SIGHUP came, and a checkpoint was written.
            FrcnnError: the loss is not finite, an image is missing, the memory or the disk is
                full; the last checkpoint is intact.
        """
        learner, stop = self.learner, StopSignal()
        if learner.world.first:
            for part in self.folder.glob(".*.part"):  # of a process that was killed while it wrote
                part.unlink()
        self._saved_at = time.monotonic()
        with stop, explain_killed_workers(), self._open_log() as log:
            loader = iter(learner.loader())
            try:
                if self._validation_is_due:  # the run was stopped before its validation
                    self._run_validation(log, stop)
                self.ended_early = self._patience_is_used_up(log)
                begun = time.monotonic()
                for batch in () if self.ended_early else loader:
                    waited = time.monotonic() - begun
                    metrics = learner.step(
                        self._checked(batch, log), waited=waited, cache=self._cache
                    )
                    if log is not None:
                        log.write(metrics)
                    yield metrics
                    self._finish_iteration(log, stop)
                    if self.ended_early:
                        break
                    begun = time.monotonic()
            finally:
                del loader  # ends its processes here, not when the program ends

    def _checked(self, batch: Batch | FrcnnError, log: MetricsLog | None) -> Batch:
        """The batch, if this process and all others could make theirs.

        Raises:
            FrcnnError: a batch could not be made; a checkpoint has been written.
        """
        error = batch if isinstance(batch, FrcnnError) else None
        if self.learner.world.any(error is not None):
            self.save(log)
            raise error or FrcnnError("another process cannot go on", "its message says why")
        assert isinstance(batch, Batch)
        return batch

    def _finish_iteration(self, log: MetricsLog | None, stop: StopSignal) -> None:
        """Save and validate if it is time for it.

        Raises:
            InterruptedRun: the run was asked to stop.
        """
        learner, ended = self.learner, not self.learner.iterations_left
        stopping = learner.world.any(stop.requested)
        late = time.monotonic() - self._saved_at > 60 * learner.runtime.checkpoint_minutes
        if stopping or late or ended or self._validation_is_due:
            self.save(log)
        if stopping and not ended:
            raise self._interruption()
        if self._validation_is_due:
            self._run_validation(log, stop)
            self.ended_early = self._patience_is_used_up(log)

    def _patience_is_used_up(self, log: MetricsLog | None) -> bool:
        """Whether iterations are left, but no validation of the last few was the best so far."""
        learner = self.learner
        lost = log is not None and 0 < learner.runtime.patience <= log.validations_since_best
        return learner.world.any(lost) and bool(learner.iterations_left)

    def _interruption(self) -> InterruptedRun:
        learner = self.learner
        return InterruptedRun(
            f"stopped after {learner.iteration} of {learner.config.iterations} iterations",
            f"continue with: frcnn train --resume {self.folder}",
        )

    @property
    def _validation_is_due(self) -> bool:
        learner, every = self.learner, self.learner.runtime.eval_every
        if self.validate is None or not every or not learner.iteration:
            return False
        at_mark = learner.iteration % every == 0 or not learner.iterations_left
        return at_mark and self.validated != learner.iteration

    @contextmanager
    def _open_log(self) -> Iterator[MetricsLog | None]:
        if not self.learner.world.first:
            yield None
            return
        with MetricsLog(self.folder, self.learner.iteration) as log:
            yield log

    def _run_validation(self, log: MetricsLog | None, stop: StopSignal) -> None:
        """Validate the network, and keep its weights if they are the best so far.

        Raises:
            InterruptedRun: the run was asked to stop meanwhile; the checkpoint that was written
                before is the last one.
        """

        def check_stop() -> None:
            if stop.requested and learner.world.size == 1:  # other processes could not know
                raise self._interruption()

        assert self.validate is not None
        learner, network = self.learner, self.learner.network
        if log is None:  # only the first process validates
            self.validated = learner.iteration
            return
        with learner.saved_form():
            network.eval()
            mean_ap = self.validate(network, checkpoint_header(learner), check_stop)
            self.validated = learner.iteration
            log.write_validation(self.validated, mean_ap)
            if mean_ap > self.best:
                self.best = mean_ap
                header = checkpoint_header(learner, validation_mean_ap=round(mean_ap, 4))
                save_weights(self.folder / BEST_FILE, network, header)
            network.train()
        self.save(log)

    def save(self, log: MetricsLog | None = None) -> None:
        """Write a checkpoint, and bring the files of `log` up to date.

        Raises:
            FrcnnError: see `save_checkpoint`.
        """
        if log is not None:
            log.flush()  # otherwise a run that is killed now would lack rows
        save_checkpoint(self.folder, self.learner, validated=self.validated, best=self.best)
        self._saved_at = time.monotonic()
        if log is not None:
            log.draw_curves()
