"""What comes before the first step of training: the network, its weights, a survey of the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..checkpoints.pretrained import start_from_imagenet
from ..checkpoints.weights import WeightsHeader
from ..config import TrainConfig
from ..data.dataset import Dataset
from ..errors import ConfigError, DataError
from ..models.detectors import build_network
from ..models.low_rank import break_even_rank, random_pair
from ..models.region_network import RegionNetwork
from ..proposers.cache import ProposalSource
from ..structures import PixelStatistics
from .batches import BatchMaker
from .distributed import World
from .statistics import survey
from .target_normalization import normalise
from .trainer import Runtime, Trainer, ready

LOW_RECALL = 0.5  # of the proposals at IoU 0.5; with less something is wrong with them


@dataclass(frozen=True)
class Initialisation:
    """Where the weights of a run come from: one of a state, a detector, or ImageNet's."""

    init: Path | None = None  # see `start_from_imagenet`
    pixels: str | None = None
    state: dict[str, Any] | None = None  # of a run that is resumed
    detector: tuple[RegionNetwork, WeightsHeader] | None = (
        None  # to train further, with its classes
    )


def prepare(
    dataset: Dataset,
    source: ProposalSource,
    config: TrainConfig,
    origin: Initialisation,
    runtime: Runtime,
    workers: int,
    on_image: Callable[[], None],
    world: World | None = None,
) -> Trainer:
    """Everything before the first step: the network, its weights, the survey of the data.

    Args:
        workers: threads for the survey. on_image: called after each image of it.
    Raises:
        DataError: the proposals cover so few of the objects that something is wrong with them.
    """
    world = world or World()
    slots = world.share(config.images_per_batch)
    torch.manual_seed(config.seed)
    history: dict[str, object] = {}
    ranks: dict[str, int] = {}
    fresh = False  # fc6 starts from random
    if origin.detector is not None:
        model, given = origin.detector
        model.prefilter.clear()  # it stands for layers that are about to change
        pixels = given.pixels
        earlier = dict(given.provenance)
        history = {"compression": earlier.pop("compression", None), "trained_from": earlier}
        ranks = given.ranks
        told = "a trained detector"
    else:
        model = build_network(config.backbone, len(dataset.classes))
        if origin.state is None:
            pixels, filled, told = start_from_imagenet(model, origin.init, origin.pixels)
            fresh = "fc6" not in filled
            if config.rank is not None:
                ranks = _narrow(model, config.rank, filled)
                told += f"; {', '.join(ranks)} of rank {config.rank}"
        else:
            mean, std = origin.state["pixels"]
            pixels = PixelStatistics(tuple(mean), tuple(std))
            history, ranks = origin.state["provenance"], origin.state["ranks"]
            told = str(history["init"])
            model.set_ranks(ranks)
    ready(model, config, runtime, world)  # before the survey, which may take long
    background = (config.bg_low, config.bg_high)
    found = survey(
        dataset, source, config.max_proposals, config.fg_threshold, background, workers, on_image
    )
    if found.recall[0.5] < LOW_RECALL:
        raise DataError(
            f"the proposals cover {found.recall[0.5]:.0%} of the objects at IoU 0.5: too few to "
            "train with",
            "of imported boxes, the order of the columns, their base (0 or 1) or their scale is "
            "the usual cause: look at them with frcnn propose --show",
        )
    header = WeightsHeader(
        backbone=config.backbone,
        classes=dataset.classes,
        pixels=pixels,
        scale=nearest_scale(config.scales),
        max_size=config.max_size,
        ranks=ranks,
        provenance={
            **history,
            "data": f"{dataset.name} {dataset.split}, {len(found.usable)} images",
            "init": told,
            "proposals": source.method.digest,
        },
    )
    batches = BatchMaker(dataset, source, found, pixels, config, slots)
    if fresh:
        whole = BatchMaker(dataset, source, found, pixels, config, range(config.images_per_batch))
        model.fit_feature_scale(whole(0).images)
    if origin.detector is not None:
        normalise(model, found.deltas)
    trainer = Trainer(model, batches, header, runtime, world)
    if origin.state is not None:
        trainer.restore(origin.state)
    return trainer


def _narrow(model: RegionNetwork, rank: int, filled: Sequence[str]) -> dict[str, int]:
    """Give the fully connected layers this rank, where it saves weights; their ranks.

    Raises:
        ConfigError: a layer is not random, or the rank saves nothing.
    """
    if filled:
        raise ConfigError(
            f"--rank is for layers that start from random; {', '.join(filled)} came with the "
            "initial weights",
            "train them whole, then frcnn compress --finetune",
        )
    pairs = {
        name: random_pair(layer, rank)
        for name, layer in model.compressible_layers().items()
        if rank < break_even_rank(layer)
    }
    model.fc_layers.update(pairs)
    if not pairs:
        raise ConfigError(f"--rank {rank} saves nothing in any layer", "give a lower one")
    return dict.fromkeys(pairs, rank)


def nearest_scale(scales: tuple[int, ...]) -> int:
    """The scale to detect at: of several, the one nearest to the paper's 600 pixels."""
    return min(scales, key=lambda scale: abs(scale - TrainConfig().scales[0]))


def facts(trainer: Trainer) -> list[str]:
    """Lines that say what a run is about to do."""
    batches, header = trainer.batches, trainer.header
    data, found, config = batches.dataset, batches.survey, trainer.config
    count = {True: 0, False: 0}
    for parameter in trainer.model.parameters():
        count[parameter.requires_grad] += parameter.numel()
    objects = ", ".join(
        f"{name} {number}" for name, number in zip(data.classes, found.objects, strict=True)
    )
    recall = ", ".join(f"{share:.1%} at IoU {iou:g}" for iou, share in found.recall.items())
    half = "" if trainer.precision == torch.float32 else " in bfloat16"
    processes = "" if trainer.world.size == 1 else f", {trainer.world.size} processes"
    epochs = config.iterations * config.images_per_batch / len(found.usable)
    return [
        f"{data.name} {data.split}: {len(found.usable)} of {len(data)} images usable, "
        f"{found.objects.sum()} objects: {objects}",
        f"proposals cover {recall}; {found.foreground:.0f} foreground RoIs an image",
        f"{config.backbone}: {header.provenance['init']}; {count[True] / 1e6:.1f} M parameters "
        f"trained, {count[False] / 1e6:.2f} M frozen; on {trainer.device}{half}{processes}",
        f"{config.iterations:,} iterations of {config.images_per_batch} images and "
        f"{config.rois_per_batch} RoIs: every image {epochs:.1f} times",
    ]
