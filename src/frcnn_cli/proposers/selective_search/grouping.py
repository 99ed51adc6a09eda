"""Hierarchical grouping (Uijlings et al., IJCV 2013, algorithm 1).

The two most similar neighbours are merged until one region is left; every region that ever existed
gives a box. n: regions at the start; M = 2 n - 1 regions in all; P: pairs of neighbours.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .regions import COLOUR_LENGTH, FIXED_ONE, HISTOGRAM_LENGTH

BLOCK = 64  # regions in a block of the blocked maximum
DEAD = np.float32(-1.0)  # below every similarity


@njit(inline="always")
def _shared(first, second):
    """Intersection of two histograms."""
    total = np.uint32(0)
    for i in range(len(first)):
        # cast back: numba would add in 64 bits, half as many at a time
        total = np.uint32(total + np.uint32(min(first[i], second[i])))
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def similarity(a, b, sizes, boxes, histograms, pixels, terms):
    """Mean of the chosen similarity terms of regions `a` and `b`, in 0..1 (equations 1 to 4).

    Args:
        pixels: size of the image. terms: 4 flags, (colour, texture, size, fill).
    """
    total = np.float32(0)
    one = np.float32(1)
    if terms[0]:
        shared = _shared(histograms[a, :COLOUR_LENGTH], histograms[b, :COLOUR_LENGTH])
        total += np.float32(shared) / np.float32(FIXED_ONE)
    if terms[1]:
        shared = _shared(histograms[a, COLOUR_LENGTH:], histograms[b, COLOUR_LENGTH:])
        total += np.float32(shared) / np.float32(FIXED_ONE)
    together = sizes[a] + sizes[b]
    if terms[2]:
        total += one - np.float32(together) / np.float32(pixels)
    if terms[3]:
        width = max(boxes[a, 2], boxes[b, 2]) - min(boxes[a, 0], boxes[b, 0])
        height = max(boxes[a, 3], boxes[b, 3]) - min(boxes[a, 1], boxes[b, 1])
        total += one - np.float32(width * height - together) / np.float32(pixels)
    return total / np.float32(terms.sum())


@njit(inline="always")
def _alive(parent, region):
    while parent[region] >= 0:
        up = parent[region]
        if parent[up] >= 0:
            parent[region] = parent[up]
        region = up
    return region


@njit(inline="always")
def _set_best(best, block_best, region, value):
    """Change one entry of `best` and keep the maximum of its block right."""
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


@njit(cache=True, nogil=True, error_model="numpy")
def group(sizes0, boxes0, histograms0, pairs, pixels, terms):
    """Merge regions down to one.

    Neighbours are kept as linked lists of half-edges: h and h ^ 1 are the two directions of one
    contact. A merge joins two lists, resolves each target to the region that now holds it, and
    marks the second contact with the same region dead in both directions.

    Args:
        sizes0: [n] int32. boxes0: [n, 4] int32. histograms0: [n, 315] uint16.
        pairs: [P, 2] int32. pixels: size of the image.
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
    # only the bins that a chosen term looks at are kept up
    low = 0 if terms[0] else COLOUR_LENGTH
    high = HISTOGRAM_LENGTH if terms[1] else COLOUR_LENGTH
    histograms = np.empty((regions if low < high else 0, HISTOGRAM_LENGTH), np.uint16)
    if low < high:
        histograms[:n] = histograms0

    half_edges = 2 * len(pairs)
    target = np.empty(half_edges, np.int32)
    following = np.full(half_edges, -1, np.int32)
    value = np.empty(half_edges, np.float32)
    head = np.full(regions, -1, np.int32)
    tail = np.full(regions, -1, np.int32)
    parent = np.full(regions, -1, np.int32)
    stamp = np.full(regions, -1, np.int32)
    best = np.full(regions, DEAD, np.float32)
    best_edge = np.full(regions, -1, np.int32)
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
        block = 0
        for i in range(1, len(block_best)):
            if block_best[i] > block_best[block]:
                block = i
        a = block * BLOCK
        while best[a] != block_best[block]:
            a += 1
        b = _alive(parent, target[best_edge[a]])

        size_a, size_b = sizes[a], sizes[b]
        sizes[new] = size_a + size_b
        for i in range(2):
            boxes[new, i] = min(boxes[a, i], boxes[b, i])
            boxes[new, 2 + i] = max(boxes[a, 2 + i], boxes[b, 2 + i])
        share_a = np.float32(size_a) / np.float32(size_a + size_b)
        share_b = np.float32(1) - share_a
        if low < high:
            mean, of_a, of_b = histograms[new], histograms[a], histograms[b]
            for i in range(low, high):
                mean[i] = np.uint16(of_a[i] * share_a + of_b[i] * share_b)
        parent[a] = parent[b] = new
        _set_best(best, block_best, a, DEAD)
        _set_best(best, block_best, b, DEAD)

        # the lists of a and b, one behind the other, become the list of the new region
        head[new] = head[a]
        following[tail[a]] = head[b]
        edge = head[new]
        last = np.int32(-1)
        new_best = DEAD
        while edge >= 0:
            after = following[edge]
            region = _alive(parent, target[edge])
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

        # neighbours: either their best was a or b and must be found again, or the new one may be it
        edge = head[new]
        while edge >= 0:
            region = target[edge]
            if _alive(parent, target[best_edge[region]]) == new:
                largest = DEAD
                before = np.int32(-1)
                own = head[region]
                while own >= 0:
                    after = following[own]
                    if value[own] == DEAD:
                        if before < 0:
                            head[region] = after
                        else:
                            following[before] = after
                        if after < 0:
                            tail[region] = before
                    else:
                        if value[own] > largest:
                            largest = value[own]
                            best_edge[region] = own
                        before = own
                    own = after
                _set_best(best, block_best, region, largest)
            elif value[edge] > best[region]:
                best_edge[region] = edge ^ 1
                _set_best(best, block_best, region, value[edge])
            edge = following[edge]
    return boxes
