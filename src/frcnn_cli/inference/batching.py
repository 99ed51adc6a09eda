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
Outcome = TypeVar("Outcome")

WINDOW = 4  # groups' worth of images that wait for others of their shape


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


Group = list[tuple[int, ReadImage[Item]]]  # images of one shape, with their numbers


def group_by_shape(
    images: Iterable[ReadImage[Item] | ReadFailure[Item]], size: int
) -> Iterator[Group[Item] | tuple[int, ReadFailure[Item]]]:
    """Number the images, and group those of the same resized shape among the next few.

    In a group of several shapes, images would be padded, and then the detections in an image would
    depend on the other images of its group.

    Args:
        size: largest number of images in a group; WINDOW times as many images are looked at.
    Yields:
        Groups, and failures with their numbers; see `in_order`.
    """
    waiting: dict[object, Group[Item]] = {}  # by shape; the first has waited longest
    for number, image in enumerate(images):
        if isinstance(image, ReadFailure):
            yield number, image
            continue
        shape = tuple(scaled.image.shape for scaled in image.preprocessed.passes)
        waiting.setdefault(shape, []).append((number, image))
        if len(waiting[shape]) == size:
            yield waiting.pop(shape)
        elif sum(map(len, waiting.values())) > WINDOW * size:
            yield waiting.pop(next(iter(waiting)))
    yield from waiting.values()


def in_order(numbered: Iterable[tuple[int, Outcome]]) -> Iterator[Outcome]:
    """The outcomes with the numbers 0, 1, 2 …, each as soon as those before it are there."""
    early: dict[int, Outcome] = {}
    following = 0
    for number, outcome in numbered:
        early[number] = outcome
        while following in early:
            yield early.pop(following)
            following += 1
