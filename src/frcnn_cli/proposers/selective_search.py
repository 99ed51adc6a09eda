"""Selective search (Uijlings et al., IJCV 2013), after Girshick's settings for Fast R-CNN.

Colour planes -> smoothing -> graph segmentation for each k -> region statistics -> hierarchical
grouping for each set of similarities -> one ranked list without duplicates.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..config import SelectiveSearchConfig
from ..structures import Proposals
from . import colour
from .grouping import group
from .regions import neighbour_pairs, pixel_codes, region_statistics
from .segmentation import segment

# Changes whenever the same settings would give other boxes; part of every cache key.
VERSION = 1

PLANES = {"hsv": colour.hsv, "lab": colour.lab}
TERMS = {"C": 0, "T": 1, "S": 2, "F": 3}


def selective_search(image: NDArray[np.uint8], config: SelectiveSearchConfig) -> Proposals:
    """Propose regions of an [H, W, 3] RGB image, the most promising first.

    The result depends on the pixels and the settings alone. The whole image is always among the
    boxes, so that there is at least one.
    """
    height, width = image.shape[:2]
    small = _working_copy(image, config.max_side)
    work_height, work_width = small.shape[:2]
    boxes, priority = _search(small, config)

    sides = boxes[:, 2:] - boxes[:, :2]
    wide = (sides >= config.min_box_side).all(axis=1)
    whole = np.array([[0, 0, work_width, work_height]], dtype=np.int32)
    order = np.argsort(priority[wide], kind="stable")
    boxes = np.concatenate([boxes[wide][order], whole])
    unique = boxes[_first_occurrences(boxes)].astype(np.float32)
    if (work_height, work_width) != (height, width):
        ratio = np.array([width / work_width, height / work_height] * 2, dtype=np.float32)
        unique = np.rint(unique * ratio)
    return Proposals(unique, None, (height, width))


def _working_copy(image: NDArray[np.uint8], max_side: int) -> NDArray[np.uint8]:
    """The image with its longer side at most `max_side` pixels."""
    height, width = image.shape[:2]
    ratio = max_side / max(height, width)
    if ratio >= 1:
        return np.ascontiguousarray(image)
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def _search(
    image: NDArray[np.uint8], config: SelectiveSearchConfig
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """All boxes of all groupings [N, 4], and their priority [N] (smaller is better)."""
    height, width = image.shape[:2]
    min_sizes = tuple(round(k) for k in config.scales)  # the original's choice: minimum size = k
    all_boxes: list[NDArray[np.int32]] = []
    all_priorities: list[NDArray[np.float64]] = []
    for space in config.colour_spaces:
        planes = colour.smooth(PLANES[space](image), config.sigma)
        codes = pixel_codes(planes)
        for labels, n in segment(planes, config.scales, min_sizes):
            sizes, region_boxes, histograms = region_statistics(labels, n, codes)
            pairs = neighbour_pairs(labels, n)
            for similarities in config.similarities:
                terms = np.zeros(4, np.bool_)
                terms[[TERMS[letter] for letter in similarities]] = True
                boxes = group(sizes, region_boxes, histograms, pairs, height * width, terms)
                position = np.arange(len(boxes), 0, -1)  # 1 is the root, the last merge
                number = len(all_boxes)
                all_boxes.append(boxes)
                all_priorities.append(position * _random(config.seed, number, len(boxes)))
    return np.concatenate(all_boxes), np.concatenate(all_priorities)


def _random(seed: int, grouping: int, count: int) -> NDArray[np.float64]:
    """`count` numbers in [0, 1) that depend on the arguments alone (splitmix64 of a counter)."""
    start = ((seed << 40) + (grouping << 32)) % 2**64
    x = np.arange(count, dtype=np.uint64) + np.uint64(start)
    x = (x + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (x ^ (x >> np.uint64(31))).astype(np.float64) / 2.0**64


def _first_occurrences(boxes: NDArray[np.int32]) -> NDArray[np.intp]:
    """Indices of the rows that have not come before, ascending."""
    shifts = np.array([48, 32, 16, 0], dtype=np.uint64)
    keys = np.bitwise_or.reduce(boxes.astype(np.uint64) << shifts, axis=1)
    return np.sort(np.unique(keys, return_index=True)[1])
