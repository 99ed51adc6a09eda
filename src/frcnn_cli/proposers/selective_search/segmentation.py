"""Graph-based segmentation (Felzenszwalb and Huttenlocher, IJCV 2004) at several scales at once.

Pixels are the nodes of a graph, each connected to its four neighbours; the weight of an edge is the
distance of its two colours. Edges are taken in ascending order of weight, and join two components
if the weight is at most Int(C) + k / |C| for both. Components below the minimum size are then
joined over their lightest edge.

This differs from the paper in two ways. Weights are quantised to BUCKETS steps, so that a counting
sort can order them. And the heaviest edge of every unit square is dropped (see `candidate_edges`),
which leaves 1.2 of 2 edges per pixel. Such an edge is never in the minimum spanning forest, but the
paper's rule can still join over it after refusing two lighter edges of the square, so segments
differ a little from the paper's. The recall of the proposals does not suffer.

This module orders the edges; components.py joins components over them.

H, W: height and width; N = H * W pixels; an edge is the number 2 * pixel + direction with
direction 0 to the right neighbour and 1 to the one below.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...ops.kernels import njit
from .colour import Planes
from .components import BUCKETS, BUCKETS_PER_UNIT, atoms, common_cells, join_atoms

_TOP, _LEFT, _RIGHT, _BOTTOM = 1, 2, 4, 8  # edges of a unit square


@njit(cache=True, nogil=True, error_model="numpy")
def edge_weights(planes):
    """Quantised colour distance of each pixel to its right and lower neighbour.

    Args:
        planes: [3, H, W] float32.
    Returns:
        [H, 2, W] uint16 in 0..BUCKETS-1; BUCKETS where there is no neighbour.
    """
    _, height, width = planes.shape
    weights = np.full((height, 2, width), BUCKETS, np.uint16)
    scale = np.float32(BUCKETS_PER_UNIT)
    p0, p1, p2 = planes[0], planes[1], planes[2]
    for y in range(height):
        for x in range(width - 1):
            a = p0[y, x + 1] - p0[y, x]
            b = p1[y, x + 1] - p1[y, x]
            c = p2[y, x + 1] - p2[y, x]
            weights[y, 0, x] = np.uint16(np.sqrt(a * a + b * b + c * c) * scale)
        if y + 1 < height:
            for x in range(width):
                a = p0[y + 1, x] - p0[y, x]
                b = p1[y + 1, x] - p1[y, x]
                c = p2[y + 1, x] - p2[y, x]
                weights[y, 1, x] = np.uint16(np.sqrt(a * a + b * b + c * c) * scale)
    return weights


@njit(cache=True, nogil=True, error_model="numpy")
def candidate_edges(weights):
    """Drop the heaviest edge of each unit square; of equal weights, the one of the highest number.

    Written without branches, on 16-bit numbers, so that it compiles to vector code.

    Args:
        weights: [H, 2, W] from `edge_weights`.
    Returns:
        [H, 2, W] uint16: the weights, with BUCKETS for dropped edges.
    """
    height, _, width = weights.shape
    kept = np.empty_like(weights)
    one, nothing = np.uint16(1), np.uint16(BUCKETS)
    # The edge that each square of this row and of the row above loses. squares[0] stands for a
    # square to the left of the image, which loses none.
    squares = np.zeros(width + 1, np.uint16)
    above = np.zeros(width + 1, np.uint16)
    for y in range(height):
        across, down = weights[y, 0], weights[y, 1]
        here = squares[1:]
        if y + 1 == height:
            here[:] = 0
        else:
            lefts, rights, bottoms = down, down[1:], weights[y + 1, 0]
            for x in range(width - 1):
                top, left, right, bottom = across[x], lefts[x], rights[x], bottoms[x]
                heaviest = max(max(top, left), max(right, bottom))
                is_bottom = np.uint16(bottom == heaviest)
                is_right = np.uint16(right == heaviest) & (one - is_bottom)
                is_left = np.uint16(left == heaviest) & (one - is_bottom) & (one - is_right)
                is_top = one - (is_bottom | is_right | is_left)
                here[x] = (
                    is_top * np.uint16(_TOP)
                    + is_left * np.uint16(_LEFT)
                    + is_right * np.uint16(_RIGHT)
                    + is_bottom * np.uint16(_BOTTOM)
                )
        before, over = squares[:width], above[1:]
        kept_across, kept_down = kept[y, 0], kept[y, 1]
        for x in range(width):
            drop = (here[x] | (over[x] >> np.uint16(3))) & one
            kept_across[x] = max(across[x], np.uint16(drop * nothing))
        for x in range(width):
            drop = ((here[x] >> np.uint16(1)) | (before[x] >> np.uint16(2))) & one
            kept_down[x] = max(down[x], np.uint16(drop * nothing))
        above[:] = squares
    return kept


@njit(cache=True, nogil=True, error_model="numpy")
def sort_edges(kept):
    """Stable counting sort of the kept edges by weight.

    Dropped edges are sorted too, into a bucket at the end: skipping them by a branch is slower.

    Args:
        kept: [H, 2, W] from `candidate_edges`.
    Returns:
        Edge numbers in ascending order of weight, uint32, and where each bucket starts,
        [BUCKETS + 1].
    """
    height, _, width = kept.shape
    starts = np.zeros(BUCKETS + 2, np.int64)
    for weight in kept.reshape(-1):
        starts[weight + np.uint16(1)] += 1
    for bucket in range(BUCKETS + 1):
        starts[bucket + 1] += starts[bucket]
    edges = np.empty(2 * height * width, np.uint32)
    place = starts[: BUCKETS + 1].copy()
    edge = np.uint32(0)
    for y in range(height):
        across, down = kept[y, 0], kept[y, 1]
        for x in range(width):
            for weight in (across[x], down[x]):
                edges[np.uint64(place[weight])] = edge
                place[weight] += 1
                edge = np.uint32(edge + np.uint32(1))
    return edges[: starts[BUCKETS]], starts[: BUCKETS + 1]


@dataclass(frozen=True)
class Segmentation:
    """An image segmented once for each scale.

    The C cells are the parts of the image that no segmentation divides: every region of every scale
    is a set of cells.
    """

    cells: NDArray[np.int32]  # H×W, 0..C-1 in order of first appearance
    owners: tuple[NDArray[np.int32], ...]  # for each scale the region of each cell, [C], 0..n-1
    counts: tuple[int, ...]  # for each scale its number of regions n

    def labels(self, scale: int) -> NDArray[np.int32]:
        """The region of each pixel at one scale, [H, W], numbered in order of first appearance."""
        return self.owners[scale][self.cells]


def segment(planes: Planes, scales: tuple[float, ...], min_sizes: tuple[int, ...]) -> Segmentation:
    """Segment smoothed colour planes once for each scale k.

    Args:
        planes: [3, H, W] float32 in 0..255, smoothed.
        scales: each k, in grey levels times pixels.
        min_sizes: the smallest component at each scale, in pixels.
    """
    _, height, width = planes.shape
    edges, starts = sort_edges(candidate_edges(edge_weights(planes)))
    atom_of_pixel, graph = atoms(edges, starts, height * width, width, min(scales))
    owners, counts = [], []
    for k, min_size in zip(scales, min_sizes, strict=True):
        owner, n = join_atoms(graph, k, min_size)
        owners.append(owner)
        counts.append(n)
    cells, region_of_cell = common_cells(atom_of_pixel, tuple(owners))
    return Segmentation(cells.reshape(height, width), region_of_cell, tuple(counts))
