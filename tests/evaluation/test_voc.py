import math

import numpy as np
import pytest

import reference
from frcnn_cli.evaluation.voc import VocResult, eleven_point_ap, evaluate, match
from frcnn_cli.structures import Detections, GroundTruth

IMAGE_SIZE = (40, 40)


def truth(*objects):
    """Objects as (box, label) or (box, label, difficult)."""
    boxes = np.array([o[0] for o in objects], np.float32).reshape(-1, 4)
    labels = np.array([o[1] for o in objects], np.int64)
    difficult = np.array([len(o) > 2 and o[2] for o in objects], np.bool_)
    return GroundTruth(boxes, labels, difficult)


def found(*detections):
    """Detections as (box, score, label)."""
    boxes = np.array([d[0] for d in detections], np.float32).reshape(-1, 4)
    scores = np.array([d[1] for d in detections], np.float32)
    labels = np.array([d[2] for d in detections], np.int64)
    return Detections(boxes, scores, labels, IMAGE_SIZE)


def random_box(rng):
    x, y = rng.integers(0, 12, 2)
    w, h = rng.integers(2, 14, 2)
    return (x, y, x + w, y + h)


def near(rng, box):
    x1, y1, x2, y2 = np.array(box) + rng.integers(-1, 2, 4)
    return (x1, y1, max(x2, x1 + 1), max(y2, y1 + 1))


def random_image(rng, classes):
    objects = [
        (random_box(rng), rng.integers(1, classes), rng.random() < 0.25)
        for _ in range(rng.integers(0, 6))
    ]
    copies = [
        (near(rng, box), rng.integers(1, 8) / 8, label)
        for box, label, _ in objects
        for _ in range(rng.integers(0, 4))
    ]
    strays = [
        (random_box(rng), rng.integers(1, 8) / 8, rng.integers(1, classes + 1))
        for _ in range(rng.integers(0, 5))
    ]
    detections = copies + strays
    order = rng.permutation(len(detections))
    return found(*(detections[i] for i in order)), truth(*objects)


@pytest.mark.parametrize("seed", range(60))
def test_equals_the_devkit(seed):
    rng = np.random.default_rng(seed)
    classes = 4
    images = [random_image(rng, classes) for _ in range(rng.integers(1, 9))]
    detections, truths = [list(side) for side in zip(*images, strict=True)]
    result = evaluate(detections, truths, classes)
    expected = [reference.voc_ap(detections, truths, k) for k in range(1, classes + 1)]
    np.testing.assert_allclose(result.ap, expected, rtol=0, atol=1e-9)
    assert math.isnan(result.ap[classes - 1])
    assert result.objects.tolist() == [
        sum(int(((t.labels == k) & ~t.difficult).sum()) for t in truths)
        for k in range(1, classes + 1)
    ]


def test_the_random_sets_are_not_trivial():
    values = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        images = [random_image(rng, 4) for _ in range(6)]
        detections, truths = zip(*images, strict=True)
        values += evaluate(detections, truths, 4).ap[:3].tolist()
    assert len({round(v, 6) for v in values if 0 < v < 1}) > 15


BOX = (0, 0, 10, 10)


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
    result = evaluate([found((box, 0.9, 1))], [truth((BOX, 1))], 1)
    assert result.ap.tolist() == pytest.approx([ap])


def test_a_duplicate_is_a_false_positive():
    truths = [truth((BOX, 1), ((20, 20, 30, 30), 1))]
    detections = [found((BOX, 0.9, 1), (BOX, 0.8, 1), ((20, 20, 30, 30), 0.7, 1))]
    assert evaluate(detections, truths, 1).ap[0] == pytest.approx((6 + 5 * 2 / 3) / 11)


def test_the_better_score_claims_the_object():
    detections = [found(((0, 0, 10, 9), 0.8, 1), ((0, 0, 10, 6), 0.9, 1))]
    hit, ignored = match(detections[0].boxes[[1, 0]], truth((BOX, 1)))
    assert hit.tolist() == [True, False]
    assert ignored.tolist() == [False, False]
    assert evaluate(detections, [truth((BOX, 1))], 1).ap[0] == pytest.approx(1)


def test_a_detection_goes_to_the_nearest_object_alone():
    objects = truth((BOX, 1), ((2, 0, 12, 10), 1))
    hit, _ = match(np.array([BOX, BOX], np.float32), objects)
    assert hit.tolist() == [True, False]


def test_difficult_objects_do_not_count():
    truths = [truth((BOX, 1, True), ((20, 20, 30, 30), 1))]
    detections = [found((BOX, 0.9, 1), (BOX, 0.8, 1), ((20, 20, 30, 30), 0.7, 1))]
    result = evaluate(detections, truths, 1)
    assert result.ap[0] == pytest.approx(1)
    assert result.objects.tolist() == [1]
    hit, ignored = match(detections[0].boxes, truths[0])
    assert hit.tolist() == [False, False, True]
    assert ignored.tolist() == [True, True, False]


def test_only_difficult_objects_is_a_class_without_objects():
    result = evaluate([found((BOX, 0.9, 1))], [truth((BOX, 1, True))], 1)
    assert math.isnan(result.ap[0])
    assert result.objects.tolist() == [0]
    assert math.isnan(result.mean_ap)


def test_all_detections_ignored():
    truths = [truth((BOX, 1, True), ((20, 20, 30, 30), 1))]
    assert evaluate([found((BOX, 0.9, 1))], truths, 1).ap.tolist() == [0]


def test_equal_scores_rank_in_the_order_of_the_images():
    objects = truth((BOX, 1))
    right, wrong = found((BOX, 0.5, 1)), found(((20, 20, 30, 30), 0.5, 1))
    assert evaluate([right, wrong], [objects, truth()], 1).ap[0] == pytest.approx(1)
    assert evaluate([wrong, right], [truth(), objects], 1).ap[0] == pytest.approx(0.5)


def test_objects_of_other_images_and_classes_do_not_match():
    truths = [truth((BOX, 1)), truth((BOX, 2))]
    detections = [found((BOX, 0.9, 2)), found((BOX, 0.9, 1))]
    assert evaluate(detections, truths, 2).ap.tolist() == [0, 0]


def test_nothing_detected_and_no_images():
    result = evaluate([found()], [truth((BOX, 2))], 2)
    np.testing.assert_array_equal(result.ap, [np.nan, 0])
    assert result.mean_ap == 0
    assert np.isnan(evaluate([], [], 3).ap).tolist() == [True] * 3


def test_every_image_needs_both_sides():
    with pytest.raises(ValueError, match="zip"):
        evaluate([found()], [truth((BOX, 1)), truth((BOX, 1))], 1)


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
