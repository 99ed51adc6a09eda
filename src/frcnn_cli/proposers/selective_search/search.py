"""Selective search (Uijlings et al., IJCV 2013).

Colour planes -> smoothing -> graph segmentation for each k -> region statistics -> hierarchical
grouping for each set of similarities -> one ranked list of distinct boxes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...config import SelectiveSearchConfig
from ...ops.resize import resize_bilinear
from ...runtime.executor import prefetch
from ...structures import Proposals
from . import colour
from .grouping import group
from .ranking import demote_near_duplicates, first_occurrences, random_numbers
from .regions import regions
from .segmentation import segment

# Raised whenever the same settings give other boxes; part of every cache key.
VERSION = 2

PLANES = {"hsv": colour.hsv, "lab": colour.lab, "rgi": colour.rgi}
TERMS = "CTSF"  # colour, texture, size, fill: the order of the flags that `group` takes


def selective_search(
    image: NDArray[np.uint8], config: SelectiveSearchConfig, threads: int = 1
) -> Proposals:
    """Propose regions of an [H, W, 3] RGB image, the most promising first.

    The result depends on the pixels and the settings alone. The whole image is always among the
    boxes, near the top, since every grouping ends with it.

    Args:
        threads: number of colour spaces searched side by side. For many images, one thread for
            each image is faster.
    """
    height, width = image.shape[:2]
    small = _working_copy(image, config.max_side)
    work_height, work_width = small.shape[:2]
    boxes, priority = _search(small, config, threads)

    sides = boxes[:, 2:] - boxes[:, :2]
    large = (sides >= config.min_box_side).all(axis=1)
    whole = np.array([[0, 0, work_width, work_height]], dtype=np.int32)
    order = np.argsort(priority[large], kind="stable")
    boxes = np.concatenate([boxes[large][order], whole])
    boxes = boxes[first_occurrences(boxes)]
    order = demote_near_duplicates(boxes, config.near_duplicate, config.duplicate_rank)
    ranked = boxes[order[: config.max_boxes]].astype(np.float32)
    if (work_height, work_width) != (height, width):
        ratio = np.array([width / work_width, height / work_height] * 2, dtype=np.float32)
        ranked = np.rint(ranked * ratio)
    return Proposals(ranked, (height, width))


def _working_copy(image: NDArray[np.uint8], max_side: int) -> NDArray[np.uint8]:
    """The image with its longer side at most `max_side` pixels."""
    height, width = image.shape[:2]
    ratio = max_side / max(height, width)
    if ratio >= 1:
        return np.ascontiguousarray(image)
    return resize_bilinear(image, (max(1, round(height * ratio)), max(1, round(width * ratio))))


def _search(
    image: NDArray[np.uint8], config: SelectiveSearchConfig, threads: int
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """The boxes of all groupings [N, 4], and the priority of each [N] (smaller is better)."""

    def search(space: str) -> list[NDArray[np.int32]]:
        return _groupings(image, space, config)

    if min(threads, len(config.colour_spaces)) > 1:
        found = prefetch(search, config.colour_spaces, threads)
        by_space = [groupings.result() for _, groupings in found]
    else:
        by_space = list(map(search, config.colour_spaces))
    groupings = [boxes for groupings_of_space in by_space for boxes in groupings_of_space]
    scales = np.tile(np.repeat(config.scales, len(config.similarities)), len(by_space))
    priorities = []
    for number, (boxes, k) in enumerate(zip(groupings, scales, strict=True)):
        position = np.arange(len(boxes), 0, -1)  # 1 is the last merge, the whole image
        # divided by k, since each of the fewer regions of a coarse segmentation is worth more
        priorities.append(position * random_numbers(config.seed, number, len(boxes)) / k)
    return np.concatenate(groupings), np.concatenate(priorities)


def _groupings(
    image: NDArray[np.uint8], space: str, config: SelectiveSearchConfig
) -> list[NDArray[np.int32]]:
    """The boxes of each grouping in one colour space, [M, 4] each, in order of the merges."""
    planes = colour.smooth(PLANES[space](image), config.sigma)
    min_sizes = tuple(round(k) for k in config.scales)  # the original's choice: minimum size = k
    groupings = []
    for scale in regions(planes, segment(planes, config.scales, min_sizes)):
        for similarities in config.similarities:
            terms = np.array([letter in similarities for letter in TERMS])
            groupings.append(group(*scale, image.shape[0] * image.shape[1], terms))
    return groupings
