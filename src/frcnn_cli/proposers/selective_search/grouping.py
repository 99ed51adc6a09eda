"""Hierarchical grouping (Uijlings et al., IJCV 2013, algorithm 1).

The two most similar neighbours are merged until one region is left; every region that ever existed
gives a box. n: regions at the start; M = 2 n - 1 regions in all; P: pairs of neighbours.

Neighbours are kept as linked lists of half-edges: h and h ^ 1 are the two directions of one
contact. A merge joins two lists, points each half-edge at the region that now holds its old target,
and marks the second contact with the same region dead in both directions. The pair to merge next
is found from the best neighbour of each region, by way of the maximum of each block of regions.

The helpers take plain arrays and are inlined: in named tuples these loops run a tenth slower.
"""

from __future__ import annotations

import numpy as np

from ...ops.kernels import njit
from .regions import COLOUR_LENGTH, FIXED_ONE, HISTOGRAM_LENGTH

BLOCK = 64  # regions in a block of the blocked maximum
DEAD = np.float32(-1.0)  # below every similarity


@njit(inline="always")
def _intersection(first, second):
    """Intersection of two histograms in fixed point: the sum of the smaller bins."""
    total = np.uint32(0)
    for i in range(len(first)):
        # cast back: numba would add in 64 bits, half as many at a time
        total = np.uint32(total + np.uint32(min(first[i], second[i])))
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def similarity(a, b, sizes, boxes, histograms, pixels, terms):
    """Mean of the chosen similarity terms of regions `a` and `b`, in 0..1 (equations 1 to 4).

    Args:
        a, b: indices of two regions. sizes: [M] int32. boxes: [M, 4] int32.
        histograms: [M, 315] uint16. pixels: in the image.
        terms: [4] bool, which of (colour, texture, size, fill) count.
    """
    total = np.float32(0)
    one = np.float32(1)
    if terms[0]:
        common = _intersection(histograms[a, :COLOUR_LENGTH], histograms[b, :COLOUR_LENGTH])
        total += np.float32(common) / np.float32(FIXED_ONE)
    if terms[1]:
        common = _intersection(histograms[a, COLOUR_LENGTH:], histograms[b, COLOUR_LENGTH:])
        total += np.float32(common) / np.float32(FIXED_ONE)
    together = sizes[a] + sizes[b]
    if terms[2]:
        total += one - np.float32(together) / np.float32(pixels)
    if terms[3]:
        width = max(boxes[a, 2], boxes[b, 2]) - min(boxes[a, 0], boxes[b, 0])
        height = max(boxes[a, 3], boxes[b, 3]) - min(boxes[a, 1], boxes[b, 1])
        total += one - np.float32(width * height - together) / np.float32(pixels)
    return total / np.float32(terms.sum())


@njit(inline="always")
def _holder(parent, region):
    """The region that now holds `region`; the path to it is shortened on the way."""
    while parent[region] >= 0:
        up = parent[region]
        if parent[up] >= 0:
            parent[region] = parent[up]
        region = up
    return region


@njit(inline="always")
def _set_best(best, block_best, region, value):
    """Change the best similarity of a region and update the maximum of its block."""
    block = region // BLOCK
    old = best[region]
    best[region] = value
    if value >= block_best[block]:
        block_best[block] = value
    elif old == block_best[block]:
        largest = DEAD
        for i in range(block * BLOCK, min((block + 1) * BLOCK, len(best))):
            largest = max(largest, best[i])
        block_best[block] = largest


@njit(inline="always")
def _merge_statistics(a, b, new, sizes, boxes, histograms, low, high):
    """Write size, box and histogram bins low..high-1 of the union of regions `a` and `b`."""
    size_a, size_b = sizes[a], sizes[b]
    sizes[new] = size_a + size_b
    for i in range(2):
        boxes[new, i] = min(boxes[a, i], boxes[b, i])
        boxes[new, 2 + i] = max(boxes[a, 2 + i], boxes[b, 2 + i])
    weight_a = np.float32(size_a) / np.float32(size_a + size_b)
    weight_b = np.float32(1) - weight_a
    if low < high:
        mean, first, second = histograms[new], histograms[a], histograms[b]
        for i in range(low, high):
            mean[i] = np.uint16(first[i] * weight_a + second[i] * weight_b)


@njit(inline="always")
def _most_similar(best, block_best):
    """The first region whose best similarity is the largest of all."""
    block = 0
    for i in range(1, len(block_best)):
        if block_best[i] > block_best[block]:
            block = i
    region = block * BLOCK
    while best[region] != block_best[block]:
        region += 1
    return region


@njit(inline="always")
def _find_best(head, tail, following, value, best, best_edge, block_best, region):
    """Search the best neighbour of a region again; its dead half-edges leave its list."""
    largest = DEAD
    before = np.int32(-1)
    edge = head[region]
    while edge >= 0:
        after = following[edge]
        if value[edge] == DEAD:
            if before < 0:
                head[region] = after
            else:
                following[before] = after
            if after < 0:
                tail[region] = before
        else:
            if value[edge] > largest:
                largest = value[edge]
                best_edge[region] = edge
            before = edge
        edge = after
    _set_best(best, block_best, region, largest)


@njit(cache=True, nogil=True, error_model="numpy")
def group(sizes0, boxes0, histograms0, pairs, pixels, terms):
    """Merge regions down to one.

    Args:
        sizes0: [n] int32, pixels. boxes0: [n, 4] int32. histograms0: [n, 315] uint16.
        pairs: [P, 2] int32, neighbours. pixels: in the image.
        terms: [4] bool, which of (colour, texture, size, fill) count.
    Returns:
        [M, 4] int32: the boxes of the first n regions, then of each merge; the last one is the
        whole image.
    """
    n = len(sizes0)
    regions = 2 * n - 1
    sizes = np.zeros(regions, np.int32)
    boxes = np.zeros((regions, 4), np.int32)
    sizes[:n], boxes[:n] = sizes0, boxes0
    # only the bins that a chosen term reads are kept up to date
    low = 0 if terms[0] else COLOUR_LENGTH
    high = HISTOGRAM_LENGTH if terms[1] else COLOUR_LENGTH
    histograms = np.empty((regions if low < high else 0, HISTOGRAM_LENGTH), np.uint16)
    if low < high:
        histograms[:n] = histograms0

    half_edges = 2 * len(pairs)
    target = np.empty(half_edges, np.int32)  # the region at the other end, when last looked up
    following = np.full(half_edges, -1, np.int32)  # the next half-edge of the same list
    value = np.empty(half_edges, np.float32)  # the similarity of the two ends, or DEAD
    head = np.full(regions, -1, np.int32)  # the first half-edge of each region's list
    tail = np.full(regions, -1, np.int32)  # the last one
    parent = np.full(regions, -1, np.int32)  # the region that each was merged into
    stamp = np.full(regions, -1, np.int32)  # the newest region that has met each as a neighbour
    best = np.full(regions, DEAD, np.float32)  # similarity of each region's best neighbour
    best_edge = np.full(regions, -1, np.int32)  # the half-edge to it
    block_best = np.full((regions + BLOCK - 1) // BLOCK, DEAD, np.float32)

    for p in range(len(pairs)):
        alike = similarity(pairs[p, 0], pairs[p, 1], sizes, boxes, histograms, pixels, terms)
        for side in range(2):
            edge = 2 * p + side
            owner = pairs[p, side]
            target[edge] = pairs[p, 1 - side]
            value[edge] = alike
            if head[owner] < 0:
                head[owner] = edge
            else:
                following[tail[owner]] = edge
            tail[owner] = edge
            if alike > best[owner]:
                best_edge[owner] = edge
                _set_best(best, block_best, owner, alike)

    for new in range(n, regions):
        a = _most_similar(best, block_best)
        b = _holder(parent, target[best_edge[a]])
        _merge_statistics(a, b, new, sizes, boxes, histograms, low, high)
        parent[a] = parent[b] = new
        _set_best(best, block_best, a, DEAD)
        _set_best(best, block_best, b, DEAD)

        # the list of b, put behind that of a, becomes the list of the new region
        head[new] = head[a]
        following[tail[a]] = head[b]
        edge = head[new]
        last = np.int32(-1)
        new_best = DEAD
        while edge >= 0:
            after = following[edge]
            region = _holder(parent, target[edge])
            if value[edge] == DEAD or region == new or stamp[region] == new:
                value[edge] = value[edge ^ 1] = DEAD
            else:
                stamp[region] = new
                alike = similarity(new, region, sizes, boxes, histograms, pixels, terms)
                value[edge] = value[edge ^ 1] = alike
                target[edge] = region
                if last < 0:
                    head[new] = edge
                else:
                    following[last] = edge
                last = edge
                if alike > new_best:
                    new_best = alike
                    best_edge[new] = edge
            edge = after
        if last < 0:
            head[new] = -1
        else:
            following[last] = -1
        tail[new] = last
        _set_best(best, block_best, new, new_best)

        # a neighbour whose best one was a or b searches again; for others the new region may be
        # better than the best one so far
        edge = head[new]
        while edge >= 0:
            region = target[edge]
            if _holder(parent, target[best_edge[region]]) == new:
                _find_best(head, tail, following, value, best, best_edge, block_best, region)
            elif value[edge] > best[region]:
                best_edge[region] = edge ^ 1
                _set_best(best, block_best, region, value[edge])
            edge = following[edge]
    return boxes
