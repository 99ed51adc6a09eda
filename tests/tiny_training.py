"""Small training runs of the backbone `tiny`."""

from __future__ import annotations

from pathlib import Path

import torch

from frcnn_cli.checkpoints.weights import load_weights
from frcnn_cli.config import TrainConfig, TrainRuntimeConfig
from frcnn_cli.data.dataset import Dataset
from frcnn_cli.proposers.cache import ProposalSource
from frcnn_cli.runtime.paths import WEIGHTS_FILE
from frcnn_cli.training.initialisation import Initialisation
from frcnn_cli.training.learner import Learner
from frcnn_cli.training.setup import set_up
from frcnn_cli.training.state import read_state
from frcnn_cli.training.trainer import Trainer, Validator
from tiny import NAME

CONFIG = TrainConfig(
    backbone=NAME, iterations=6, rois_per_batch=32, scales=(120,), max_size=200, lr=0.01, seed=5
)
RUNTIME = TrainRuntimeConfig(device="cpu", workers=0)


def make_learner(
    dataset: Dataset,
    source: ProposalSource,
    init: Path,
    config: TrainConfig = CONFIG,
    runtime: TrainRuntimeConfig = RUNTIME,
) -> Learner:
    start = Initialisation(imagenet_weights=init)
    return set_up(config, dataset, source, initialisation=start, runtime=runtime, threads=1)


def make_trainer(
    dataset: Dataset,
    source: ProposalSource,
    init: Path,
    folder: Path,
    config: TrainConfig = CONFIG,
    *,
    resume: bool = False,
    runtime: TrainRuntimeConfig = RUNTIME,
    validate: Validator | None = None,
) -> Trainer:
    state = read_state(folder) if resume else None
    learner = set_up(
        config,
        dataset,
        source,
        initialisation=Initialisation(imagenet_weights=init),
        state=state,
        runtime=runtime,
        threads=1,
    )
    folder.mkdir(exist_ok=True)
    return Trainer(learner, folder=folder, validate=validate, state=state)


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a run's last checkpoint."""
    return load_weights(folder / WEIGHTS_FILE)[0].state_dict()


def assert_same_weights(first: Path, second: Path) -> None:
    """Two runs have the same bits."""
    expected, got = tensors_of(first), tensors_of(second)
    assert expected.keys() == got.keys()
    for key, tensor in expected.items():
        assert torch.equal(tensor, got[key]), key
