"""The images that a network is calibrated on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..checkpoints.weights import WeightsHeader
from ..config import VAL_SHARE
from ..data.dataset import Dataset
from ..data.images import SUFFIXES
from ..data.registry import is_dataset_name, is_voc_challenge, names_dataset, open_dataset
from ..data.sources import find_files
from ..runtime.paths import data_dir

AUTO = "auto"  # the data set that the weights were trained on, if it is on this machine
NONE = "none"  # no calibration

TRAIN_SPLITS = ("train", "trainval")  # the first of them that the data set has is used


@dataclass(frozen=True)
class CalibrationImages:
    """Image files, and a name for them."""

    paths: tuple[Path, ...]
    source: str  # for messages and the header

    def spread(self, count: int) -> CalibrationImages:
        """At most `count` of the images, evenly spaced."""
        if len(self.paths) <= count:
            return self
        chosen = (self.paths[len(self.paths) * i // count] for i in range(count))
        return CalibrationImages(tuple(chosen), self.source)


def is_data(images: object) -> bool:
    """Whether what is calibrated on is the name or the path of a data set, not of photographs."""
    return isinstance(images, str) and (is_dataset_name(images) or names_dataset(images))


def open_calibration_images(
    images: str | Dataset | Sequence[Path],
    data: Path | None,
    on_message: Callable[[str], None],
    val_share: float = VAL_SHARE,
) -> CalibrationImages:
    """Find the files of calibration images.

    Args:
        images: a data set or its name; or image files, as paths or as a file, folder or pattern.
        data: folder of the data set if `images` is its name.
        on_message: called with what is about to be downloaded.
        val_share: of data without splits, the share that is left for validation.
    Raises:
        ConfigError, DataError, ImageError: see `open_dataset` and `find_files`.
    """
    if is_data(images):
        assert isinstance(images, str)
        images = open_dataset(
            images, data, None, TRAIN_SPLITS, on_message, part="train", val_share=val_share
        )
    if isinstance(images, Dataset):
        return CalibrationImages(tuple(images.paths), f"{images.name} {images.split}")
    if isinstance(images, str):
        return CalibrationImages(tuple(find_files([images], SUFFIXES)), images)
    return CalibrationImages(tuple(images), f"{len(images)} files")


def default_calibration(header: WeightsHeader, curve: Dataset | None, data: Path | None) -> str:
    """The name of the data set that weights were trained on, if it is on this machine, else NONE.

    Args:
        curve, data: see `folder_of`.
    """
    trained_on = str(header.provenance.get("data", "")).partition(" ")[0]
    if is_voc_challenge(trained_on) and data_dir(folder_of(trained_on, curve, data)) is not None:
        return trained_on
    return NONE if folder_of("voc", curve, data) is None else "voc"


def folder_of(name: str, curve: Dataset | None, data: Path | None) -> Path | None:
    """The folder in which to look for a data set by name.

    Args:
        curve: the data set that the curve is measured on.
        data: the user's folder; it belongs to the curve's data set alone if that has another format
            than the data set called `name`.
    """
    return data if curve is None or _format(name) == _format(curve.name) else None


def _format(name: str) -> str:
    return "voc challenge" if is_voc_challenge(name) else name.partition(":")[0]
