import numpy as np
import pytest

import detection_sets
import reference
from detection_sets import make_detections, make_truth
from frcnn_cli.evaluation import diagnosis
from frcnn_cli.evaluation.diagnosis import (
    BACKGROUND,
    DUPLICATE,
    ERROR_TYPES,
    LOCALISATION,
    NO_ERROR,
    OTHER,
    SIMILAR,
    by_size,
    diagnose,
    score_histogram,
)
from frcnn_cli.evaluation.matching import match_detections
from frcnn_cli.evaluation.voc import average_precision, evaluate_voc, rank_by_class
from frcnn_cli.structures import GroundTruth

CLASSES = 4
GROUPS = ((1, 2), (3, 4), (2, 3))
BOX, FAR = (0, 0, 10, 10), (20, 20, 30, 30)


@pytest.mark.parametrize("seed", range(100))
def test_error_types_equal_those_of_a_loop(seed):
    detections, truths = detection_sets.random_set(seed, CLASSES)
    matched = match_detections(detections, truths, CLASSES)
    result = diagnose(matched, GROUPS, "voc07")
    types, missed = reference.error_kinds(detections, truths, GROUPS)
    names = [None if number == NO_ERROR else ERROR_TYPES[number] for number in result.error_type]
    assert names == types
    assert result.missed.tolist() == missed


def test_the_random_sets_have_errors_of_every_type():
    seen = {each for seed in range(30) for each in types_of(*detection_sets.random_set(seed, 4))}
    assert seen == {NO_ERROR, LOCALISATION, SIMILAR, OTHER, BACKGROUND, DUPLICATE}


def types_of(detections, truths, classes=CLASSES):
    return diagnose(
        match_detections(detections, truths, classes), GROUPS, "voc07"
    ).error_type.tolist()


@pytest.mark.parametrize(
    ("detection", "error_type"),
    [
        ((BOX, 0.5, 1), DUPLICATE),
        (((0, 0, 10, 4), 0.5, 1), LOCALISATION),
        (((0, 0, 10, 1), 0.5, 1), LOCALISATION),
        (((0, 0, 10, 0.9), 0.5, 1), BACKGROUND),
        ((BOX, 0.5, 2), SIMILAR),
        ((BOX, 0.5, 3), OTHER),
        ((FAR, 0.5, 1), BACKGROUND),
    ],
)
def test_types_by_hand(detection, error_type):
    detections = [make_detections((BOX, 0.9, 1), detection)]
    assert types_of(detections, [make_truth((BOX, 1))]) == [NO_ERROR, error_type]


def gains_of(detections, truths):
    matched = match_detections(detections, truths, CLASSES)
    result = diagnose(matched, GROUPS, "voc")
    return dict(zip(ERROR_TYPES, result.gain, strict=True))


def test_a_wrong_place_is_put_right():
    gains = gains_of([make_detections(((0, 0, 10, 4), 0.9, 1))], [make_truth((BOX, 1))])
    assert gains == pytest.approx({**dict.fromkeys(ERROR_TYPES, 0), "localisation": 1})


@pytest.mark.parametrize(("label", "error_type"), [(2, "similar class"), (3, "other class")])
def test_a_wrong_class_is_put_right(label, error_type):
    gains = gains_of([make_detections((BOX, 0.9, label))], [make_truth((BOX, 1))])
    assert gains == pytest.approx({**dict.fromkeys(ERROR_TYPES, 0), error_type: 1})


def test_background_and_duplicates_go():
    truths = [make_truth((BOX, 1), ((40, 0, 50, 10), 1))]
    right = [(BOX, 0.9, 1), ((40, 0, 50, 10), 0.5, 1)]
    gains = gains_of([make_detections(*right, (FAR, 0.7, 1))], truths)
    assert gains == pytest.approx({**dict.fromkeys(ERROR_TYPES, 0), "background": 1 / 6})
    gains = gains_of([make_detections(*right, (BOX, 0.7, 1))], truths)
    assert gains == pytest.approx({**dict.fromkeys(ERROR_TYPES, 0), "duplicate": 1 / 6})


def test_what_is_missed_is_not_counted():
    gains = gains_of(
        [make_detections((BOX, 0.9, 1))], [make_truth((BOX, 1), (FAR, 1), (FAR, 1, True))]
    )
    assert gains == pytest.approx({**dict.fromkeys(ERROR_TYPES, 0), "missed": 0.5})


def test_an_object_that_is_found_is_not_found_again():
    detections = [make_detections((BOX, 0.5, 1), ((0, 0, 10, 4), 0.9, 1), ((0, 0, 10, 4), 0.8, 1))]
    gains = gains_of(detections, [make_truth((BOX, 1))])
    assert gains["localisation"] == pytest.approx(1 - 1 / 3)


def test_a_fix_on_a_difficult_object_only_goes():
    truths = [make_truth((BOX, 1, True), (FAR, 1))]
    gains = gains_of([make_detections(((0, 0, 10, 4), 0.9, 1), (FAR, 0.8, 1))], truths)
    assert gains["localisation"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("detections", "truths"), [([], []), ([make_detections()], [make_truth()])]
)
def test_nothing_at_all(detections, truths):
    matched = match_detections(detections, truths, 2)
    result = diagnose(matched, (), "voc07")
    assert len(result.error_type) == len(result.missed) == 0
    assert np.isnan(result.gain).all()
    assert all(objects == 0 for _, objects in by_size(matched, "voc07").values())
    assert score_histogram(matched, 10)[1].tolist() == [0] * 10


def test_without_groups_nothing_is_similar():
    detections, truths = [make_detections((BOX, 0.9, 2))], [make_truth((BOX, 1))]
    assert diagnose(match_detections(detections, truths, 2), (), "voc07").error_type.tolist() == [
        OTHER
    ]


def sized(side):
    return (0, 0, side, side)


def test_average_precision_by_size():
    truths = [make_truth((sized(10), 1)), make_truth((sized(50), 1)), make_truth((sized(200), 1))]
    detections = [
        make_detections((sized(10), 0.9, 1)),
        make_detections(((0, 0, 20, 20), 0.95, 1)),
        make_detections((sized(200), 0.8, 1), (sized(199), 0.7, 1)),
    ]
    result = by_size(match_detections(detections, truths, 1), "voc")
    # the small false positive counts among the small alone
    assert {k: (pytest.approx(v[0]), v[1]) for k, v in result.items()} == {
        "small": (0.5, 1),
        "medium": (0, 1),
        "large": (1, 1),
    }


def test_all_sizes_together_are_the_whole(monkeypatch):
    monkeypatch.setattr(diagnosis, "SIZES", {"all": (0, np.inf)})
    for seed in range(20):
        detections, truths = detection_sets.random_set(seed, CLASSES)
        matched = match_detections(detections, truths, CLASSES)
        expected = evaluate_voc(detections, truths, CLASSES)
        value, objects = by_size(matched, "voc07")["all"]
        assert value == pytest.approx(expected.mean_ap, nan_ok=True)
        assert objects == expected.object_counts.sum()


def test_the_size_is_that_of_the_outline():
    thin = GroundTruth(
        boxes=np.array([sized(50)], np.float32),
        labels=np.ones(1, int),
        difficult=np.zeros(1, bool),
        areas=np.array([100.0]),
    )
    result = by_size(match_detections([make_detections((sized(50), 0.9, 1))], [thin], 1), "voc")
    assert result["small"] == (1, 1)
    assert result["medium"][1] == 0


def test_histogram_of_scores():
    truths = [make_truth((BOX, 1), (FAR, 1, True))]
    detections = [make_detections((BOX, 1.0, 1), (BOX, 0.15, 1), (FAR, 0.15, 1))]
    edges, true, false = score_histogram(match_detections(detections, truths, 1), 10)
    np.testing.assert_allclose(edges, np.linspace(0, 1, 11))
    assert true.tolist() == [0] * 9 + [1]
    assert false.tolist() == [0, 1] + [0] * 8


def test_scores_of_any_range():
    edges, _, false = score_histogram(
        match_detections([make_detections((BOX, -3, 1), (BOX, 7, 1))], [make_truth()], 1), 4
    )
    assert (edges[0], edges[-1]) == (-3, 7)
    assert false.sum() == 2


def test_the_gains_start_from_the_mean_ap():
    detections, truths = detection_sets.random_set(3, CLASSES)
    matched = match_detections(detections, truths, CLASSES)
    assert average_precision(rank_by_class(matched), "voc07").mean_ap == pytest.approx(
        evaluate_voc(detections, truths, CLASSES).mean_ap
    )
