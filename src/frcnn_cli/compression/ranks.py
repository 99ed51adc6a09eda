"""Choosing the ranks of a network's fully connected layers.

`Ranks` maps the name of each layer to its rank, or to None for a layer that keeps its full rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..config import CompressConfig
from ..errors import ConfigError, WeightsError, unknown_name

Ranks = dict[str, int | None]


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """The sizes of a layer, and the energy of each direction of its output."""

    name: str
    outputs: int  # u
    inputs: int  # v
    energy: NDArray[np.float64]  # [min(u, v)], descending: the squared error of leaving it out

    @property
    def full_weights(self) -> int:
        """Weights of the layer at full rank, u·v."""
        return self.outputs * self.inputs

    @property
    def break_even(self) -> float:
        """The rank at which the pair has as many weights as the layer."""
        return self.full_weights / (self.outputs + self.inputs)

    def weights_at(self, rank: int | None) -> int:
        """Weights of the layer at a rank."""
        return self.full_weights if rank is None else rank * (self.outputs + self.inputs)

    def rank_or_full(self, rank: int) -> int | None:
        """The rank where it makes the layer smaller, else None."""
        return rank if rank < self.break_even else None

    def errors_by_rank(self) -> list[tuple[int | None, float]]:
        """The relative squared error of every rank that saves weights, and of full rank.

        Returns:
            [(rank, error)], ascending by rank; the last entry is (None, 0).
        """
        total = max(self.energy.sum(), 1e-300)
        left = 1 - self.energy.cumsum() / total
        ranks = range(1, math.ceil(self.break_even))
        return [*((rank, float(left[rank - 1])) for rank in ranks), (None, 0.0)]


def choose_ranks(
    config: CompressConfig,
    spectra: Sequence[Spectrum],
    other_weights: int,
    seconds: Callable[[Ranks], float],
) -> Ranks:
    """The ranks that a configuration asks for.

    Args:
        other_weights: weights of the fully connected layers that are never compressed.
        seconds: measures the time of the fully connected layers at some ranks.
    Raises:
        ConfigError: a layer is unknown or a number out of range.
        WeightsError: no layer becomes smaller.
    """
    if config.ranks is not None:
        ranks = _by_layer(spectra, config.ranks)
    elif config.energy is not None:
        ranks = {each.name: _rank_for_energy(each, config.energy) for each in spectra}
    elif config.params is not None:
        ranks = ranks_for_budget(spectra, other_weights, config.params)
    elif config.speedup is not None:
        ranks = _ranks_for_speedup(spectra, other_weights, config.speedup, seconds)
    else:
        assert config.rank is not None
        ranks = _uniform(spectra, config.rank)
    if all(rank is None for rank in ranks.values()):
        limits = ", ".join(f"{each.name} {each.break_even:.1f}" for each in spectra)
        raise WeightsError("no layer would become smaller", f"ranks must be below: {limits}")
    return ranks


def _uniform(spectra: Sequence[Spectrum], rank: int) -> Ranks:
    full = max(len(each.energy) for each in spectra)
    if not 1 <= rank <= full:
        raise ConfigError(f"rank {rank} is out of range", f"expected 1 to {full}")
    return {each.name: each.rank_or_full(rank) for each in spectra}


def _by_layer(spectra: Sequence[Spectrum], ranks: Mapping[str, int]) -> Ranks:
    by_name = {each.name: each for each in spectra}
    for name, rank in ranks.items():
        if name not in by_name:
            raise unknown_name("layer", name, by_name)
        full = len(by_name[name].energy)
        if not 1 <= rank <= full:
            raise ConfigError(f"rank {rank} of {name} is out of range", f"expected 1 to {full}")
    return {
        name: each.rank_or_full(ranks[name]) if name in ranks else None
        for name, each in by_name.items()
    }


def _rank_for_energy(spectrum: Spectrum, fraction: float) -> int | None:
    kept = spectrum.energy.cumsum()
    rank = int(np.searchsorted(kept, fraction * kept[-1])) + 1
    return spectrum.rank_or_full(min(rank, len(kept)))


def ranks_for_budget(spectra: Sequence[Spectrum], other_weights: int, fraction: float) -> Ranks:
    """The best ranks that leave at most a fraction of the weights of all layers.

    Greedy: of the steps to the next rank that fit the budget, take the one that lowers the sum of
    the layers' relative errors most for each weight that it costs. The last step of a layer is to
    its full rank.

    Raises:
        ConfigError: even rank 1 in all layers needs a larger fraction.
    """
    total = sum(each.full_weights for each in spectra) + other_weights
    least = fewest_weights(spectra, other_weights)
    left = fraction * total - least
    if left < 0:
        raise ConfigError(
            f"a fraction of {fraction:g} of the weights is too small",
            f"rank 1 everywhere and the output layers are {least / total:.4f} of them",
        )
    sizes = [each.errors_by_rank() for each in spectra]
    positions = [0] * len(spectra)  # in `sizes`, of each layer
    while True:
        steps = []  # (lower error for each weight, weights, layer)
        for index, each in enumerate(spectra):
            at = positions[index]
            if at + 1 < len(sizes[index]):
                (rank, error), (next_rank, next_error) = sizes[index][at : at + 2]
                cost = each.weights_at(next_rank) - each.weights_at(rank)
                if cost <= left:
                    steps.append(((error - next_error) / max(cost, 1), cost, index))
        if not steps:
            break
        _, cost, index = max(steps)
        positions[index] += 1
        left -= cost
    return {each.name: sizes[i][positions[i]][0] for i, each in enumerate(spectra)}


def fewest_weights(spectra: Sequence[Spectrum], other_weights: int) -> int:
    """Weights of all layers where each has the smallest size that it can have."""
    return other_weights + sum(each.weights_at(each.errors_by_rank()[0][0]) for each in spectra)


def _ranks_for_speedup(
    spectra: Sequence[Spectrum],
    other_weights: int,
    speedup: float,
    seconds: Callable[[Ranks], float],
) -> Ranks:
    """The largest ranks with which the layers take 1 / speedup of their time, by bisection."""
    full_rank: Ranks = {each.name: None for each in spectra}
    limit = seconds(full_rank) / speedup
    total = sum(each.full_weights for each in spectra) + other_weights
    low, high = (fewest_weights(spectra, other_weights) + 1) / total, 1.0
    best = ranks_for_budget(spectra, other_weights, low)
    if seconds(best) > limit:
        raise ConfigError(
            f"{speedup:g} times faster cannot be reached: even rank 1 takes longer here",
            "ask for less",
        )
    for _ in range(8):  # to 1/256 of the range
        middle = (low + high) / 2
        ranks = ranks_for_budget(spectra, other_weights, middle)
        if seconds(ranks) <= limit:
            low, best = middle, ranks
        else:
            high = middle
    return best
