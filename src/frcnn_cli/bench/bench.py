"""The benchmark from one call: `bench`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import BenchConfig
from ..models.backbones import backbone_spec
from ..proposers.cache import ProposalSource
from ..proposers.registry import selective_search
from ..runtime.device import pick_device, pick_precision
from ..runtime.progress import Progress, silent
from ..settings import check
from .detection import DetectionTime, time_detection
from .methods import LEVERS, METHODS, PAPER_SPEEDUPS, make_detector
from .photographs import photographs
from .training import WAYS, TrainingTime, time_training

BASE = "rcnn"  # what the others are compared with


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The times of all methods, by the keys of METHODS and WAYS."""

    config: BenchConfig
    images: tuple[str, ...]
    proposals: float  # mean number of regions of an image
    device: str
    auto_precision: str  # what precision auto is on this machine
    detection: dict[str, DetectionTime]
    training: dict[str, TrainingTime]  # empty where it was not measured

    def speedup(self, name: str) -> float:
        """How many times faster than R-CNN a method detects."""
        return self.detection[BASE].seconds / self.detection[name].seconds

    def flop_ratio(self, name: str) -> float:
        """The speed-up over R-CNN at the same floating-point operations a second."""
        return self.detection[BASE].flops / self.detection[name].flops

    def paper(self, name: str) -> float | None:
        """The speed-up over R-CNN in the paper's Table 4, for the network in this one's place."""
        return PAPER_SPEEDUPS.get(self.config.backbone, {}).get(name)

    def lever(self, name: str) -> float:
        """How many times faster a step of LEVERS makes detection."""
        before, after = LEVERS[name]
        return self.detection[before].seconds / self.detection[after].seconds

    def training_speedup(self, name: str) -> float:
        """How many times faster than R-CNN's a batch of training is."""
        return self.training[BASE].seconds / self.training[name].seconds

    def as_json(self) -> dict[str, Any]:
        """Everything as numbers and texts."""
        return {
            "backbone": self.config.backbone,
            "precision": self.config.precision,
            "auto_precision": self.auto_precision,
            "device": self.device,
            "images": list(self.images),
            "proposals": self.proposals,
            "detection": {
                name: {
                    "title": METHODS[name].title,
                    "seconds": time.seconds,
                    "extrapolated": time.extrapolated,
                    "stages": time.stages,
                    "flops": time.flops,
                    "speedup": self.speedup(name),
                    "flop_ratio": self.flop_ratio(name),
                    "paper_speedup": self.paper(name),
                }
                for name, time in self.detection.items()
            },
            "levers": {name: self.lever(name) for name in LEVERS},
            "training": {
                name: {
                    "title": WAYS[name].title,
                    "seconds": time.seconds,
                    "extrapolated": time.extrapolated,
                    "speedup": self.training_speedup(name),
                }
                for name, time in self.training.items()
            },
        }


def bench(config: BenchConfig, cache: Path, progress: Progress = silent) -> Bench:
    """Measure all methods on the same photographs, proposals and backbone.

    The weights are random: the time does not depend on them.

    Args:
        cache: folder of proposals; nothing is written there.
        progress: shows the progress.
    Raises:
        ConfigError: a setting is out of range, no such backbone, or scikit-image is missing.
    """
    check(config)
    backbone_spec(config.backbone)  # raises an error if there is none
    device = pick_device(config.device)
    with progress("proposing", 1, "times") as advance:
        pictures = photographs(config.images, config.max_proposals)
        advance("")
    source = ProposalSource(selective_search(), cache)
    detectors = {
        name: make_detector(method, config.backbone, source, config.precision, config.device)
        for name, method in METHODS.items()
    }
    passes = (len(pictures) * config.repeats + 1) * len(METHODS)
    with progress("detecting", passes, "passes") as advance:
        detection = time_detection(
            detectors,
            pictures,
            regions=config.regions,
            repeats=config.repeats,
            on_pass=advance,
        )
    del detectors
    training = {}
    if config.training:
        with progress("training", len(WAYS), "batches") as advance:
            training = time_training(
                config.backbone,
                pictures,
                config.precision,
                config.device,
                on_way=lambda: advance(""),
            )
    return Bench(
        config=config,
        images=tuple(picture.name for picture in pictures),
        proposals=sum(len(picture.boxes) for picture in pictures) / len(pictures),
        device=str(device),
        auto_precision=str(pick_precision("auto", device)).removeprefix("torch."),
        detection=detection,
        training=training,
    )
