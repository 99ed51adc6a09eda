"""Single-stage training (Fast R-CNN, section 2.3).

Everything random is a function of the seed and the iteration, so a run that is resumed goes on
exactly as it would have (on the CPU, with as many threads).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..config import TrainConfig
from ..data.batching import DeltaStatistics, PixelStatistics
from ..data.dataset import Dataset
from ..errors import DataError, FrcnnError, reason
from ..models.backbones import backbone
from ..models.fast_rcnn import FastRCNN, build, freeze
from ..models.losses import fast_rcnn_loss
from ..proposers.cache import ProposalSource
from ..structures import Batch
from .batches import BatchMaker
from .checkpoint import WeightsHeader, make_low_rank, save_weights, write_atomically
from .device import pick_device
from .optim import learning_rate, make_optimizer
from .prefetch import prefetch
from .pretrained import start_from_imagenet
from .runs import MetricsLog, StopSignal
from .samples import survey

WEIGHTS_FILE = "last.safetensors"
STATE_FILE = "state.pt"
STATE_KEYS = {"iteration", "classes", "pixels", "init", "ranks", "deltas", "model", "optimizer"}
RESUME_HINT = "start again without --resume"
CHECKPOINT_SECONDS = 300


@dataclass(frozen=True)
class Step:
    """One finished iteration."""

    iteration: int  # counted from 1
    cls: float
    loc: float
    lr: float
    seconds: float


class InterruptedRun(Exception):  # noqa: N818 - a request, not an error
    """The run was asked to stop, and did, with a checkpoint."""


class Trainer:
    """A training run; `run` is its folder.

    Weights in the folder predict true deltas: the normalisation of the targets is folded into
    bbox_pred. The training state keeps the layer as it is trained.
    """

    def __init__(
        self,
        model: FastRCNN,
        batches: BatchMaker,
        header: WeightsHeader,
        device: torch.device,
    ) -> None:
        self.model = model.to(device).to(memory_format=torch.channels_last).train()
        self.batches, self.header, self.device = batches, header, device
        self.run = Path()
        self.config = batches.config
        freeze(self.model, backbone(self.config.backbone).frozen)
        self.optimizer = make_optimizer(self.model, self.config)
        self.iteration = 0

    def steps(self) -> Iterator[Step]:
        """Train to the end, yielding each iteration; checkpoints on the way and at the end.

        Raises:
            InterruptedRun: SIGINT or SIGTERM came; the checkpoint holds everything up to it.
            FrcnnError: the loss is not finite; the images are named.
        """
        stop = StopSignal()
        saved = time.monotonic()
        ahead = prefetch(self.batches, range(self.iteration, self.config.iterations), workers=1)
        with stop, MetricsLog(self.run, self.iteration) as log, closing(ahead):
            for iteration, future in ahead:
                start = time.monotonic()
                step = self._step(iteration, future.result(), start)
                self.iteration = iteration + 1
                log.write(step.iteration, step.cls, step.loc, step.lr, step.seconds)
                yield step
                if stop.asked or time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self.save()
                    saved = time.monotonic()
                if stop.asked:
                    raise InterruptedRun
            self.save()

    def _step(self, iteration: int, batch: Batch, start: float) -> Step:
        config = self.config
        torch.manual_seed(config.seed * 1_000_003 + iteration)  # dropout
        lr = learning_rate(config, iteration)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["factor"]
        assert batch.targets is not None
        images = batch.images.to(self.device, memory_format=torch.channels_last)
        output = self.model(images, batch.rois.to(self.device))
        targets = replace(
            batch.targets,
            labels=batch.targets.labels.to(self.device),
            deltas=batch.targets.deltas.to(self.device),
        )
        losses = fast_rcnn_loss(output, targets)
        cls, loc = float(losses.cls.detach()), float(losses.loc.detach())
        if not np.isfinite(cls + loc):
            raise FrcnnError(
                f"the loss is not finite in iteration {iteration + 1}, images "
                f"{', '.join(self.batches.names(iteration))}",
                "try a smaller --lr; an earlier checkpoint in the run's folder is intact",
            )
        self.optimizer.zero_grad(set_to_none=False)
        torch.autograd.backward(losses.total)
        self.optimizer.step()
        return Step(iteration + 1, cls, loc, lr, time.monotonic() - start)

    def save(self) -> None:
        """Write the training state, then the weights, each whole or not at all."""
        deltas = self.batches.survey.deltas
        state = {
            "iteration": self.iteration,
            "classes": list(self.header.classes),
            "pixels": [self.header.pixel_mean, self.header.pixel_std],
            "init": self.header.provenance["init"],
            "ranks": self.header.ranks,
            "deltas": torch.from_numpy(np.stack([deltas.mean, deltas.std])),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        write_atomically(self.run / STATE_FILE, lambda part: torch.save(state, part))
        with folded(self.model, deltas):
            save_weights(self.run / WEIGHTS_FILE, self.model, self._header())

    def _header(self) -> WeightsHeader:
        history = {"iterations": self.iteration, "settings": asdict(self.config)}
        return replace(self.header, provenance={**self.header.provenance, **history})

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state that `read_state` gave.

        Raises:
            DataError: it is not of this data, these proposals and this network.
        """
        deltas = self.batches.survey.deltas
        same_targets = np.array_equal(state["deltas"].numpy(), np.stack([deltas.mean, deltas.std]))
        if state["classes"] != list(self.header.classes) or not same_targets:
            raise DataError(
                "the data set or its proposals have changed since the run began", RESUME_HINT
            )
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError, KeyError) as error:
            message = f"the state is of another network: {reason(error)}"
            raise DataError(message, RESUME_HINT) from None
        self.iteration = state["iteration"]


def read_state(run: Path) -> dict[str, Any]:
    """The training state in a run's folder; nothing in it is executed.

    Raises:
        DataError: there is none, or it is damaged.
    """
    path = run / STATE_FILE
    if not path.is_file():
        raise DataError(f"no training state {path}", RESUME_HINT)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds
        raise DataError(f"{path} cannot be resumed: {reason(error)}", RESUME_HINT) from None
    if not isinstance(state, dict) or not state.keys() >= STATE_KEYS:
        raise DataError(f"{path} is not a training state", RESUME_HINT)
    return state


def prepare(
    dataset: Dataset,
    source: ProposalSource,
    config: TrainConfig,
    init: Path | None,
    pixels: str | None,
    state: dict[str, Any] | None,
    start: tuple[FastRCNN, WeightsHeader] | None,
    device: str,
    workers: int,
    on_image: Callable[[], None],
) -> tuple[Trainer, list[str]]:
    """Everything before the first step: the network, its weights, the survey of the data.

    Args:
        init, pixels: see `start_from_imagenet`. state: of a run to resume, start: a detector to
            train further, for the classes of the data set; these two need neither.
        device: see `pick_device`.
        workers: threads for the survey. on_image: called after each image of it.
    Returns:
        The trainer, and lines that say what it is about to do.
    """
    torch.manual_seed(config.seed)
    place = pick_device(device)
    history: dict[str, object] = {}
    ranks: dict[str, int] = {}
    fresh = False  # fc6 starts from random
    if start is not None:
        model, given = start
        statistics = PixelStatistics(given.pixel_mean, given.pixel_std)
        earlier = dict(given.provenance)
        history = {"compression": earlier.pop("compression", None), "trained_from": earlier}
        ranks = given.ranks
        origin = "a trained detector"
    else:
        model = build(config.backbone, len(dataset.classes))
        if state is None:
            statistics, filled, origin = start_from_imagenet(model, config.backbone, init, pixels)
            fresh = "fc6" not in filled
        else:
            mean, std = state["pixels"]
            statistics, origin = PixelStatistics(tuple(mean), tuple(std)), state["init"]
            ranks = state["ranks"]
            make_low_rank(model, ranks)
    background = (config.bg_low, config.bg_high)
    facts = survey(
        dataset, source, config.max_proposals, config.fg_threshold, background, workers, on_image
    )
    header = WeightsHeader(
        config.backbone,
        dataset.classes,
        statistics.mean,
        statistics.std,
        config.scale,
        config.max_size,
        ranks,
        provenance={
            **history,
            "data": f"{dataset.name} {dataset.split}, {len(facts.usable)} images",
            "init": origin,
            "proposals": source.method.digest,
        },
    )
    batches = BatchMaker(dataset, source, facts, statistics, config)
    if fresh:
        model.fit_feature_scale(batches(0).images)
    if start is not None:
        unfold(model, facts.deltas)
    trainer = Trainer(model, batches, header, place)
    if state is not None:
        trainer.restore(state)
    count = {True: 0, False: 0}
    for parameter in trainer.model.parameters():
        count[parameter.requires_grad] += parameter.numel()
    return trainer, [
        f"{dataset.name} {dataset.split}: {len(facts.usable)} of {len(dataset)} images usable, "
        f"{facts.objects} objects of {len(dataset.classes)} classes",
        f"proposals cover {facts.recall:.1%} of the objects at IoU {config.fg_threshold}, "
        f"{facts.foreground:.0f} foreground RoIs an image",
        f"{config.backbone}: {origin}; {count[True] / 1e6:.1f} M parameters trained, "
        f"{count[False] / 1e6:.2f} M frozen; on {place}",
    ]


@torch.no_grad()
def unfold(model: FastRCNN, deltas: DeltaStatistics) -> None:
    """Make a bbox_pred that predicts true deltas predict normalised ones."""
    layer = model.bbox_pred
    mean, std = (torch.from_numpy(each.reshape(-1)) for each in (deltas.mean, deltas.std))
    layer.weight.div_(std[:, None])
    layer.bias.sub_(mean).div_(std)


@contextmanager
def folded(model: FastRCNN, deltas: DeltaStatistics) -> Iterator[None]:
    """Within the block, bbox_pred predicts true deltas instead of normalised ones."""
    layer = model.bbox_pred
    mean = torch.from_numpy(deltas.mean.reshape(-1)).to(layer.weight.device)
    std = torch.from_numpy(deltas.std.reshape(-1)).to(layer.weight.device)
    before = copy.deepcopy(layer.state_dict())
    with torch.no_grad():
        layer.weight.mul_(std[:, None])
        layer.bias.mul_(std).add_(mean)
    try:
        yield
    finally:
        layer.load_state_dict(before)  # the very bits: resuming must not drift
