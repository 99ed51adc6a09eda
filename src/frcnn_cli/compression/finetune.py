"""Training a compressed network further, as an ordinary training run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from ..checkpoints.weights import WeightsHeader, load_weights
from ..config import TrainConfig, TrainRuntimeConfig
from ..data.dataset import Dataset, match_classes
from ..data.registry import absolute_name, open_dataset
from ..errors import ConfigError, short_list
from ..models.region_network import RegionNetwork
from ..proposers.cache import ProposalSource
from ..proposers.registry import name_of
from ..recipes import DETECTOR_SETTINGS, FINETUNE_LR, RECIPES
from ..runtime.progress import Progress
from ..training.initialisation import Initialisation, check_trainable
from ..training.train import DEFAULT_FOLDER, train
from .calibration_data import TRAIN_SPLITS

RUNS = DEFAULT_FOLDER.parent
RECIPE = "modern"


def open_training_data(
    header: WeightsHeader,
    name: str,
    data: Path | None,
    renamed: Mapping[str, str],
    on_message: Callable[[str], None],
) -> Dataset:
    """The images on which a network of `header` can be trained further.

    Args:
        name, data: see `open_dataset`. renamed: class of the data set -> its name in the network.
        on_message: called with a line for each download.
    Raises:
        ConfigError: the data set has classes that the network lacks, or see `check_trainable`.
        DataError: see `open_dataset`.
    """
    check_trainable(header)
    dataset = open_dataset(
        name, data, None, TRAIN_SPLITS, on_message, part="train", val_share=header.val_share
    ).renamed(renamed)
    unknown = match_classes(dataset.classes, header.classes).unmatched
    if unknown:
        raise ConfigError(
            f"--finetune: {dataset.name} has classes that the weights lack: {short_list(unknown)}",
            "rename them with --map, or train them first: frcnn train --weights",
        )
    return dataset


def finetune_network(
    network: RegionNetwork,
    header: WeightsHeader,
    *,
    iterations: int,
    dataset: Dataset,
    dataset_name: str,
    data: Path | None,
    renamed: Mapping[str, str],
    proposals: ProposalSource,
    run_name: str,
    device: str,
    workers: int,
    progress: Progress,
    on_message: Callable[[str], None],
) -> tuple[RegionNetwork, WeightsHeader]:
    """Train a compressed network in a new run folder, which `frcnn train --resume` can continue.

    Args:
        dataset: from `open_training_data`, with dataset_name, data and renamed.
        run_name: name of the folder in RUNS.
        device: auto, cpu, cuda or cuda:N. workers: threads that collect the data's statistics.
        on_message: called with a line for each download.
    Returns:
        The trained network, in evaluation mode, and its header.
    Raises:
        InterruptedRun: the run was stopped; it can be resumed.
        DataError: the data set cannot be trained on.
    """
    config = _train_config(header, iterations)
    result = train(
        config,
        dataset,
        folder=RUNS / run_name,
        initialisation=Initialisation(detector=(network, header)),
        proposals=proposals,
        runtime=TrainRuntimeConfig(device=device),
        threads=workers,
        settings={
            "dataset": absolute_name(dataset_name),
            "data": data and data.resolve(),
            "split": dataset.split,
            "val_share": dataset.val_share,
            "renamed": [f"{old}={new}" for old, new in renamed.items()] or None,
            "recipe": RECIPE,
            "proposals": name_of(proposals.method),
            **asdict(config),  # all, since a resumed run has the detector's settings otherwise
        },
        progress=progress,
        on_message=on_message,
    )
    assert result is not None
    return load_weights(result.weights)


def _train_config(header: WeightsHeader, iterations: int) -> TrainConfig:
    return replace(
        RECIPES[RECIPE],
        detector=header.detector,
        backbone=header.backbone,
        geometry=header.geometry,
        class_agnostic=header.class_agnostic,
        train_from=DETECTOR_SETTINGS.get(header.detector, {}).get("train_from"),
        iterations=iterations,
        lr=FINETUNE_LR,
        dropout=TrainConfig.dropout,  # with which docs/compression.md was measured
        scales=(header.scale,),
        max_size=header.max_size,
    )
