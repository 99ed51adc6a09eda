"""Statistics of the regions of a segmentation, from which grouping computes similarities.

Pixels are counted once, by the cells that the regions of all scales consist of; the counts of the
cells are then added up for each scale.

n: regions of one scale; C: cells; P: pairs of neighbours; H, W: height and width. A histogram is a
row of 315 bins: 3 × 25 colour bins, then 3 channels × 4 directions × 20 texture bins. Each of the
two parts sums to FIXED_ONE, which stands for 1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...ops.kernels import njit
from .colour import Planes
from .segmentation import Segmentation

COLOUR_BINS = 25  # per channel
TEXTURE_BINS = 10  # per channel and orientation; each of the four directions has two orientations
DIRECTIONS = 4
SLOTS = 3 + 3 * DIRECTIONS  # bins per pixel: 3 of colour, then 12 of texture
COLOUR_LENGTH = 3 * COLOUR_BINS
TEXTURE_LENGTH = 3 * DIRECTIONS * 2 * TEXTURE_BINS
HISTOGRAM_LENGTH = COLOUR_LENGTH + TEXTURE_LENGTH
FIXED_ONE = 65535
TEXTURE_BIN_WIDTH = 4.0  # grey levels over two pixels; most differences are small


class Regions(NamedTuple):
    """The regions of one scale and their neighbours, as grouping takes them."""

    sizes: NDArray[np.int32]  # n, pixels
    boxes: NDArray[np.int32]  # n×4, half-open
    histograms: NDArray[np.uint16]  # n×315, fixed point
    pairs: NDArray[np.int32]  # P×2, the smaller label first, in order of first contact


@njit(inline="always")
def _texture_bins(out, ahead, behind, scale):
    for x in range(len(out)):
        change = (ahead[x] - behind[x]) * scale
        size = np.int32(min(abs(change), np.float32(TEXTURE_BINS - 1)))
        out[x] = np.uint8(size + (TEXTURE_BINS if change < 0 else 0))


@njit(cache=True, nogil=True, error_model="numpy")
def pixel_codes(planes):
    """The histogram bins that each pixel falls in.

    Derivatives are central differences along x, y and the two diagonals; those along the diagonals
    are divided by sqrt(2). With their signs, the four directions have eight orientations.

    Args:
        planes: [3, H, W] float32 in 0..255, smoothed.
    Returns:
        [H, 15, W] uint8: 3 colour bins (0..24), then 12 texture bins (0..19).
    """
    _, height, width = planes.shape
    codes = np.empty((height, SLOTS, width), np.uint8)
    colour_scale = np.float32(COLOUR_BINS / 256.0)
    straight = np.float32(1.0 / TEXTURE_BIN_WIDTH)
    diagonal = np.float32(1.0 / (TEXTURE_BIN_WIDTH * np.sqrt(2.0)))
    top = np.float32(COLOUR_BINS - 1)
    rows = np.empty((3, width + 2), np.float32)  # above, here, below; edge pixels repeated
    for c in range(3):
        for y in range(height):
            for i in range(3):
                source = planes[c, min(max(y + i - 1, 0), height - 1)]
                rows[i, 1 : width + 1] = source
                rows[i, 0], rows[i, width + 1] = source[0], source[width - 1]
            above, here, below = rows[0], rows[1], rows[2]
            colour, texture = codes[y, c], codes[y, 3 + c * DIRECTIONS :]
            for x in range(width):
                level = min(max(here[x + 1] * colour_scale, np.float32(0)), top)
                colour[x] = np.uint8(np.int32(level))
            _texture_bins(texture[0], here[2:], here[:width], straight)
            _texture_bins(texture[1], below[1:], above[1:], straight)
            _texture_bins(texture[2], below[2:], above[:width], diagonal)
            _texture_bins(texture[3], below[:width], above[2:], diagonal)
    return codes


@njit(cache=True, nogil=True, error_model="numpy")
def cell_statistics(cells, n, codes):
    """Size, bounding box and histogram of each cell, over runs of equal labels in the rows.

    Args:
        cells: [H, W] int32 in 0..n-1. codes: [H, 15, W] from `pixel_codes`.
    Returns:
        sizes: [n] int32, pixels.
        boxes: [n, 4] int32, half-open (x1, y1, x2, y2).
        counts: [n, 315] int32, pixels in each bin.
    """
    height, width = cells.shape
    counts = np.zeros((n, HISTOGRAM_LENGTH), np.int32)
    sizes = np.zeros(n, np.int32)
    boxes = np.empty((n, 4), np.int32)
    boxes[:, 0], boxes[:, 1], boxes[:, 2], boxes[:, 3] = width, height, 0, 0
    for y in range(height):
        labels = cells[y]
        begin = 0
        while begin < width:
            cell = labels[begin]
            end = begin + 1
            while end < width and labels[end] == cell:
                end += 1
            sizes[cell] += end - begin
            box = boxes[cell]
            box[0], box[1] = min(box[0], begin), min(box[1], y)
            box[2], box[3] = max(box[2], end), y + 1
            row, run = counts[cell], codes[y, :, begin:end]
            for x in range(end - begin):
                for slot in range(3):
                    row[np.uint32(slot * COLOUR_BINS) + run[slot, x]] += 1
                for slot in range(3 * DIRECTIONS):
                    first = np.uint32(COLOUR_LENGTH + slot * 2 * TEXTURE_BINS)
                    row[first + run[3 + slot, x]] += 1
            begin = end
    return sizes, boxes, counts


@njit(cache=True, nogil=True, error_model="numpy")
def pool(owner, n, cell_sizes, cell_boxes, cell_counts):
    """Add up the statistics of cells to those of regions.

    Args:
        owner: [C] int32 in 0..n-1, the region of each cell.
        cell_sizes, cell_boxes, cell_counts: from `cell_statistics`.
    Returns:
        sizes [n] int32, boxes [n, 4] int32, histograms [n, 315] uint16 in fixed point.
    """
    sizes = np.zeros(n, np.int32)
    boxes = np.empty((n, 4), np.int32)
    boxes[:, :2], boxes[:, 2:] = 2**31 - 1, 0
    counts = np.zeros((n, HISTOGRAM_LENGTH), np.int32)
    for cell in range(len(owner)):
        region = owner[cell]
        sizes[region] += cell_sizes[cell]
        for i in range(2):
            boxes[region, i] = min(boxes[region, i], cell_boxes[cell, i])
            boxes[region, 2 + i] = max(boxes[region, 2 + i], cell_boxes[cell, 2 + i])
        total, part = counts[region], cell_counts[cell]
        for i in range(HISTOGRAM_LENGTH):
            total[i] += part[i]
    histograms = np.empty((n, HISTOGRAM_LENGTH), np.uint16)
    for region in range(n):
        colour = np.float32(FIXED_ONE) / np.float32(3 * sizes[region])
        texture = np.float32(FIXED_ONE) / np.float32(3 * DIRECTIONS * sizes[region])
        row, total = histograms[region], counts[region]
        for i in range(COLOUR_LENGTH):
            row[i] = np.uint16(np.int32(total[i] * colour))
        for i in range(COLOUR_LENGTH, HISTOGRAM_LENGTH):
            row[i] = np.uint16(np.int32(total[i] * texture))
    return sizes, boxes, histograms


@njit(inline="always")
def is_new(table, key):
    """Whether a key >= 0 is missing from an open hash table, to which it is then added.

    Args:
        table: int64, its length a power of two and above the number of keys; -1 marks a free slot.
    """
    mask = np.uint64(len(table) - 1)
    slot = ((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)) & mask
    while table[slot] >= 0:
        if table[slot] == key:
            return False
        slot = (slot + np.uint64(1)) & mask
    table[slot] = key
    return True


@njit(cache=True, nogil=True)
def _doubled(table):
    """A hash table of twice the length with the same keys."""
    larger = np.full(2 * len(table), -1, np.int64)
    for key in table:
        if key >= 0:
            is_new(larger, key)
    return larger


@njit(cache=True, nogil=True, error_model="numpy")
def _contacts(cells, n, table, keys):
    height, width = cells.shape
    count = 0
    last = np.int64(-1)
    for y in range(height):
        row, below = cells[y], cells[min(y + 1, height - 1)]
        for x in range(width):
            here = row[x]
            right = row[min(x + 1, width - 1)]
            for neighbour in (right, below[x]):
                if here == neighbour:
                    continue
                key = np.int64(min(here, neighbour)) * n + max(here, neighbour)
                if key == last:
                    continue
                last = key
                if not is_new(table, key):
                    continue
                keys[count] = key
                count += 1
                if 2 * count >= len(table):
                    table = _doubled(table)
                    keys = np.concatenate((keys, keys))
    return keys[:count]


@njit(cache=True, nogil=True)
def _region_pairs(keys, n, owner, owners, table):
    """The pairs of different regions that pairs of cells lie in, each once."""
    out = np.empty((len(keys), 2), np.int32)
    count = 0
    for key in keys:
        a, b = owner[key // n], owner[key % n]
        if a != b and is_new(table, np.int64(min(a, b)) * owners + max(a, b)):
            out[count, 0], out[count, 1] = min(a, b), max(a, b)
            count += 1
    return out[:count].copy()


def _hash_table(entries: int) -> NDArray[np.int64]:
    """An empty table that this many keys fill to a quarter at most."""
    return np.full(1 << (4 * entries + 64).bit_length(), -1, np.int64)


def contacts(cells: NDArray[np.int32], n: int) -> NDArray[np.int64]:
    """The pairs of cells a < b that touch in the four-neighbourhood, as keys a * n + b, each once.

    Args:
        cells: [H, W] int32 in 0..n-1.
    Returns:
        [number of pairs] int64, in order of first contact in a row-by-row scan.
    """
    table = _hash_table(3 * n)
    return _contacts(cells, n, table, np.empty(len(table), np.int64))


def neighbour_pairs(
    keys: NDArray[np.int64], cells: int, owner: NDArray[np.int32], n: int
) -> NDArray[np.int32]:
    """The pairs of regions that touch, each once, the smaller label first.

    Args:
        keys: from `contacts`. cells: C. owner: [C] int32 in 0..n-1, the region of each cell.
    Returns:
        [P, 2] int32, in order of first contact in a row-by-row scan.
    """
    return _region_pairs(keys, cells, owner, n, _hash_table(len(keys)))


def regions(planes: Planes, segmentation: Segmentation) -> list[Regions]:
    """The statistics and neighbours of the regions, for each scale.

    Args:
        planes: [3, H, W] float32 in 0..255, smoothed; the planes that were segmented.
    """
    count = len(segmentation.owners[0])
    statistics = cell_statistics(segmentation.cells, count, pixel_codes(planes))
    keys = contacts(segmentation.cells, count)
    result = []
    for owner, n in zip(segmentation.owners, segmentation.counts, strict=True):
        sizes, boxes, histograms = pool(owner, n, *statistics)
        pairs = neighbour_pairs(keys, count, owner, n)
        result.append(Regions(sizes, boxes, histograms, pairs))
    return result
