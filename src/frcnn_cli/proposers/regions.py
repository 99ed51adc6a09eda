"""Statistics of the regions of a segmentation: what the similarities are made of.

n: regions; H, W: height and width. A histogram is a row of 315 bins in fixed point: 3 × 25 colour
bins that sum to FIXED_ONE, then 3 channels × 4 directions × 20 texture bins that sum to FIXED_ONE.
"""

from __future__ import annotations

import numpy as np
from numba import njit

COLOUR_BINS = 25  # a channel
TEXTURE_BINS = 10  # a channel and orientation; each of the four directions has two orientations
DIRECTIONS = 4
COLOUR_LENGTH = 3 * COLOUR_BINS
TEXTURE_LENGTH = 3 * DIRECTIONS * 2 * TEXTURE_BINS
HISTOGRAM_LENGTH = COLOUR_LENGTH + TEXTURE_LENGTH
FIXED_ONE = 65535
TEXTURE_BIN_WIDTH = 4.0  # grey levels over two pixels; differences are mostly small


@njit(cache=True, nogil=True)
def pixel_codes(planes):
    """The histogram bins that each pixel falls in.

    Derivatives are central differences along x, y and the two diagonals (those over sqrt(2));
    the sign makes eight orientations of the four.

    Args:
        planes: [3, H, W] float32 in 0..255, smoothed.
    Returns:
        [H, W, 15] uint16: 3 colour bins, then 12 texture bins, as indices into the histogram row.
    """
    _, height, width = planes.shape
    codes = np.empty((height, width, 3 + 3 * DIRECTIONS), np.uint16)
    colour_scale = np.float32(COLOUR_BINS / 256.0)
    straight = np.float32(1.0 / TEXTURE_BIN_WIDTH)
    diagonal = np.float32(1.0 / (TEXTURE_BIN_WIDTH * np.sqrt(2.0)))
    for y in range(height):
        up, down = max(y - 1, 0), min(y + 1, height - 1)
        for x in range(width):
            left, right = max(x - 1, 0), min(x + 1, width - 1)
            for c in range(3):
                plane = planes[c]
                value = min(max(np.int32(plane[y, x] * colour_scale), 0), COLOUR_BINS - 1)
                codes[y, x, c] = c * COLOUR_BINS + value
                for direction in range(DIRECTIONS):
                    if direction == 0:
                        change = (plane[y, right] - plane[y, left]) * straight
                    elif direction == 1:
                        change = (plane[down, x] - plane[up, x]) * straight
                    elif direction == 2:
                        change = (plane[down, right] - plane[up, left]) * diagonal
                    else:
                        change = (plane[down, left] - plane[up, right]) * diagonal
                    size = min(np.int32(abs(change)), TEXTURE_BINS - 1)
                    if change < 0:
                        size += TEXTURE_BINS
                    slot = c * DIRECTIONS + direction
                    codes[y, x, 3 + slot] = COLOUR_LENGTH + slot * 2 * TEXTURE_BINS + size
    return codes


@njit(cache=True, nogil=True)
def region_statistics(labels, n, codes):
    """Size, bounding box and histogram of each region.

    Args:
        labels: [H, W] int32 in 0..n-1. codes: [H, W, 15] from `pixel_codes`.
    Returns:
        sizes: [n] int32, pixels.
        boxes: [n, 4] int32, half-open (x1, y1, x2, y2).
        histograms: [n, 315] uint16, fixed point.
    """
    height, width = labels.shape
    counts = np.zeros((n, HISTOGRAM_LENGTH), np.int32)
    sizes = np.zeros(n, np.int32)
    boxes = np.empty((n, 4), np.int32)
    boxes[:, 0] = width
    boxes[:, 1] = height
    boxes[:, 2:] = 0
    for y in range(height):
        for x in range(width):
            region = labels[y, x]
            sizes[region] += 1
            box = boxes[region]
            box[0] = min(box[0], x)
            box[1] = min(box[1], y)
            box[2] = max(box[2], x + 1)
            box[3] = max(box[3], y + 1)
            row = counts[region]
            for i in range(codes.shape[2]):
                row[codes[y, x, i]] += 1
    histograms = np.empty((n, HISTOGRAM_LENGTH), np.uint16)
    for region in range(n):
        colour = np.float32(FIXED_ONE) / np.float32(3 * sizes[region])
        texture = np.float32(FIXED_ONE) / np.float32(3 * DIRECTIONS * sizes[region])
        for i in range(COLOUR_LENGTH):
            histograms[region, i] = np.uint16(counts[region, i] * colour)
        for i in range(COLOUR_LENGTH, HISTOGRAM_LENGTH):
            histograms[region, i] = np.uint16(counts[region, i] * texture)
    return sizes, boxes, histograms


@njit(cache=True, nogil=True)
def neighbour_pairs(labels, n):
    """Each pair of regions that touch (four-connected), once, the smaller label first.

    Args:
        labels: [H, W] int32 in 0..n-1; every region must be connected.
    Returns:
        [P, 2] int32, in order of first contact in a row-by-row scan.
    """
    height, width = labels.shape
    seen = np.zeros((n, n), np.bool_)
    pairs = np.empty((4 * n + 16, 2), np.int32)
    count = 0
    for y in range(height):
        for x in range(width):
            here = labels[y, x]
            for direction in range(2):
                if direction == 0:
                    if x + 1 == width:
                        continue
                    there = labels[y, x + 1]
                else:
                    if y + 1 == height:
                        continue
                    there = labels[y + 1, x]
                if here == there:
                    continue
                a, b = min(here, there), max(here, there)
                if seen[a, b]:
                    continue
                seen[a, b] = True
                # a planar graph has fewer than 3 n edges, so the array never overflows
                pairs[count, 0] = a
                pairs[count, 1] = b
                count += 1
    return pairs[:count]
