"""Reading images ahead of the network, and grouping those that can share a pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..data.collate import PreprocessedImage
from ..errors import FrcnnError

Item = TypeVar("Item")  # what the caller knows an image by: an index, a path, a Source


@dataclass(frozen=True, kw_only=True)
class ReadImage(Generic[Item]):
    """An image that is ready for the network."""

    item: Item
    file_size: int  # bytes of its file; 0 where it comes from elsewhere
    pixels: NDArray[np.uint8]  # [H, W, 3], RGB, as it was read
    preprocessed: PreprocessedImage


@dataclass(frozen=True)
class ReadFailure(Generic[Item]):
    """An image that could not be read, or for which no regions could be proposed."""

    item: Item
    error: FrcnnError


def group_by_shape(
    images: Iterable[ReadImage[Item] | ReadFailure[Item]], size: int
) -> Iterator[list[ReadImage[Item]] | ReadFailure[Item]]:
    """Group images that follow each other and have one resized shape; the order stays.

    Images of other shapes would be padded, and then what is found in one image would depend on
    the others of its batch.

    Args:
        size: images in a group at most.
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
