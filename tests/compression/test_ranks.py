from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from frcnn_cli.compression.ranks import Ranks, Spectrum, choose_ranks, ranks_for_budget
from frcnn_cli.config import CompressConfig
from frcnn_cli.errors import ConfigError, WeightsError


def spectrum(name: str, outputs: int, inputs: int, decay: float) -> Spectrum:
    energy = 7.0 * decay ** np.arange(min(outputs, inputs))
    return Spectrum(name=name, outputs=outputs, inputs=inputs, energy=energy)


def no_timer(ranks: Ranks) -> float:
    raise AssertionError("nothing to measure")


# break-even ranks 8.6 and 5
SPECTRA = [spectrum("fc6", 10, 60, 0.7), spectrum("fc7", 10, 10, 0.4)]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (CompressConfig(rank=3), {"fc6": 3, "fc7": 3}),
        (CompressConfig(rank=7), {"fc6": 7, "fc7": None}),
        (CompressConfig(ranks={"fc6": 2, "fc7": 4}), {"fc6": 2, "fc7": 4}),
        (CompressConfig(ranks={"fc7": 4}), {"fc6": None, "fc7": 4}),
        (CompressConfig(ranks={"fc6": 8, "fc7": 5}), {"fc6": 8, "fc7": None}),
    ],
)
def test_ranks_by_name(config: CompressConfig, expected: Ranks) -> None:
    assert choose_ranks(config, SPECTRA, 100, no_timer) == expected


@pytest.mark.parametrize(
    ("config", "error_type", "message"),
    [
        (CompressConfig(rank=9), WeightsError, "no layer would become smaller"),
        (CompressConfig(rank=11), ConfigError, "rank 11 is out of range"),
        (CompressConfig(rank=0), ConfigError, "rank 0 is out of range"),
        (CompressConfig(ranks={"fc7": 11}), ConfigError, "rank 11 of fc7 is out of range"),
        (CompressConfig(ranks={"fc6": 0}), ConfigError, "rank 0 of fc6 is out of range"),
        (CompressConfig(ranks={"fc8": 1}), ConfigError, "unknown layer 'fc8'"),
        (
            CompressConfig(params=0.01),
            ConfigError,
            "a fraction of 0.01 of the weights is too small",
        ),
        (CompressConfig(energy=0.99999999), WeightsError, "no layer would become smaller"),
    ],
)
def test_choices_that_are_refused(config: CompressConfig, error_type: type, message: str) -> None:
    with pytest.raises(error_type, match=message):
        choose_ranks(config, SPECTRA, 100, no_timer)


@pytest.mark.parametrize("fraction", [0.3, 0.5, 0.9, 0.95, 0.97])
def test_energy(fraction: float) -> None:
    ranks = choose_ranks(CompressConfig(energy=fraction), SPECTRA, 100, no_timer)
    for each in SPECTRA:
        rank = ranks[each.name]
        kept = [each.energy[:t].sum() / each.energy.sum() for t in range(11)]
        least = next(t for t in range(11) if kept[t] >= fraction)
        assert rank == (least if least < each.break_even else None)


OTHERS = 50  # weights of layers that are never compressed
# the second layer's directions are worth nearly the same, up to where it may as well keep full rank
SLOW = [spectrum("fc6", 10, 60, 0.7), spectrum("fc7", 10, 10, 0.95)]


def brute_force(spectra: list[Spectrum], fraction: float) -> float:
    """The least sum of relative errors of all ranks within a budget."""
    budget = fraction * (sum(each.full_weights for each in spectra) + OTHERS)
    choices = [[*range(1, int(np.ceil(each.break_even))), None] for each in spectra]
    within = (ranks for ranks in itertools.product(*choices) if used(spectra, ranks) <= budget)
    return min(error(spectra, ranks) for ranks in within)


def used(spectra: list[Spectrum], ranks: Sequence[int | None]) -> int:
    return OTHERS + sum(e.weights_at(r) for e, r in zip(spectra, ranks, strict=True))


def error(spectra: list[Spectrum], ranks: Sequence[int | None]) -> float:
    return sum(
        0.0 if rank is None else each.energy[rank:].sum() / each.energy.sum()
        for each, rank in zip(spectra, ranks, strict=True)
    )


@pytest.mark.parametrize("spectra", [SPECTRA, SLOW])
@pytest.mark.parametrize("fraction", [0.3, 0.4, 0.5, 0.6, 0.8, 0.9])
def test_a_budget_is_kept_and_spent_well(spectra: list[Spectrum], fraction: float) -> None:
    ranks = list(ranks_for_budget(spectra, OTHERS, fraction).values())
    total = sum(each.full_weights for each in spectra) + OTHERS
    assert used(spectra, ranks) <= fraction * total
    # one direction of the wider layer is what greed may leave unspent
    best = brute_force(spectra, fraction - 70 / total)
    assert error(spectra, ranks) <= best + 1e-12


def test_a_layer_that_no_rank_makes_smaller_keeps_its_full_rank() -> None:
    narrow = Spectrum(name="fc8", outputs=1, inputs=5, energy=np.ones(1))
    ranks = ranks_for_budget([SPECTRA[0], narrow], 50, 0.3)
    assert ranks["fc8"] is None
    assert ranks["fc6"] is not None


def test_a_budget_of_everything_keeps_full_rank() -> None:
    assert ranks_for_budget(SPECTRA, 50, 1.5) == {"fc6": None, "fc7": None}


def test_speedup_is_the_largest_that_is_fast_enough() -> None:
    def seconds(ranks: Ranks) -> float:
        return 0.1 + 0.001 * sum(each.weights_at(ranks[each.name]) for each in SPECTRA)

    ranks = choose_ranks(CompressConfig(speedup=2), SPECTRA, 50, seconds)
    limit = seconds({"fc6": None, "fc7": None}) / 2
    assert limit - 0.08 < seconds(ranks) <= limit


def test_a_speedup_that_is_out_of_reach() -> None:
    with pytest.raises(ConfigError, match="10 times faster cannot be reached"):
        choose_ranks(CompressConfig(speedup=10), SPECTRA, 50, lambda ranks: 1.0)
