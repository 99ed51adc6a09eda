"""The steps of single-stage training (Fast R-CNN, section 2.3), and what survives their end.

Everything random is a function of the seed, the iteration and the image's place in the batch, so a
run that is resumed goes on exactly as it would have (on the CPU, with as many threads), and several
processes that share its batches do what one would.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from ..checkpoints.weights import WeightsHeader, save_weights
from ..config import TrainConfig
from ..errors import ConfigError, DataError, FrcnnError, out_of_memory, reason
from ..models.losses import fast_rcnn_loss
from ..models.region_network import RegionNetwork
from ..runtime.device import peak_bytes, pick_device, pick_precision
from ..runtime.files import write_atomically
from ..structures import Batch, HeadOutput, Losses, RoiTargets
from .batches import BatchMaker, workers_explained
from .distributed import World
from .feature_cache import FeatureCache
from .metrics import MetricsLog, Step
from .optimizers import learning_rate, make_optimizer
from .runs import StopSignal
from .state import RESUME_HINT, STATE_FILE
from .target_normalization import denormalised

WEIGHTS_FILE = "last.safetensors"
BEST_FILE = "best.safetensors"
FEATURES_FOLDER = "features"

# Judges the network as it is: mean average precision, 0..1. What it is given last it calls now and
# then; an exception from there ends the judging.
Judge = Callable[[RegionNetwork, WeightsHeader, Callable[[], None]], float]


@dataclass(frozen=True)
class Runtime:
    """How a run is done on this machine; of the result it changes nothing but rounding."""

    device: str = "auto"
    precision: str = "auto"  # auto, fp32 or bf16
    workers: int = 1  # processes that make batches ahead of time
    checkpoint_minutes: float = 5.0
    eval_every: int = 0  # iterations between two judgements; 0: none
    compiled: bool = False  # the convolutions, by torch.compile
    cache_features: bool = False  # of frozen convolutions, in the folder of the run


class InterruptedRun(Exception):  # noqa: N818 - a request, not an error
    """The run was asked to stop, and did, with a checkpoint."""


def ready(
    model: RegionNetwork, config: TrainConfig, runtime: Runtime, world: World
) -> tuple[torch.device, torch.dtype]:
    """Freeze what is not trained; the device and the type in which the network computes.

    Raises:
        ConfigError: settings that do not go together.
    """
    device = pick_device(runtime.device)
    precision = pick_precision(runtime.precision, device)
    if precision == torch.float16:  # it would need its losses scaled
        raise ConfigError("--precision fp16 is for detection alone", "train with bf16 or fp32")
    model.freeze_before(config.train_from)
    if runtime.cache_features and (world.size > 1 or not len(model.split_features()[0])):
        raise ConfigError(
            "--cache-features needs convolutions that are not trained, and one process",
            "add --train-from fc6",
        )
    if runtime.cache_features and runtime.compiled:
        raise ConfigError("--compile and --cache-features exclude each other", "leave one out")
    return device, precision


class Trainer:
    """A training run; `run` is its folder, None in the processes that do not write.

    Weights in the folder predict true deltas: the normalisation of the targets is folded into
    bbox_pred. The training state keeps the layer as it is trained.
    """

    def __init__(
        self,
        model: RegionNetwork,
        batches: BatchMaker,
        header: WeightsHeader,
        runtime: Runtime,
        world: World,
    ) -> None:
        self.config = batches.config
        self.device, self.precision = ready(model, self.config, runtime, world)
        self.model = model.to(self.device).to(memory_format=torch.channels_last).train()
        self.model.dropout.p = self.config.dropout
        self.batches, self.header, self.runtime, self.world = batches, header, runtime, world
        self.run: Path | None = None
        self.judge: Judge | None = None
        self.optimizer = make_optimizer(self.model, self.config)
        self.cache: FeatureCache | None = None
        if runtime.compiled:
            self.model.features.compile()
        self.network = world.wrap(self.model)
        self.iteration = 0
        self.validated = 0  # the iteration after which it was judged last
        self.best = -1.0  # mean average precision of BEST_FILE

    def steps(self) -> Iterator[Step]:
        """Train to the end, yielding each iteration; checkpoints on the way and at the end.

        Raises:
            InterruptedRun: SIGINT or SIGTERM came; the checkpoint holds everything up to it.
            FrcnnError: the loss is not finite, an image is missing, the memory or the disk is
                full; the last checkpoint is intact.
        """
        assert self.run is not None or not self.world.first
        if self.run is not None:
            for part in self.run.glob(".*.part"):  # of a process that was killed while it wrote
                part.unlink()
        if self.runtime.cache_features:
            assert self.run is not None
            self.cache = FeatureCache(self.run / FEATURES_FOLDER, self.model)
        stop, saved = StopSignal(), time.monotonic()
        pinned = self.device.type == "cuda"
        ahead = iter(self.batches.ahead(self.iteration, self.runtime.workers, pinned))
        with stop, workers_explained(), self._log() as log:
            try:
                if self._due:  # the run was stopped before it could
                    self._validate(log, stop)
                begun = time.monotonic()
                for batch in ahead:
                    waited = time.monotonic() - begun
                    error = batch if isinstance(batch, FrcnnError) else None
                    if self.world.any(error is not None):
                        self.save(log)
                        raise error or FrcnnError(
                            "another process cannot go on", "its message says why"
                        )
                    assert isinstance(batch, Batch)
                    step = self._step(self.iteration, batch, waited, begun)
                    self.iteration += 1
                    if log is not None:
                        log.write(step)
                    yield step
                    stopping = self.world.any(stop.asked)
                    late = time.monotonic() - saved > 60 * self.runtime.checkpoint_minutes
                    if stopping or late or self._ended or self._due:
                        self.save(log)
                        saved = time.monotonic()
                    if stopping and not self._ended:
                        raise InterruptedRun
                    if self._due:
                        self._validate(log, stop)
                        saved = time.monotonic()
                    begun = time.monotonic()
            finally:
                del ahead  # its processes end here, not when the program does

    @property
    def _ended(self) -> bool:
        return self.iteration == self.config.iterations

    @property
    def _due(self) -> bool:
        """Whether the network is to be judged as it is, and was not yet."""
        every = self.runtime.eval_every
        at = self.iteration and every and (self.iteration % every == 0 or self._ended)
        return bool(at) and self.validated != self.iteration

    @contextmanager
    def _log(self) -> Iterator[MetricsLog | None]:
        if self.run is None:
            yield None
            return
        with MetricsLog(self.run, self.iteration) as log:
            yield log

    def _step(self, iteration: int, batch: Batch, waited: float, begun: float) -> Step:
        config = self.config
        lr = learning_rate(config, iteration)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["factor"]
        with self._explained(iteration):
            output, targets, losses = self._forward(iteration, batch)
            foreground = targets.labels > 0
            right = (output.class_logits.argmax(dim=1) == targets.labels) & foreground
            sums = self.world.add(
                torch.stack(
                    [
                        losses.cls.detach() / self.world.size,
                        losses.loc.detach() / self.world.size,
                        right.sum().float(),
                        foreground.sum().float(),
                        (~foreground).sum().float(),
                    ]
                )
            )
            cls, loc, correct, fg, bg = sums.tolist()
            if not math.isfinite(cls + loc):
                raise FrcnnError(
                    f"the loss is not finite in iteration {iteration + 1}, images "
                    f"{', '.join(self.batches.names(iteration))}",
                    "try a smaller --lr; an earlier checkpoint in the run's folder is intact",
                )
            self.optimizer.zero_grad()
            torch.autograd.backward(losses.total(config.loc_weight))
            if config.clip_norm:
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
            self.optimizer.step()
        seconds = time.monotonic() - begun
        return Step(
            iteration + 1,
            cls,
            loc,
            lr,
            int(fg),
            int(bg),
            correct / max(fg, 1),
            config.images_per_batch / seconds,
            waited,
            seconds,
        )

    def _forward(self, iteration: int, batch: Batch) -> tuple[HeadOutput, RoiTargets, Losses]:
        """The losses of a batch, or of this process's part of it, such that their mean over the
        processes is the loss of the batch."""
        assert batch.targets is not None
        rois = batch.rois.to(self.device, non_blocking=True)
        targets = RoiTargets(
            batch.targets.labels.to(self.device, non_blocking=True),
            batch.targets.deltas.to(self.device, non_blocking=True),
        )
        first = (self.config.seed * 1_000_003 + iteration) * self.config.images_per_batch
        seeds = [first + slot for slot in self.batches.slots]
        counts = torch.bincount(batch.rois[:, 0].long(), minlength=len(seeds)).tolist()
        self.model.dropout.reseed(seeds, counts, self.device)
        count = float(self.world.add(torch.tensor([float(len(rois))], device=self.device)))
        half = self.precision != torch.float32
        with torch.autocast(self.device.type, self.precision, enabled=half):
            if self.cache is not None:
                maps = self.model.scale_features(self.cache(batch, self.batches.entries(iteration)))
                output = self.model.heads(self.model.region_features(maps, rois))
            else:
                images = batch.images.to(
                    self.device, non_blocking=True, memory_format=torch.channels_last
                )
                output = self.network(images, rois)
        return output, targets, fast_rcnn_loss(output, targets, max(count, 1) / self.world.size)

    @contextmanager
    def _explained(self, iteration: int) -> Iterator[None]:
        """Within the block, memory that runs out is an error that names the knob."""
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            config = self.config
            raise FrcnnError(
                f"out of memory in iteration {iteration + 1}: {config.images_per_batch} images, "
                f"scale {max(config.scales)}, {config.rois_per_batch} RoIs",
                "lower --scales, --rois-per-batch or --images-per-batch; the last checkpoint is "
                "intact",
            ) from None

    def trial(self) -> tuple[float, int]:
        """Do the first step without its consequences.

        Returns:
            Seconds (where features are kept, of images whose features are), and the most bytes that
            the program has held so far (on a GPU, in its memory).
        """
        batch = self.batches(self.iteration)
        seconds = []
        with TemporaryDirectory() as folder:
            if self.runtime.cache_features:
                self.cache = FeatureCache(Path(folder), self.model)
            for _ in range(2):  # the first one makes buffers, and compiles kernels
                start = time.monotonic()
                with self._explained(self.iteration):
                    losses = self._forward(self.iteration, batch)[2]
                    torch.autograd.backward(losses.total(self.config.loc_weight))
                    if self.device.type == "cuda":
                        torch.cuda.synchronize(self.device)
                seconds.append(time.monotonic() - start)
        self.cache = None
        self.optimizer.zero_grad()
        return seconds[-1], peak_bytes(self.device)

    def _validate(self, log: MetricsLog | None, stop: StopSignal) -> None:
        """Judge the network, and keep it if it is the best so far.

        Raises:
            InterruptedRun: it was asked to stop meanwhile; the checkpoint is of before.
        """

        def check() -> None:
            if stop.asked and self.world.size == 1:  # others could not know
                raise InterruptedRun

        if log is None or self.judge is None:
            return
        assert self.run is not None
        with denormalised(self.model, self.batches.survey.deltas):
            self.model.eval()
            mean_ap = self.judge(self.model, self._header(), check)
            self.validated = self.iteration
            log.validated(self.iteration, mean_ap)
            if mean_ap > self.best:
                self.best = mean_ap
                header = self._header({"validation_mean_ap": round(mean_ap, 4)})
                save_weights(self.run / BEST_FILE, self.model, header)
            self.model.train()
        self.save(log)

    def save(self, log: MetricsLog | None = None) -> None:
        """Write the weights, then the training state, each whole or not at all.

        In this order: a run that is killed in between goes on from the state before.

        Raises:
            FrcnnError: the weights are not finite, or cannot be written.
        """
        if not all(parameter.isfinite().all() for parameter in self.model.parameters()):
            raise FrcnnError(
                f"the weights are not finite after iteration {self.iteration}",
                "try a smaller --lr; an earlier checkpoint in the run's folder is intact",
            )
        if self.run is None:
            return
        if log is not None:
            log.flush()  # or a run that is killed now would lack rows
        deltas = self.batches.survey.deltas
        with denormalised(self.model, deltas):
            save_weights(self.run / WEIGHTS_FILE, self.model, self._header())
        state = {
            "iteration": self.iteration,
            "validated": self.validated,
            "best": self.best,
            "images": self.batches.digest,
            "classes": list(self.header.classes),
            "pixels": [self.header.pixels.mean, self.header.pixels.std],
            "provenance": self.header.provenance,
            "ranks": self.header.ranks,
            "deltas": torch.from_numpy(np.stack([deltas.mean, deltas.std])),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        write_atomically(self.run / STATE_FILE, lambda part: torch.save(state, part))
        if log is not None:
            log.draw()

    def _header(self, more: dict[str, object] | None = None) -> WeightsHeader:
        history = {"iterations": self.iteration, "settings": asdict(self.config), **(more or {})}
        return replace(self.header, provenance={**self.header.provenance, **history})

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state that `read_state` gave.

        Raises:
            DataError: it is not of this data, these proposals and this network.
            ConfigError: the run has done more iterations than are asked for.
        """
        if state["iteration"] > self.config.iterations:
            raise ConfigError(
                f"the run has done {state['iteration']:,} iterations already",
                "give --iterations a larger number, or leave it out",
            )
        deltas = self.batches.survey.deltas
        same_targets = np.array_equal(state["deltas"].numpy(), np.stack([deltas.mean, deltas.std]))
        same_images = state["images"] == self.batches.digest
        same_classes = state["classes"] == list(self.header.classes)
        if not (same_images and same_classes and same_targets):
            raise DataError(
                "the data set or its proposals have changed since the run began", RESUME_HINT
            )
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError, KeyError) as error:
            message = f"the state is of another network: {reason(error)}"
            raise DataError(message, RESUME_HINT) from None
        self.iteration, self.best = state["iteration"], state["best"]
        self.validated = state["validated"]
