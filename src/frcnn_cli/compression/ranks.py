"""Choosing the ranks of a network's fully connected layers.

A choice is a dict from the name of each layer to its rank, None for a layer that stays whole.
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


@dataclass(frozen=True)
class Spectrum:
    """What the directions of one layer are worth."""

    name: str
    outputs: int  # u
    inputs: int  # v
    energy: NDArray[np.float64]  # [min(u, v)], descending: the squared error without each

    @property
    def weights(self) -> int:
        """Of the whole layer."""
        return self.outputs * self.inputs

    @property
    def break_even(self) -> float:
        """The rank at which two layers have as many weights as one."""
        return self.weights / (self.outputs + self.inputs)

    def weights_at(self, rank: int | None) -> int:
        """Weights of the layer at a rank."""
        return self.weights if rank is None else rank * (self.outputs + self.inputs)

    def worthwhile(self, rank: int) -> int | None:
        """The rank, or None where it would make the layer no smaller."""
        return rank if rank < self.break_even else None

    def sizes(self) -> list[tuple[int | None, float]]:
        """What the layer can become, smallest first: (rank, relative squared error)."""
        total = max(self.energy.sum(), 1e-300)
        left = 1 - self.energy.cumsum() / total
        ranks = range(1, math.ceil(self.break_even))
        return [*((rank, float(left[rank - 1])) for rank in ranks), (None, 0.0)]


def choose(
    config: CompressConfig,
    spectra: Sequence[Spectrum],
    other_weights: int,
    seconds: Callable[[Ranks], float],
) -> Ranks:
    """The ranks that a configuration asks for.

    Args:
        other_weights: of the fully connected layers that are never compressed.
        seconds: measures the fully connected layers at some ranks.
    Raises:
        ConfigError: a layer is unknown or a number out of range. WeightsError: no layer shrinks.
    """
    if config.ranks is not None:
        ranks = _named(spectra, config.ranks)
    elif config.energy is not None:
        ranks = {each.name: _rank_for_energy(each, config.energy) for each in spectra}
    elif config.params is not None:
        ranks = for_parameter_budget(spectra, other_weights, config.params)
    elif config.speedup is not None:
        ranks = _for_speedup(spectra, other_weights, config.speedup, seconds)
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
    return {each.name: each.worthwhile(rank) for each in spectra}


def _named(spectra: Sequence[Spectrum], wanted: Mapping[str, int]) -> Ranks:
    known = {each.name: each for each in spectra}
    for name, rank in wanted.items():
        if name not in known:
            raise unknown_name("layer", name, known)
        full = len(known[name].energy)
        if not 1 <= rank <= full:
            raise ConfigError(f"rank {rank} of {name} is out of range", f"expected 1 to {full}")
    return {
        name: each.worthwhile(wanted[name]) if name in wanted else None
        for name, each in known.items()
    }


def _rank_for_energy(spectrum: Spectrum, share: float) -> int | None:
    kept = spectrum.energy.cumsum()
    rank = int(np.searchsorted(kept, share * kept[-1])) + 1
    return spectrum.worthwhile(min(rank, len(kept)))


def for_parameter_budget(spectra: Sequence[Spectrum], other_weights: int, share: float) -> Ranks:
    """The best ranks for a budget: at most `share` of the weights of all layers.

    Greedy: the next direction is the one that lowers the sum of the layers' relative errors most
    for each weight that it costs, of those that still fit. The last step of a layer makes it whole.
    """
    total = sum(each.weights for each in spectra) + other_weights
    least = least_weights(spectra, other_weights)
    left = share * total - least
    if left < 0:
        raise ConfigError(
            f"a share of {share:g} of the weights is too small",
            f"rank 1 everywhere and the output layers are {least / total:.4f} of them",
        )
    sizes = [each.sizes() for each in spectra]
    at = [0] * len(spectra)
    while True:
        steps = []  # (gain for each weight, weights, layer) of the layers' next sizes
        for index, each in enumerate(spectra):
            if at[index] + 1 < len(sizes[index]):
                (rank, error), (larger, smaller_error) = sizes[index][at[index] : at[index] + 2]
                cost = each.weights_at(larger) - each.weights_at(rank)
                if cost <= left:
                    steps.append(((error - smaller_error) / max(cost, 1), cost, index))
        if not steps:
            break
        _, cost, index = max(steps)
        at[index] += 1
        left -= cost
    return {each.name: sizes[i][at[i]][0] for i, each in enumerate(spectra)}


def least_weights(spectra: Sequence[Spectrum], other_weights: int) -> int:
    """Weights of all layers where each is as small as can be."""
    return other_weights + sum(each.weights_at(each.sizes()[0][0]) for each in spectra)


def _for_speedup(
    spectra: Sequence[Spectrum],
    other_weights: int,
    speedup: float,
    seconds: Callable[[Ranks], float],
) -> Ranks:
    """The largest ranks with which the layers take 1 / speedup of their time, by bisection."""
    whole: Ranks = {each.name: None for each in spectra}
    limit = seconds(whole) / speedup
    total = sum(each.weights for each in spectra) + other_weights
    low, high = (least_weights(spectra, other_weights) + 1) / total, 1.0
    best = for_parameter_budget(spectra, other_weights, low)
    if seconds(best) > limit:
        raise ConfigError(
            f"{speedup:g} times faster cannot be reached: even rank 1 takes longer here",
            "ask for less",
        )
    for _ in range(8):  # to 1/256 of the range
        middle = (low + high) / 2
        ranks = for_parameter_budget(spectra, other_weights, middle)
        if seconds(ranks) <= limit:
            low, best = middle, ranks
        else:
            high = middle
    return best
