from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from frcnn_cli.models.score_calibration import ScoreCalibration

CALIBRATION = ScoreCalibration(slope=1.2, offset=-1.8)


def slow(score: float, slope: float = 1.2, offset: float = -1.8) -> float:
    odds = (score / (1 - score)) ** slope * math.exp(offset)
    return odds / (1 + odds)


def test_the_odds_grow_by_a_power_and_a_factor() -> None:
    scores = torch.rand(50, 3) * 0.98 + 0.01
    found = CALIBRATION.calibrated(scores)
    assert found.dtype == torch.float32
    expected = [[slow(each) for each in row] for row in scores.tolist()]
    torch.testing.assert_close(found.tolist(), expected, rtol=1e-6, atol=0)


def test_the_order_stays() -> None:
    scores = torch.linspace(0, 1, 100_001)
    for slope, offset in ((1.2, -1.8), (0.5, 3.0), (8.0, 0.0)):
        found = ScoreCalibration(slope=slope, offset=offset).calibrated(scores)
        assert (found.diff() >= 0).all()
        assert (found[0], found[-1]) == (0, 1)
    assert len(CALIBRATION.calibrated(torch.empty(0))) == 0


@pytest.mark.parametrize("probability", [0.0, 1e-9, 0.05, 0.5, 0.97, 1.0])
def test_uncalibrated_is_the_inverse(probability: float) -> None:
    score = CALIBRATION.uncalibrated(torch.tensor([probability], dtype=torch.float64))
    assert CALIBRATION.calibrated(score).item() == pytest.approx(probability, rel=1e-6)


@pytest.mark.parametrize("slope", [0.01, 100])
@pytest.mark.parametrize("offset", [-100, 100])
def test_no_number_is_too_large(slope: float, offset: float) -> None:
    extreme = ScoreCalibration(slope=slope, offset=offset)
    assert extreme.is_valid
    for function in (extreme.calibrated, extreme.uncalibrated):
        found = function(torch.linspace(0, 1, 101))
        assert (found.diff() >= 0).all()
        assert (found[0], found[-1]) == (0, 1)


def test_two_in_a_row() -> None:
    second = ScoreCalibration(slope=0.7, offset=0.3)
    scores = torch.tensor(np.linspace(0.01, 0.99, 9))
    both = second.after(CALIBRATION).calibrated(scores)
    torch.testing.assert_close(both, second.calibrated(CALIBRATION.calibrated(scores)))
    assert second.after(None) == second


@pytest.mark.parametrize(
    ("slope", "offset"), [(0, 0), (-1, 0), (101, 0), (1, 101), (1, -101), (math.nan, 0)]
)
def test_numbers_that_mean_nothing(slope: float, offset: float) -> None:
    assert not ScoreCalibration(slope=slope, offset=offset).is_valid
    assert not ScoreCalibration(slope=1.0, offset=math.nan).is_valid
    assert CALIBRATION.is_valid
