"""The time that a batch of 128 RoIs takes in training, in the ways of the lecture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from ..checkpoints.pretrained import RANDOM
from ..config import Precision, TrainConfig, TrainRuntimeConfig
from ..data.annotation import Annotation
from ..data.dataset import Dataset
from ..models.backbones import backbone_spec
from ..proposers.cache import ProposalSource
from ..proposers.registry import selective_search
from ..training.initialisation import Initialisation
from ..training.setup import set_up
from .methods import MAX_SIZE, SCALE
from .photographs import Photograph

ROIS = 128  # of a batch
OBJECTS = 8  # of a photograph: its best proposals, since it has no annotation


@dataclass(frozen=True, kw_only=True)
class TrainingWay:
    """How a batch is made, and the part of it that is measured."""

    title: str
    detector: str
    images: int  # of a whole batch
    measured_images: int
    measured_rois: int
    train_from: str | None = None  # None: the backbone's

    @property
    def factor(self) -> float:
        """The whole batch over what is measured of it."""
        return ROIS / self.measured_rois


WAYS: dict[str, TrainingWay] = {
    "rcnn": TrainingWay(
        title="R-CNN, 128 warped regions",
        detector="rcnn",
        images=32,
        measured_images=2,
        measured_rois=16,
    ),
    "one_roi": TrainingWay(
        title="Fast R-CNN, 128 images × 1 RoI",
        detector="fast_rcnn",
        images=128,
        measured_images=2,
        measured_rois=2,
    ),
    "sppnet": TrainingWay(
        title="SPPnet, 2 images × 64, from fc6",
        detector="sppnet",
        images=2,
        measured_images=2,
        measured_rois=128,
        train_from="fc6",
    ),
    "fast_rcnn": TrainingWay(
        title="Fast R-CNN, 2 images × 64 RoIs",
        detector="fast_rcnn",
        images=2,
        measured_images=2,
        measured_rois=128,
    ),
}


@dataclass(frozen=True)
class TrainingTime:
    """Forward and backward pass of a batch of ROIS RoIs."""

    seconds: float
    extrapolated: bool


def time_training(
    backbone: str,
    pictures: Sequence[Photograph],
    precision: Precision,
    device: str,
    on_way: Callable[[], None] = lambda: None,
) -> dict[str, TrainingTime]:
    """Time a batch of every way of WAYS, with the functions of `frcnn train`.

    Args:
        on_way: called after each.
    """
    times = {}
    with TemporaryDirectory() as folder:
        dataset = _as_dataset(Path(folder), pictures[:2])
        source = ProposalSource(selective_search(), Path(folder) / "proposals")
        for name, way in WAYS.items():
            learner = set_up(
                _config(way, backbone),
                dataset,
                source,
                initialisation=Initialisation(imagenet_weights=RANDOM),
                runtime=TrainRuntimeConfig(device=device, precision=precision, workers=0),
                threads=1,
            )
            times[name] = TrainingTime(learner.trial()[0] * way.factor, way.factor != 1)
            on_way()
    return times


def _config(way: TrainingWay, backbone: str) -> TrainConfig:
    return TrainConfig(
        detector=way.detector,
        backbone=backbone,
        iterations=1,
        images_per_batch=way.measured_images,
        rois_per_batch=way.measured_rois,
        scales=(SCALE,),
        max_size=MAX_SIZE,
        bg_low=0.0,
        train_from=way.train_from or backbone_spec(backbone).first_trained,
    )


def _as_dataset(folder: Path, pictures: Sequence[Photograph]) -> Dataset:
    """The photographs as a data set, whose objects are some of their proposals."""
    paths = [folder / f"{picture.name}.png" for picture in pictures]
    for path, picture in zip(paths, pictures, strict=True):
        Image.fromarray(picture.image).save(path)
    annotations = [
        Annotation(
            size=picture.image.shape[:2],
            names=("object",) * len(picture.boxes[:OBJECTS]),
            boxes=picture.boxes[:OBJECTS],
            difficult=np.zeros(len(picture.boxes[:OBJECTS]), np.bool_),
        )
        for picture in pictures
    ]
    return Dataset(
        name="photographs",
        split="all",
        classes=("object",),
        ids=tuple(picture.name for picture in pictures),
        paths=tuple(paths),
        annotations=tuple(annotations),
    )
