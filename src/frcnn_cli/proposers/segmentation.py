"""Graph-based segmentation (Felzenszwalb and Huttenlocher, IJCV 2004).

Pixels are nodes, four-connected; an edge weighs the distance of its two colours. Edges are taken
in ascending order and join two components when the weight is at most the internal difference of
both, Int(C) + k / |C|. Components below the minimum size then join over their lightest edge.

Two things differ from the paper's text. Weights are quantised to BUCKETS steps, so that a counting
sort orders them. And the heaviest edge of every unit square is left out (see `candidate_edges`):
that leaves 1.2 edges a pixel of 2. It is never in the minimum spanning forest, but the paper's rule
can still join over it where it refused two lighter edges of the square, so segments differ a little
from the textbook's. The proposals' recall does not suffer.

H, W: height and width; N = H * W pixels; an edge is the number 2 * pixel + direction with
direction 0 to the right neighbour and 1 to the one below.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .colour import Planes

BUCKETS = 4096
# The largest distance of two colours, sqrt(3) * 255, falls in the last bucket.
BUCKETS_PER_UNIT = (BUCKETS - 1) / 441.68


@njit(cache=True, nogil=True)
def edge_weights(planes):
    """Quantised colour distance of each pixel to its right and lower neighbour.

    Args:
        planes: [3, H, W] float32.
    Returns:
        [2, H, W] uint16 in 0..BUCKETS-1; BUCKETS where there is no neighbour.
    """
    _, height, width = planes.shape
    weights = np.full((2, height, width), BUCKETS, np.uint16)
    scale = np.float32(BUCKETS_PER_UNIT)
    p0, p1, p2 = planes[0], planes[1], planes[2]
    for y in range(height):
        for x in range(width - 1):
            a = p0[y, x + 1] - p0[y, x]
            b = p1[y, x + 1] - p1[y, x]
            c = p2[y, x + 1] - p2[y, x]
            weights[0, y, x] = np.uint16(np.sqrt(a * a + b * b + c * c) * scale)
        if y + 1 < height:
            for x in range(width):
                a = p0[y + 1, x] - p0[y, x]
                b = p1[y + 1, x] - p1[y, x]
                c = p2[y + 1, x] - p2[y, x]
                weights[1, y, x] = np.uint16(np.sqrt(a * a + b * b + c * c) * scale)
    return weights


@njit(cache=True, nogil=True)
def candidate_edges(weights):
    """Mark the edges worth considering: all but the last in order of each unit square.

    The order is ascending weight, then edge number, so `>=` below picks the later of two equals.

    Args:
        weights: [2, H, W] from `edge_weights`.
    Returns:
        [H * W * 2] bool, by edge number.
    """
    _, height, width = weights.shape
    keep = np.zeros((height, width, 2), np.bool_)
    keep[:, : width - 1, 0] = True
    keep[: height - 1, :, 1] = True
    for y in range(height - 1):
        for x in range(width - 1):
            # edge numbers ascend: top, left, right, bottom
            top, left = weights[0, y, x], weights[1, y, x]
            right, bottom = weights[1, y, x + 1], weights[0, y + 1, x]
            if bottom >= top and bottom >= left and bottom >= right:
                keep[y + 1, x, 0] = False
            elif right >= top and right >= left:
                keep[y, x + 1, 1] = False
            elif left >= top:
                keep[y, x, 1] = False
            else:
                keep[y, x, 0] = False
    return keep.reshape(-1)


@njit(cache=True, nogil=True)
def sort_edges(weights, keep):
    """Stable counting sort of the kept edges by weight.

    Returns:
        Edge numbers in ascending order of weight, uint32, and where each bucket starts,
        [BUCKETS + 1].
    """
    _, height, width = weights.shape
    starts = np.zeros(BUCKETS + 1, np.int64)
    for y in range(height):
        for x in range(width):
            for direction in range(2):
                if keep[2 * (y * width + x) + direction]:
                    starts[weights[direction, y, x] + 1] += 1
    for bucket in range(BUCKETS):
        starts[bucket + 1] += starts[bucket]
    edges = np.empty(starts[BUCKETS], np.uint32)
    place = starts[:BUCKETS].copy()
    for y in range(height):
        for x in range(width):
            for direction in range(2):
                edge = 2 * (y * width + x) + direction
                if keep[edge]:
                    bucket = weights[direction, y, x]
                    edges[place[bucket]] = edge
                    place[bucket] += 1
    return edges, starts


@njit(inline="always")
def _find(parent, node):
    while parent[node] >= 0:
        up = parent[node]
        if parent[up] >= 0:  # path halving
            parent[node] = parent[up]
        node = up
    return node


@njit(inline="always")
def _join(parent, a, b):
    if parent[a] > parent[b]:  # sizes are negative: b is the larger
        a, b = b, a
    parent[a] += parent[b]
    parent[b] = a
    return a


@njit(cache=True, nogil=True)
def components(edges, starts, pixels, width, k, min_size):
    """Label the components.

    Args:
        edges, starts: from `sort_edges`.
        pixels: N. width: W.
        k: scale of observation, in grey levels times pixels.
        min_size: smallest component, in pixels.
    Returns:
        labels: [N] int32, 0..n-1 in order of first appearance.
        n: number of components.
    """
    parent = np.full(pixels, -1, np.int32)  # the parent, or minus the size at a root
    scale_k = np.float32(k * BUCKETS_PER_UNIT)
    threshold = np.full(pixels, scale_k, np.float32)  # Int(C) + k / |C|, at roots
    rejected = np.empty(len(edges), np.uint32)
    rejections = 0
    for bucket in range(BUCKETS):
        weight = np.float32(bucket)
        for i in range(starts[bucket], starts[bucket + 1]):
            pixel = np.int64(edges[i] >> 1)
            other = pixel + (width if edges[i] & 1 else 1)
            a, b = _find(parent, pixel), _find(parent, other)
            if a == b:
                continue
            if weight <= threshold[a] and weight <= threshold[b]:
                root = _join(parent, a, b)
                threshold[root] = weight + scale_k / np.float32(-parent[root])
            else:
                rejected[rejections] = edges[i]
                rejections += 1
    for i in range(rejections):  # still in ascending order
        pixel = np.int64(rejected[i] >> 1)
        other = pixel + (width if rejected[i] & 1 else 1)
        a, b = _find(parent, pixel), _find(parent, other)
        if a != b and (-parent[a] < min_size or -parent[b] < min_size):
            _join(parent, a, b)
    labels = np.empty(pixels, np.int32)
    of_root = np.full(pixels, -1, np.int32)
    n = 0
    for pixel in range(pixels):
        root = _find(parent, pixel)
        if of_root[root] < 0:
            of_root[root] = n
            n += 1
        labels[pixel] = of_root[root]
    return labels, n


def segment(
    planes: Planes, scales: tuple[float, ...], min_sizes: tuple[int, ...]
) -> list[tuple[NDArray[np.int32], int]]:
    """Segment smoothed colour planes once for each scale k.

    Args:
        planes: [3, H, W] float32 in 0..255, smoothed already.
        scales: each k. min_sizes: the smallest component for each, in pixels.
    Returns:
        For each k the labels [H, W] (0..n-1) and n.
    """
    _, height, width = planes.shape
    weights = edge_weights(planes)
    edges, starts = sort_edges(weights, candidate_edges(weights))
    found = []
    for k, min_size in zip(scales, min_sizes, strict=True):
        labels, n = components(edges, starts, height * width, width, k, min_size)
        found.append((labels.reshape(height, width), n))
    return found
