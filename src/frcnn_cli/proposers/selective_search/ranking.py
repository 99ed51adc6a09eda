"""The order of the boxes, in which the first k should cover many objects, for any k.

N: boxes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...ops.kernels import njit
from .regions import is_new


def random_numbers(seed: int, grouping: int, count: int) -> NDArray[np.float64]:
    """`count` pseudo-random numbers in [0, 1), splitmix64 of a counter: equal on every machine.

    The first numbers do not depend on `count`.
    """
    start = ((seed << 40) + (grouping << 32)) % 2**64
    x = np.arange(count, dtype=np.uint64) + np.uint64(start)
    x = (x + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (x ^ (x >> np.uint64(31))).astype(np.float64) / 2.0**64


@njit(cache=True, nogil=True)
def _first_occurrences(boxes, table):
    found = np.empty(len(boxes), np.intp)
    count = 0
    for i in range(len(boxes)):
        key = np.int64(0)
        for side in boxes[i]:
            key = (key << np.int64(15)) | side  # a side of a working image has no more bits
        if is_new(table, key):
            found[count] = i
            count += 1
    return found[:count].copy()


def first_occurrences(boxes: NDArray[np.int32]) -> NDArray[np.intp]:
    """Indices of the boxes that equal no box before them, ascending.

    Args:
        boxes: [N, 4], each number in 0..32767.
    """
    return _first_occurrences(boxes, np.full(1 << (2 * len(boxes)).bit_length(), -1, np.int64))


@njit(cache=True, nogil=True, error_model="numpy")
def _originals(boxes, areas, groups, threshold):
    """Which boxes are originals: those whose IoU with no earlier original is above the threshold.

    Args:
        groups: [N, 2], width and height of each box on a logarithmic scale.
    """
    n = len(boxes)
    original = np.zeros(n, np.bool_)
    # the newest original of each group; a border around the table gives every group neighbours
    latest = np.full((groups[:, 0].max() + 3, groups[:, 1].max() + 3), -1, np.int32)
    earlier = np.empty(n, np.int32)  # for each original: the one before in its group
    for i in range(n):
        box = boxes[i]
        wide, high = groups[i]
        duplicate = False
        for near in range(9):
            j = latest[wide + near // 3, high + near % 3]
            while j >= 0 and not duplicate:
                other = boxes[j]
                width = min(box[2], other[2]) - max(box[0], other[0])
                height = min(box[3], other[3]) - max(box[1], other[1])
                if width > 0 and height > 0:
                    intersection = np.float64(width) * np.float64(height)
                    union = areas[i] + areas[j] - intersection
                    duplicate = intersection > threshold * union
                j = earlier[j]
        if not duplicate:
            original[i] = True
            earlier[i] = latest[wide + 1, high + 1]
            latest[wide + 1, high + 1] = i
    return original


def demote_near_duplicates(
    boxes: NDArray[np.int32], threshold: float, factor: float
) -> NDArray[np.intp]:
    """Move near duplicates further back.

    A near duplicate is a box whose IoU with an earlier box, itself no near duplicate, is above the
    threshold. Its rank is multiplied by `factor`; boxes of equal rank keep their order.

    Args:
        boxes: [N, 4], N >= 1, best first. threshold: IoU; at 1 and above the order stays.
        factor: at least 1; at 1 the order stays.
    Returns:
        [N] indices, the new order.
    """
    ranks = np.arange(1, len(boxes) + 1)
    if threshold >= 1:
        return ranks - 1
    sides = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64)
    # The sides of a box and its near duplicate differ by a factor below 1 / threshold, so only
    # boxes of the same group or the next ones are compared. The step is a little wider than needed,
    # so that rounding cannot separate two such boxes.
    step = np.log(1.02 / max(threshold, 0.01))
    groups = np.floor(np.log(sides) / step).astype(np.int32)
    original = _originals(boxes, sides[:, 0] * sides[:, 1], groups, threshold)
    return np.argsort(ranks * np.where(original, 1.0, factor), kind="stable")
