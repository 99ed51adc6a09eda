"""The recipes of training: whole sets of settings, by name."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from .config import TrainConfig
from .errors import unknown_name

# The settings that the shipped weights were trained with; docs/ablations.md has the measurements.
_MODERN = TrainConfig(
    iterations=6000,
    scales=(480,),
    max_size=800,
    optimizer="adamw",
    lr=2e-4,
    lr_schedule="cosine",
    warmup=0.05,
    weight_decay=0.01,
    dropout=0.0,
    bias_lr=1.0,
    backbone_lr=0.3,
    geometry="torch",
)

FINETUNE_LR = 1e-4  # of AdamW on the low-rank layers of a compressed network; half of modern's

AUTO = "auto"  # the paper's recipe for the data of the paper, else modern's in fitting length
RECIPES: dict[str, TrainConfig] = {AUTO: _MODERN, "paper": TrainConfig(), "modern": _MODERN}

_IN_STAGES: dict[str, Any] = {"classifier": "svm", "boxes": "ridge", "geometry": "torch"}

# Detector -> the settings in which its training differs from the recipe's.
DETECTOR_SETTINGS: dict[str, dict[str, Any]] = {
    # R-CNN 2.3: 32 positive and 96 background windows a batch, here of as many images as positive
    # ones; windows without any overlap are background too; VOC's images are not scaled
    "rcnn": {"images_per_batch": 32, "bg_low": 0.0, "scales": (375,), **_IN_STAGES},
    "sppnet": {"train_from": "fc6", **_IN_STAGES},  # paper 1.1: the convolutions stay frozen
}

# Data set -> its iterations, and the fractions of them after which the rate falls, where these
# differ from TrainConfig's (paper 5.3 and 5.6; the step for COCO is that of code).
SCHEDULES: dict[str, tuple[int, tuple[float, ...]]] = {
    "voc2007+voc2012": (60_000, (0.5,)),
    "coco": (240_000, (5 / 6,)),
}


_OF_THE_PAPER = re.compile(r"voc20\d\d|coco:.*instances_\w+20\d\d\.json")


def auto_iterations(images: int) -> int:
    """The iterations of recipe auto: 20 epochs of a few hundred images, 5 of thousands.

    The shipped networks were trained for 5 epochs of 2,500 images; a rule of thumb for others.
    """
    few, many = min(10 * images, _MODERN.iterations), round(2.4 * images)
    return min(max(few, many, 500), 240_000)


def is_papers(name: str, dataset: str) -> bool:
    """Whether a recipe is the paper's, or stands for it with this data set."""
    of_the_paper = all(map(_OF_THE_PAPER.fullmatch, dataset.split("+")))
    return name == "paper" or (name == AUTO and of_the_paper)


def recipe(
    name: str,
    dataset: str = "",
    detector: str = TrainConfig.detector,
    images: int | None = None,
) -> TrainConfig:
    """The settings of a recipe.

    Args:
        dataset: name of the training set; the paper's schedule depends on it (`SCHEDULES`), and
            so does recipe auto.
        detector: what is to be trained; see `DETECTOR_SETTINGS`.
        images: of the training set; the length of recipe auto depends on it.
    Raises:
        ConfigError: there is no recipe of that name.
    """
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES)
    name = "paper" if is_papers(name, dataset) else name
    own = DETECTOR_SETTINGS.get(detector, {})
    settings = replace(RECIPES[name], detector=detector, **own)
    if name == AUTO and images is not None:
        return replace(settings, iterations=auto_iterations(images))
    trained_on = "+".join(sorted(dataset.partition(":")[0].split("+")))
    if name == "paper" and trained_on in SCHEDULES:
        iterations, steps = SCHEDULES[trained_on]
        return replace(settings, iterations=iterations, lr_steps=steps)
    return settings
