import time

import numpy as np
import pytest

import detection_sets
from detection_sets import make_detections, make_truth
from frcnn_cli.evaluation.compare import compare, resampled_ap
from frcnn_cli.evaluation.matching import match_detections
from frcnn_cli.evaluation.voc import evaluate_voc, rank_by_class
from frcnn_cli.structures import Detections

CLASSES = 4
BOX, FAR = (0, 0, 10, 10), (20, 20, 30, 30)


def distinct(detections):
    """The same detections with distinct scores, since those of copied images would be equal."""
    total = sum(map(len, detections))
    scores = iter(np.random.default_rng(0).permutation(total) / total)
    return [
        Detections(
            boxes=d.boxes,
            scores=np.array([next(scores) for _ in range(len(d))]),
            labels=d.labels,
            image_size=d.image_size,
        )
        for d in detections
    ]


@pytest.mark.parametrize("rule", ["voc07", "voc"])
@pytest.mark.parametrize("seed", range(40))
def test_a_weight_is_a_number_of_copies(seed, rule):
    detections, truths = detection_sets.random_set(seed, CLASSES)
    detections = distinct(detections)
    images = len(truths)
    weights = np.random.default_rng(seed).integers(0, 4, (images, 6))
    objects = np.array(
        [[((t.labels == k) & ~t.difficult).sum() for k in range(1, 5)] for t in truths], float
    )
    ranked = rank_by_class(match_detections(detections, truths, CLASSES))
    result = resampled_ap(ranked, weights, objects, rule)
    for column in range(6):
        copies = np.repeat(np.arange(images), weights[:, column])
        expected = evaluate_voc(
            [detections[i] for i in copies], [truths[i] for i in copies], CLASSES, rule
        )
        np.testing.assert_allclose(result[column], expected.ap, rtol=0, atol=1e-9)


def many(rng, right):
    """50 images with two objects each; the first is found with the probability `right`."""
    truths = [make_truth((BOX, 1), (FAR, 2)) for _ in range(50)]
    detections = [
        make_detections(
            (BOX if rng.random() < right else FAR, rng.random(), 1), (FAR, rng.random(), 2)
        )
        for _ in range(50)
    ]
    return match_detections(detections, truths, 3)


def test_a_real_difference_is_certain_and_none_is_not():
    rng = np.random.default_rng(0)
    poor, good, same = many(rng, 0.3), many(rng, 0.9), many(rng, 0.3)
    result = compare(poor, good, "voc", 300)
    assert result.certain.tolist() == [True, False, False, True]
    assert result.difference[0] > 0.3
    assert result.low[0] < result.difference[0] < result.high[0]
    assert result.difference[3] == pytest.approx(result.difference[0] / 2)
    np.testing.assert_array_equal(np.isnan(result.a), [False, False, True, False])
    assert result.difference[1] == result.low[1] == result.high[1] == 0
    assert not compare(poor, same, "voc", 300).certain[0]
    assert compare(good, poor, "voc", 300).certain[0]


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(60):  # equal detectors: the true difference is 0
        result = compare(many(rng, 0.6), many(rng, 0.6), "voc", 100, int(rng.integers(2**31)))
        inside += bool(result.low[0] <= 0 <= result.high[0])
    assert 50 <= inside <= 60


def test_a_detector_against_itself():
    matched = match_detections(*detection_sets.random_set(5, CLASSES), CLASSES)
    result = compare(matched, matched, "voc07", 20)
    assert not result.certain.any()
    np.testing.assert_array_equal(result.difference[:3], [0, 0, 0])


def test_equal_seeds_give_equal_intervals():
    rng = np.random.default_rng(2)
    a, b = many(rng, 0.5), many(rng, 0.6)
    one, two, other = (compare(a, b, "voc", 50, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.low, two.low)
    assert one.low[0] != other.low[0]


def test_no_objects():
    matched = match_detections([make_detections((BOX, 0.5, 1))], [make_truth()], 2)
    result = compare(matched, matched, "voc07", 10)
    assert np.isnan(result.low).all()
    assert not result.certain.any()


@pytest.mark.slow
def test_a_thousand_resamples_of_val_take_seconds():
    rng = np.random.default_rng(0)
    truths = [make_truth(*((BOX, int(rng.integers(1, 21))) for _ in range(3))) for _ in range(2500)]
    sides = []
    for _ in range(2):
        detections = []
        for _ in range(2500):
            corner = rng.uniform(0, 4, (100, 2)).astype(np.float32)
            boxes = np.concatenate([corner, corner + 10], axis=1)
            labels = rng.integers(1, 21, 100)
            detections.append(
                Detections(boxes=boxes, scores=rng.random(100), labels=labels, image_size=(40, 40))
            )
        sides.append(match_detections(detections, truths, 20))
    start = time.perf_counter()
    compare(*sides, "voc07", 1000)
    assert time.perf_counter() - start < 60
