"""Joining pixels to components, for all scales k in little more time than for one.

The rule of Felzenszwalb and Huttenlocher refuses an edge whose weight is above Int(C) + k / |C| of
either end. Weights ascend, so a component that has refused one edge refuses all later ones. It is
called closed; a component that has refused no edge is open. An open component of the smallest k was
joined from single pixels without a refusal, and since the threshold rises with k, every larger k
has joined it in the same way. So one sweep over all edges, with the smallest k, finds the atoms:
the components as they were at their first refusal. The components of every scale consist of atoms,
and only the edges that met a closed end, one in six, must be visited again for each scale.

N: pixels; A: atoms; E: remaining edges between atoms; C: cells, see `common_cells`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...ops.kernels import njit

BUCKETS = 4096
# The largest distance of two colours, sqrt(3) * 255, falls in the last bucket.
BUCKETS_PER_UNIT = (BUCKETS - 1) / 441.68


class AtomGraph(NamedTuple):
    """Atoms, numbered in order of first appearance, and the remaining edges between them."""

    sizes: NDArray[np.float32]  # A: pixels
    internal: NDArray[np.uint16]  # A: Int(C), the weight of the last join
    ends: NDArray[np.uint32]  # E×2, in ascending order of weight
    weights: NDArray[np.uint16]  # E


@njit(inline="always")
def _root(parent, node):
    # Two steps at once: most roots are that near, and each branch saved is a misprediction saved.
    up = parent[parent[node]]
    while parent[up] != up:
        up = parent[parent[up]]
    parent[node] = up
    return up


@njit(cache=True, nogil=True, error_model="numpy")
def _atoms(edges, starts, pixels, width, k):
    scale_k = np.float32(k * BUCKETS_PER_UNIT)
    parent = np.empty(pixels, np.uint32)
    root = np.empty((pixels, 2), np.float32)  # at roots: the threshold, the size
    internal = np.zeros(pixels, np.uint16)
    for pixel in range(pixels):
        parent[pixel] = pixel
        root[pixel, 0] = scale_k
        root[pixel, 1] = 1
    ends = np.empty((len(edges), 2), np.uint32)
    weights = np.empty(len(edges), np.uint16)
    remaining = 0
    steps = np.array([1, width], np.uint32)
    for bucket in range(BUCKETS):
        weight = np.float32(bucket)
        for i in range(starts[bucket], starts[bucket + 1]):
            edge = edges[np.uint64(i)]
            pixel = edge >> np.uint32(1)
            other = np.uint32(pixel + steps[edge & np.uint32(1)])
            a, b = _root(parent, pixel), _root(parent, other)
            if a == b:
                continue
            if weight <= min(root[a, 0], root[b, 0]):
                # The earlier pixel becomes the root, so that parents precede their children.
                lead, follow = min(a, b), max(a, b)
                size = root[a, 1] + root[b, 1]
                parent[follow] = lead
                root[lead, 0] = weight + scale_k / size
                root[lead, 1] = size
                internal[lead] = bucket
            else:
                root[a, 0] = root[b, 0] = -1  # closed: below every weight
                ends[remaining, 0], ends[remaining, 1] = a, b
                weights[remaining] = bucket
                remaining += 1

    atom_of_pixel = np.empty(pixels, np.int32)
    sizes = np.empty(pixels, np.float32)
    n = 0
    for pixel in range(pixels):
        if parent[pixel] == pixel:
            atom_of_pixel[pixel] = n
            sizes[n] = root[pixel, 1]
            internal[n] = internal[pixel]  # n <= pixel, so nothing is lost
            n += 1
        else:
            atom_of_pixel[pixel] = atom_of_pixel[parent[pixel]]
    for i in range(remaining):
        ends[i, 0], ends[i, 1] = atom_of_pixel[ends[i, 0]], atom_of_pixel[ends[i, 1]]
    # copies, so that the result does not keep the whole scratch arrays in memory
    graph = (
        sizes[:n].copy(),
        internal[:n].copy(),
        ends[:remaining].copy(),
        weights[:remaining].copy(),
    )
    return atom_of_pixel, graph


def atoms(
    edges: NDArray[np.uint32], starts: NDArray[np.int64], pixels: int, width: int, k: float
) -> tuple[NDArray[np.int32], AtomGraph]:
    """Find the components that all scales from `k` up have in common.

    Args:
        edges, starts: from `segmentation.sort_edges`. pixels: N. width: W, of the image.
        k: the smallest scale, in grey levels times pixels.
    Returns:
        The atom of each pixel, [N] int32, and the graph of the atoms.
    """
    atom_of_pixel, graph = _atoms(edges, starts, pixels, width, float(k))
    return atom_of_pixel, AtomGraph(*graph)


@njit(cache=True, nogil=True, error_model="numpy")
def _join(sizes, internal, ends, weights, k, min_size):
    n = len(sizes)
    scale_k = np.float32(k * BUCKETS_PER_UNIT)
    parent = np.empty(n, np.uint32)
    root = np.empty((n, 2), np.float32)  # at roots: the threshold, the size
    for atom in range(n):
        parent[atom] = atom
        root[atom, 0] = np.float32(internal[atom]) + scale_k / sizes[atom]
        root[atom, 1] = sizes[atom]
    refused = np.empty((len(ends), 2), np.uint32)
    refusals = 0
    for i in range(len(ends)):
        a, b = _root(parent, ends[i, 0]), _root(parent, ends[i, 1])
        if a == b:
            continue
        weight = np.float32(weights[i])
        if weight <= min(root[a, 0], root[b, 0]):
            lead, size = min(a, b), root[a, 1] + root[b, 1]
            parent[max(a, b)] = lead
            root[lead, 0] = weight + scale_k / size
            root[lead, 1] = size
        else:
            refused[refusals, 0], refused[refusals, 1] = a, b
            refusals += 1
    for i in range(refusals):  # still in ascending order
        a, b = _root(parent, refused[i, 0]), _root(parent, refused[i, 1])
        if a != b and min(root[a, 1], root[b, 1]) < min_size:
            root[min(a, b), 1] += root[max(a, b), 1]
            parent[max(a, b)] = min(a, b)
    owner = np.empty(n, np.int32)
    count = 0
    for atom in range(n):
        if parent[atom] == atom:
            owner[atom] = count
            count += 1
        else:
            owner[atom] = owner[parent[atom]]
    return owner, count


def join_atoms(graph: AtomGraph, k: float, min_size: int) -> tuple[NDArray[np.int32], int]:
    """Join atoms to the components of one scale k.

    Args:
        k: in grey levels times pixels; not below that of the atoms.
        min_size: the smallest component, in pixels.
    Returns:
        The component of each atom, [A] int32, 0..n-1 in order of first appearance, and n.
    """
    return _join(*graph, float(k), float(min_size))


@njit(cache=True, nogil=True)
def _refine(first, count, second):
    """Number the pairs of labels (first[i], second[i]): the pair of each atom, and all pairs.

    Args:
        first: [A] in 0..count-1. second: [A].
    """
    pair_of_atom = np.empty(len(first), np.int32)
    latest = np.full(count, -1, np.int32)  # for each label of `first`: its newest pair
    earlier = np.empty(len(first), np.int32)  # for each pair: the one before with that label
    members = np.empty((len(first), 2), np.int32)
    n = 0
    for i in range(len(first)):
        a, b = first[i], second[i]
        cell = latest[a]
        while cell >= 0 and members[cell, 1] != b:
            cell = earlier[cell]
        if cell < 0:
            cell = n
            members[cell, 0], members[cell, 1] = a, b
            earlier[cell] = latest[a]
            latest[a] = cell
            n += 1
        pair_of_atom[i] = cell
    return pair_of_atom, members[:n].copy()


@njit(cache=True, nogil=True)
def _cells_of_pixels(atom_of_pixel, cell_of_atom):
    """cell_of_atom[atom_of_pixel], faster than numpy."""
    out = np.empty(len(atom_of_pixel), np.int32)
    for pixel in range(len(atom_of_pixel)):
        out[pixel] = cell_of_atom[np.uint32(atom_of_pixel[pixel])]
    return out


def common_cells(
    atom_of_pixel: NDArray[np.int32], owners: tuple[NDArray[np.int32], ...]
) -> tuple[NDArray[np.int32], tuple[NDArray[np.int32], ...]]:
    """Find the cells: the largest parts of the image that lie in one component at every scale.

    Args:
        atom_of_pixel: [N], the atom of each pixel.
        owners: for each scale the component of each atom, [A], from `join_atoms`.
    Returns:
        The cell of each pixel, [N] int32 in order of first appearance; for each scale the
        component of each cell, [C] int32.
    """
    cell_of_atom = owners[0]
    component_of_cell = [np.arange(cell_of_atom.max() + 1, dtype=np.int32)]  # for each scale
    for owner in owners[1:]:
        cell_of_atom, members = _refine(cell_of_atom, len(component_of_cell[0]), owner)
        component_of_cell = [labels[members[:, 0]] for labels in component_of_cell]
        component_of_cell.append(members[:, 1])
    cells = _cells_of_pixels(atom_of_pixel, cell_of_atom)
    return cells, tuple(map(np.ascontiguousarray, component_of_cell))
