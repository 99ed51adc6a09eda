"""The images that were read ahead of the network, in groups that can share a pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..data.collate import PreprocessedImage
from ..errors import FrcnnError

Item = TypeVar("Item")  # what identifies an image for the caller: an index, a path, a Source


@dataclass(frozen=True, kw_only=True)
class ReadImage(Generic[Item]):
    """An image that is ready for the network."""

    item: Item
    file_size: int  # bytes of the image file; 0 for an image without a file
    pixels: NDArray[np.uint8]  # [H, W, 3], RGB, at its original size
    preprocessed: PreprocessedImage


@dataclass(frozen=True)
class ReadFailure(Generic[Item]):
    """An image that could not be read, or for which no regions could be proposed."""

    item: Item
    error: FrcnnError


def group_by_shape(
    images: Iterable[ReadImage[Item] | ReadFailure[Item]], size: int
) -> Iterator[list[ReadImage[Item]] | ReadFailure[Item]]:
    """Group successive images of the same resized shape; failures are passed on in their place.

    In a group of several shapes, images would be padded, and then the detections in an image would
    depend on the other images of its group.

    Args:
        size: largest number of images in a group.
    """
    group: list[ReadImage[Item]] = []
    for image in images:
        if group and (isinstance(image, ReadFailure) or not _same_shape(group[0], image)):
            yield group
            group = []
        if isinstance(image, ReadFailure):
            yield image
            continue
        group.append(image)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _same_shape(a: ReadImage[Item], b: ReadImage[Item]) -> bool:
    return a.preprocessed.image.shape == b.preprocessed.image.shape
