from __future__ import annotations

import math

import numpy as np
import pytest

from detection_sets import make_detections, make_truth, random_set
from frcnn_cli.evaluation.matching import match_detections
from frcnn_cli.evaluation.reliability import reliability

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
