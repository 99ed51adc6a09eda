import math

import numpy as np
import pytest

import detection_sets
import reference
from detection_sets import make_detections, make_truth
from frcnn_cli.evaluation import matching
from frcnn_cli.evaluation.matching import match_detections
from frcnn_cli.evaluation.voc import (
    VocResult,
    area_ap,
    eleven_point_ap,
    evaluate_voc,
    rank_by_class,
)

CLASSES = 4


@pytest.mark.parametrize("rule", ["voc07", "voc"])
@pytest.mark.parametrize("seeds", [range(start, start + 25) for start in range(0, 500, 25)])
def test_equals_the_devkit(seeds, rule):
    for seed in seeds:
        detections, truths = detection_sets.random_set(seed, CLASSES)
        result = evaluate_voc(detections, truths, CLASSES, rule)
        expected = [reference.voc_ap(detections, truths, k, rule) for k in range(1, CLASSES + 1)]
        np.testing.assert_allclose(result.ap, expected, rtol=0, atol=1e-9, err_msg=f"seed {seed}")
        assert math.isnan(result.ap[CLASSES - 1])
        assert result.object_counts.tolist() == [
            sum(int(((t.labels == k) & ~t.difficult).sum()) for t in truths)
            for k in range(1, CLASSES + 1)
        ]


def test_the_random_sets_are_not_trivial():
    values, empty, difficult, ties = [], 0, 0, 0
    for seed in range(40):
        detections, truths = detection_sets.random_set(seed, CLASSES)
        values += evaluate_voc(detections, truths, CLASSES).ap[:3].tolist()
        empty += sum(not len(each) for each in detections)
        difficult += sum(int(each.difficult.sum()) for each in truths)
        scores = np.concatenate([each.scores for each in detections])
        ties += len(scores) - len(np.unique(scores))
    assert len({round(v, 6) for v in values if 0 < v < 1}) > 50
    assert min(empty, difficult, ties) > 10


def test_blocks_of_pairs_change_nothing(monkeypatch):
    sets = [detection_sets.random_set(seed, CLASSES) for seed in range(5)]
    expected = [match_detections(*each, CLASSES).matches for each in sets]
    monkeypatch.setattr(matching, "_MAX_PAIRS", 3)
    for each, matches in zip(sets, expected, strict=True):
        again = match_detections(*each, CLASSES).matches
        for field in ("nearest", "iou", "true_positive", "ignored"):
            np.testing.assert_array_equal(getattr(again, field), getattr(matches, field))


BOX = (0, 0, 10, 10)


def flags(detections, truths):
    matches = match_detections(detections, truths, 1).matches
    return matches.true_positive.tolist(), matches.ignored.tolist()


@pytest.mark.parametrize(
    ("box", "ap"),
    [
        (BOX, 1),
        ((0, 0, 5, 10), 1),
        ((0, 0, 20, 10), 1),
        ((0, 0, 4, 10), 0),
        ((0, 0, 21, 10), 0),
        ((20, 20, 30, 30), 0),
    ],
)
def test_an_overlap_of_a_half_is_enough(box, ap):
    result = evaluate_voc([make_detections((box, 0.9, 1))], [make_truth((BOX, 1))], 1)
    assert result.ap.tolist() == pytest.approx([ap])


def test_a_duplicate_is_a_false_positive():
    truths = [make_truth((BOX, 1), ((20, 20, 30, 30), 1))]
    detections = [make_detections((BOX, 0.9, 1), (BOX, 0.8, 1), ((20, 20, 30, 30), 0.7, 1))]
    assert evaluate_voc(detections, truths, 1).ap[0] == pytest.approx((6 + 5 * 2 / 3) / 11)


def test_the_better_score_has_the_object():
    detections = [make_detections(((0, 0, 10, 9), 0.8, 1), ((0, 0, 10, 6), 0.9, 1))]
    true_positive, ignored = flags(detections, [make_truth((BOX, 1))])
    assert true_positive == [False, True]
    assert ignored == [False, False]
    assert evaluate_voc(detections, [make_truth((BOX, 1))], 1).ap[0] == pytest.approx(1)


def test_a_detection_goes_to_the_nearest_object_alone():
    objects = make_truth((BOX, 1), ((2, 0, 12, 10), 1))
    true_positive, _ = flags([make_detections((BOX, 0.5, 1), (BOX, 0.5, 1))], [objects])
    assert true_positive == [True, False]


def test_difficult_objects_do_not_count():
    truths = [make_truth((BOX, 1, True), ((20, 20, 30, 30), 1))]
    detections = [make_detections((BOX, 0.9, 1), (BOX, 0.8, 1), ((20, 20, 30, 30), 0.7, 1))]
    result = evaluate_voc(detections, truths, 1)
    assert result.ap[0] == pytest.approx(1)
    assert result.object_counts.tolist() == [1]
    true_positive, ignored = flags(detections, truths)
    assert true_positive == [False, False, True]
    assert ignored == [True, True, False]


def test_only_difficult_objects_is_a_class_without_objects():
    result = evaluate_voc([make_detections((BOX, 0.9, 1))], [make_truth((BOX, 1, True))], 1)
    assert math.isnan(result.ap[0])
    assert result.object_counts.tolist() == [0]
    assert math.isnan(result.mean_ap)


def test_all_detections_ignored():
    truths = [make_truth((BOX, 1, True), ((20, 20, 30, 30), 1))]
    assert evaluate_voc([make_detections((BOX, 0.9, 1))], truths, 1).ap.tolist() == [0]


def test_equal_scores_rank_in_the_order_of_the_images():
    objects = make_truth((BOX, 1))
    right, wrong = make_detections((BOX, 0.5, 1)), make_detections(((20, 20, 30, 30), 0.5, 1))
    assert evaluate_voc([right, wrong], [objects, make_truth()], 1).ap[0] == pytest.approx(1)
    assert evaluate_voc([wrong, right], [make_truth(), objects], 1).ap[0] == pytest.approx(0.5)


def test_objects_of_other_images_and_classes_do_not_match():
    truths = [make_truth((BOX, 1)), make_truth((BOX, 2))]
    detections = [make_detections((BOX, 0.9, 2)), make_detections((BOX, 0.9, 1))]
    assert evaluate_voc(detections, truths, 2).ap.tolist() == [0, 0]


def test_nothing_detected_and_no_images():
    result = evaluate_voc([make_detections()], [make_truth((BOX, 2))], 2)
    np.testing.assert_array_equal(result.ap, [np.nan, 0])
    assert result.mean_ap == 0
    assert np.isnan(evaluate_voc([], [], 3).ap).tolist() == [True] * 3


def test_every_image_needs_both_sides():
    with pytest.raises(ValueError, match="got 1 images of detections and 2 of objects"):
        evaluate_voc([make_detections()], [make_truth((BOX, 1)), make_truth((BOX, 1))], 1)


def test_mean_ap_is_over_the_classes_that_have_objects():
    result = VocResult(np.array([0.5, np.nan, 0.25]), np.array([3, 0, 1]))
    assert result.mean_ap == 0.375


@pytest.mark.parametrize(
    ("recall", "precision", "expected"),
    [
        ([], [], 0),
        ([1.0], [1.0], 11),
        ([0.5], [1.0], 6),
        ([0.49], [1.0], 5),
        ([0.3], [1.0], 3),
        ([0.2, 0.4, 0.4, 0.6], [1, 1, 2 / 3, 3 / 4], 5 + 0.75),
        ([0.0, 0.5, 1.0], [0, 0.5, 2 / 3], 11 * 2 / 3),
    ],
)
def test_eleven_points_by_hand(recall, precision, expected):
    ap = eleven_point_ap(np.array(recall, np.float64), np.array(precision, np.float64))
    assert 11 * ap == pytest.approx(expected)


@pytest.mark.parametrize(
    ("recall", "precision", "expected"),
    [
        ([], [], 0),
        ([1.0], [1.0], 1),
        ([0.5], [1.0], 0.5),
        ([0.2, 0.4, 0.4, 0.6], [1, 1, 2 / 3, 3 / 4], 0.4 + 0.2 * 0.75),
        ([0.0, 0.5, 1.0], [0, 0.5, 2 / 3], 2 / 3),
    ],
)
def test_area_by_hand(recall, precision, expected):
    ap = area_ap(np.array(recall, np.float64), np.array(precision, np.float64))
    assert ap == pytest.approx(expected)


def test_recall_and_precision_at_a_score():
    truths = [make_truth((BOX, 1), ((20, 20, 30, 30), 1))]
    detections = [make_detections((BOX, 0.75, 1), (BOX, 0.5, 1), ((20, 20, 30, 30), 0.25, 1))]
    (ranking,) = rank_by_class(match_detections(detections, truths, 1))
    assert ranking.at(0.76) == (0, pytest.approx(math.nan, nan_ok=True))
    assert ranking.at(0.75) == (0.5, 1)
    assert ranking.at(0.5) == (0.5, 0.5)
    assert ranking.at(0) == (1, pytest.approx(2 / 3))


def test_an_overlap_of_a_half_is_not_left_to_float32():
    box = (0.1, 0.1, 10.3, 7.7)
    half = (0.1, 0.1, 10.3, np.float32(0.1) + (np.float32(7.7) - np.float32(0.1)) / 2)
    detections, truths = [make_detections((half, 0.9, 1))], [make_truth((box, 1))]
    exact = reference.iou(detections[0].boxes[0].tolist(), truths[0].boxes[0].tolist())
    assert flags(detections, truths)[0] == [exact >= 0.5]
