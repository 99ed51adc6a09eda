"""Preparing a run: the network, the statistics of the data and the batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..checkpoints.weights import IMAGE_SKETCH, VAL_SHARE_KEY, WeightsHeader
from ..config import TrainConfig, TrainRuntimeConfig
from ..data.dataset import Dataset
from ..data.transforms import Normalizer
from ..errors import ConfigError, DataError
from ..models.region_network import RegionNetwork
from ..proposers.cache import ProposalSource
from ..proposers.registry import FILE
from ..settings import check
from .batches import BatchMaker
from .distributed import World
from .initialisation import Initialisation, classes_to_train, initial_network
from .learner import Learner, pick_hardware
from .state import restore
from .statistics import DatasetStatistics, compute_statistics
from .target_normalization import normalise_predictor

MIN_RECALL = 0.5  # at IoU 0.5; proposals that cover less of the objects must be wrong
PAPER_SCALE = TrainConfig().scales[0]  # pixels


def set_up(
    config: TrainConfig,
    dataset: Dataset,
    source: ProposalSource,
    *,
    initialisation: Initialisation | None = None,
    state: dict[str, Any] | None = None,
    runtime: TrainRuntimeConfig,
    world: World | None = None,
    threads: int,
    on_image: Callable[[], None] = lambda: None,
) -> Learner:
    """Make everything that the first step of a run needs, or the next step of a resumed run.

    Args:
        dataset: relabelled with the classes of the detector or run that is trained further.
        initialisation: weights of a new run; None for torchvision's ImageNet weights.
        state: of the run to resume, from `read_state`; None for a new run.
        world: the processes that train together; None for this one alone.
        threads: that read the images for the statistics. on_image: called after each image.
    Raises:
        ConfigError: settings are out of range or do not go together.
        DataError: the proposals cover too few of the objects, or see `restore`.
    """
    check(config)
    world, initialisation = world or World(), initialisation or Initialisation()
    slots = world.slots(config.images_per_batch)
    dataset = dataset.with_classes(classes_to_train(dataset.classes, initialisation, state))
    dataset = dataset.without_difficult() if config.difficult else dataset
    torch.manual_seed(config.seed)
    start = initial_network(config, dataset.classes, initialisation, state)
    network = start.network
    lowest = network.layer_names()[0] if start.random_backbone else None
    network.freeze_before(config.train_from or lowest)
    check_runtime(network, runtime, world)  # before the statistics, which may take long
    statistics = compute_statistics(
        dataset,
        source,
        max_proposals=config.max_proposals,
        fg_threshold=config.fg_threshold,
        bg_thresholds=(config.bg_low, config.bg_high),
        class_agnostic=start.detector_spec.class_agnostic,
        ends_are_inside=network.ends_are_inside,
        threads=threads,
        on_image=on_image,
    )
    check_recall(statistics, dataset, source)
    header = WeightsHeader(
        backbone=config.backbone,
        classes=dataset.classes,
        pixels=start.pixels,
        scale=detection_scale(config.scales),
        max_size=config.max_size,
        detector=start.detector,
        region_operator=start.detector_spec.region_operator,
        score_function=start.detector_spec.score_function,
        warp=start.detector_spec.warp,
        class_agnostic=start.detector_spec.class_agnostic,
        geometry=start.detector_spec.geometry,
        ranks=dict(start.ranks),
        provenance={
            **start.history,
            "data": f"{dataset.name} {dataset.split}, {len(statistics.usable)} images",
            "init": start.description,
            "proposals": source.method.digest,
            IMAGE_SKETCH: statistics.content.to_json(),
            **({} if dataset.val_share is None else {VAL_SHARE_KEY: dataset.val_share}),
        },
    )

    def batch_maker(slots: range) -> BatchMaker:
        return BatchMaker(
            dataset, source, statistics, pixels=start.pixels, config=config, slots=slots
        )

    if start.random_head:  # from the whole batch, so that all processes choose the same scale
        first = batch_maker(range(config.images_per_batch))(0)
        normalize = Normalizer(start.pixels, network.device)
        network.fit_feature_scale(normalize(first.images, first.sizes))
    if start.is_finished:
        normalise_predictor(network, statistics.deltas)
    learner = Learner(
        network,
        batch_maker(slots),
        header,
        runtime=runtime,
        world=world,
        batch_workers=pick_batch_workers(runtime, threads),
    )
    if state is not None:
        restore(learner, state)
    return learner


def check_runtime(network: RegionNetwork, runtime: TrainRuntimeConfig, world: World) -> None:
    """Refuse settings of the machine that do not go together.

    Args:
        network: with its frozen layers.
    Raises:
        ConfigError: names the flags.
    """
    pick_hardware(runtime)
    frozen, _ = network.split_features()
    if runtime.cache_features and (world.size > 1 or not len(frozen)):
        raise ConfigError(
            "--cache-features needs convolutions of the whole image that are not trained, and one "
            "process",
            "add --train-from fc6, and leave out a --detector that warps regions",
        )
    if runtime.cache_features and runtime.compiled:
        raise ConfigError("--compile and --cache-features exclude each other", "leave one out")


def check_recall(statistics: DatasetStatistics, dataset: Dataset, source: ProposalSource) -> None:
    """Refuse proposals that cover so few of the objects that they must be wrong.

    Raises:
        DataError: they cover fewer than MIN_RECALL.
    """
    recall = statistics.recall[0.5]
    if recall >= MIN_RECALL:
        return
    message = f"the proposals cover {recall:.0%} of the objects at IoU 0.5: too few to train with"
    shrunken = describe_shrunken_objects(dataset, source)
    if shrunken is not None:
        raise DataError(
            f"{message}; {shrunken}",
            "cut the images into tiles in which objects are larger, or import boxes: --proposals "
            "FILE",
        )
    if source.method.name == FILE:
        hint = "usually imported boxes have a wrong order of columns, base (0 or 1) or scale: "
    else:
        hint = "usually annotations belong to other images, or to these at another size: "
    raise DataError(message, f"{hint}look at them with frcnn propose --show")


def describe_shrunken_objects(dataset: Dataset, source: ProposalSource) -> str | None:
    """What objects shrink to in the search, if most are then smaller than any box it proposes.

    Returns:
        None where most objects are large enough, or the method does not scale images.
    """
    longest, least = (source.method.settings.get(key) for key in ("max_side", "min_box_side"))
    if not isinstance(longest, int) or not isinstance(least, int):
        return None
    sides: list[NDArray[np.float64]] = []
    for index, truth in enumerate(dataset.ground_truths()):
        ratio = min(1.0, longest / max(dataset.size(index)))
        sides.append((truth.boxes[:, 2:] - truth.boxes[:, :2]).max(axis=1, initial=0) * ratio)
    shrunken = np.concatenate(sides)
    fraction = float((shrunken < least).mean()) if len(shrunken) else 0.0
    if fraction < 0.5:
        return None
    return (
        f"the search scales images to {longest} pixels, where {fraction:.0%} of the objects "
        f"(a median of {np.median(shrunken):.2g} pixels) are under its least side of {least}"
    )


def pick_batch_workers(runtime: TrainRuntimeConfig, threads: int) -> int:
    """The number of processes that make batches.

    With a GPU all cores but two, which are for the process that trains and for copying; on the CPU
    one, since training needs the cores.
    """
    if runtime.workers is not None:
        return runtime.workers
    device, _ = pick_hardware(runtime)
    return max(1, threads - 2) if device.type == "cuda" else 1


def detection_scale(scales: tuple[int, ...]) -> int:
    """The scale to detect at: the training scale nearest to the paper's 600 pixels."""
    return min(scales, key=lambda scale: abs(scale - PAPER_SCALE))


def describe_run(learner: Learner) -> list[str]:
    """Lines of text that say what a run is about to do."""
    batches, config = learner.batches, learner.config
    dataset, statistics = batches.dataset, batches.statistics
    counts = {True: 0, False: 0}  # parameters that are trained, and others
    for parameter in learner.network.parameters():
        counts[parameter.requires_grad] += parameter.numel()
    objects = ", ".join(
        f"{name} {count}"
        for name, count in zip(dataset.classes, statistics.object_counts, strict=True)
    )
    recall = ", ".join(
        f"{fraction:.1%} at IoU {iou:g}" for iou, fraction in statistics.recall.items()
    )
    precision = "" if learner.precision == torch.float32 else " in bfloat16"
    processes = "" if learner.world.size == 1 else f", {learner.world.size} processes"
    epochs = config.iterations * config.images_per_batch / len(statistics.usable)
    left_out = len(dataset) - len(statistics.usable) if config.bg_low > 0 else 0
    note = (
        f"images without an object that a box overlaps: {left_out:,}, left out; --bg-low 0 trains "
        "on their background too"
    )
    return [
        f"{dataset.name} {dataset.split}: {len(statistics.usable)} of {len(dataset)} images "
        f"usable, {statistics.object_counts.sum()} objects: {objects}",
        *([note] if left_out else []),
        f"proposals cover {recall}; {statistics.foreground_per_image:.0f} foreground RoIs an image",
        f"{config.backbone}: {learner.header.provenance['init']}; {counts[True] / 1e6:.1f} M "
        f"parameters trained, {counts[False] / 1e6:.2f} M frozen; on {learner.device}{precision}"
        f"{processes}",
        f"{config.iterations:,} iterations of {config.images_per_batch} images and "
        f"{config.rois_per_batch} RoIs: every image {epochs:.1f} times",
    ]
