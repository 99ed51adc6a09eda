from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from detection_sets import make_detections, make_truth, random_set
from frcnn_cli.evaluation.matching import match_detections
from frcnn_cli.evaluation.reliability import fit_calibration, reliability
from frcnn_cli.models.score_calibration import ScoreCalibration

BOX, OTHER, FAR = (0, 0, 10, 10), (30, 0, 40, 10), (60, 0, 70, 10)
CLASSES = 3


def slow_error(matched, bins: int) -> float:
    """Bin by bin, detection by detection."""
    rows = zip(
        matched.detections.scores.tolist(),
        matched.matches.true_positive.tolist(),
        matched.matches.ignored.tolist(),
        strict=True,
    )
    counted = [(score, right) for score, right, ignored in rows if not ignored]
    total = 0.0
    for b in range(bins):
        own = [each for each in counted if min(math.floor(each[0] * bins), bins - 1) == b]
        if own:
            score = sum(s for s, _ in own) / len(own)
            right = sum(r for _, r in own) / len(own)
            total += len(own) / len(counted) * abs(score - right)
    return total


@pytest.mark.parametrize("seed", range(4))
def test_the_error_is_that_of_a_slow_loop(seed: int) -> None:
    detections, truths = random_set(seed, CLASSES)
    matched = match_detections(detections, truths, CLASSES)
    for bins in (1, 7, 10):
        found = reliability(matched, bins)
        assert found.error == pytest.approx(slow_error(matched, bins), abs=1e-12)
        assert found.counts.sum() == (~matched.matches.ignored).sum()


def test_a_small_case_by_hand() -> None:
    truths = [make_truth((BOX, 1), (FAR, 1, True))]
    detections = [
        make_detections((BOX, 0.95, 1), (OTHER, 0.91, 1), (OTHER, 0.25, 1), (FAR, 0.5, 1))
    ]
    found = reliability(match_detections(detections, truths, 1))
    assert found.counts.tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 0, 2]
    assert found.precision[9] == 0.5
    assert found.scores[9] == pytest.approx(0.93)
    assert np.isnan(found.precision[0])
    assert found.error == pytest.approx((2 * 0.43 + 0.25) / 3)


def test_without_detections_there_is_no_error() -> None:
    matched = match_detections([make_detections()], [make_truth((BOX, 1))], 1)
    assert math.isnan(reliability(matched).error)


def scored(scores, right):
    """A detection in each image, of which some match the object there; and a difficult object."""
    truths = [make_truth((BOX, 1), (FAR, 1, True)) for _ in scores]
    detections = [
        make_detections((BOX if good else OTHER, score, 1), (FAR, 0.9, 1))
        for score, good in zip(scores, right, strict=True)
    ]
    return match_detections(detections, truths, 1)


def unlikeliness(values, scores, right) -> float:
    """What the fit minimises, detection by detection."""
    slope, offset = values
    total = 0.5 * ((slope - 1) ** 2 + offset**2)
    for score, good in zip(scores, right, strict=True):
        odds = math.exp(slope * math.log(score / (1 - score)) + offset)
        total -= math.log(odds / (1 + odds) if good else 1 / (1 + odds))
    return total


def test_the_fit_is_the_likeliest_calibration() -> None:
    generator = np.random.default_rng(3)
    scores = generator.uniform(0.05, 0.999, 60)
    right = generator.uniform(size=60) < scores**3
    found = fit_calibration(scored(scores, right))
    assert found is not None
    assert found.offset < 0
    best = unlikeliness((found.slope, found.offset), scores, right)
    for slope in (-0.02, 0, 0.02):
        for offset in (-0.02, 0, 0.02):
            other = unlikeliness((found.slope + slope, found.offset + offset), scores, right)
            assert other >= best - 1e-5


def test_the_fit_finds_what_scores_mean() -> None:
    generator = np.random.default_rng(4)
    scores = generator.uniform(0.05, 0.999, 4000).astype(np.float32)
    made = ScoreCalibration(slope=1.4, offset=-1.2)
    right = generator.uniform(size=4000) < made.calibrated(torch.from_numpy(scores)).numpy()
    matched = scored(scores, right)
    found = fit_calibration(matched)
    assert found is not None
    assert found.slope == pytest.approx(1.4, abs=0.15)
    assert found.offset == pytest.approx(-1.2, abs=0.15)
    assert reliability(matched).error > 0.1
    assert reliability(matched, calibration=found).error < 0.03


def test_without_right_and_wrong_ones_there_is_no_fit() -> None:
    assert fit_calibration(scored([0.5, 0.9], [True, True])) is None
    assert fit_calibration(scored([0.5, 0.9], [False, False])) is None
    assert fit_calibration(scored([0.0, 1.0], [False, True])) is not None  # no infinite logits
    # a worse score is a better sign: no calibration keeps the order
    assert fit_calibration(scored([0.01, 0.99] * 9, [True, False] * 9)) is None
    matched = match_detections([make_detections()], [make_truth((BOX, 1))], 1)
    assert fit_calibration(matched) is None
