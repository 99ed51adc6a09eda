"""What the phases of the GPU benchmark run on: a device, data, initial weights, and their sizes."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from frcnn_cli.checkpoints.pretrained import RANDOM
from frcnn_cli.config import TrainConfig, TrainRuntimeConfig
from frcnn_cli.data.dataset import Dataset
from frcnn_cli.data.registry import open_dataset
from frcnn_cli.proposers.cache import ProposalSource
from frcnn_cli.proposers.registry import selective_search
from frcnn_cli.recipes import recipe
from frcnn_cli.training.initialisation import Initialisation
from frcnn_cli.training.learner import Learner
from frcnn_cli.training.setup import set_up


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The choices of the command line."""

    device: torch.device
    data: Path | None  # VOCdevkit, or any folder that `open_dataset` reads
    init: Path | None  # ImageNet weights of VGG16; None: random ones
    weights: str  # detector whose detections and mAP are checked
    out: Path
    work: Path  # proposals and runs
    tiny: bool  # so small that a CPU finishes in minutes
    iterations: int  # of each timed training
    images: int  # of val, that are detected in
    light_backbone: str = "squeezenet1_1"  # for checks that need no VGG16

    @property
    def backbone(self) -> str:
        """The network whose training and detection are timed."""
        return self.light_backbone if self.tiny else "vgg16"

    def source(self) -> ProposalSource:
        """Selective search, cached in the work folder."""
        return ProposalSource(selective_search(), self.work / "proposals")

    def dataset(self, split: str, count: int) -> Dataset:
        """The first images of a split."""
        assert self.data is not None
        if (self.data / "VOC2007").is_dir():
            return open_dataset("voc2007", self.data, split).limited(count)
        return open_dataset(str(self.data), None, split).limited(count)

    def learner(
        self, device: str, precision: str, *, compiled: bool = False, **changes: object
    ) -> Learner:
        """The paper's training of 100 images, with some settings changed."""
        config: TrainConfig = replace(recipe("paper"), backbone=self.backbone)
        if self.tiny:
            config = replace(config, scales=(128,), max_size=213)
        init = self.init if changes.get("backbone", self.backbone) == "vgg16" else None
        return set_up(
            replace(config, **changes),  # type: ignore[arg-type]
            self.dataset("train", 8 if self.tiny else 100),
            self.source(),
            initialisation=Initialisation(imagenet_weights=init or RANDOM),
            runtime=TrainRuntimeConfig(device=device, precision=precision, compiled=compiled),  # type: ignore[arg-type]
            threads=threads(),
        )


def threads() -> int:
    """The number of cores."""
    return os.cpu_count() or 1


def unpack(archives: Sequence[Path], folder: Path) -> int:
    """Unpack archives of a data set that came in pieces; returns how many were new."""
    folder.mkdir(parents=True, exist_ok=True)
    new = 0
    for archive in archives:
        done = folder / f".{archive.name}.unpacked"
        if done.exists():
            continue
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        done.touch()
        new += 1
    return new
