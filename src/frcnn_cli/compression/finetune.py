"""Training a compressed network further, as an ordinary training run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from ..checkpoints.weights import WeightsHeader, load_weights
from ..config import TrainConfig, TrainRuntimeConfig
from ..data.registry import absolute_name, open_dataset
from ..models.region_network import RegionNetwork
from ..proposers.cache import ProposalSource
from ..recipes import DETECTOR_SETTINGS, FINETUNE_LR, RECIPES
from ..runtime.progress import Progress
from ..training.initialisation import Initialisation
from ..training.train import DEFAULT_FOLDER, train
from .calibration_data import TRAIN_SPLITS

RUNS = DEFAULT_FOLDER.parent
RECIPE = "modern"


def finetune_network(
    network: RegionNetwork,
    header: WeightsHeader,
    *,
    iterations: int,
    dataset_name: str,
    data: Path | None,
    proposals: ProposalSource,
    run_name: str,
    device: str,
    workers: int,
    progress: Progress,
    on_message: Callable[[str], None],
) -> tuple[RegionNetwork, WeightsHeader]:
    """Train a compressed network in a new run folder, which `frcnn train --resume` can continue.

    Args:
        dataset_name, data: see `open_dataset`.
        run_name: name of the folder in RUNS.
        device: auto, cpu, cuda or cuda:N. workers: threads that collect the data's statistics.
        on_message: called with a line for each download.
    Returns:
        The trained network, in evaluation mode, and its header.
    Raises:
        InterruptedRun: the run was stopped; it can be resumed.
        DataError: the data set cannot be trained on.
    """
    share = header.val_share
    dataset = open_dataset(
        dataset_name, data, None, TRAIN_SPLITS, on_message, part="train", val_share=share
    )
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
            "recipe": RECIPE,
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
