import numpy as np
import pytest
import torch
import torchvision

import reference
from frcnn_cli.ops.nms import nms, soft_nms, vote


def suppress(boxes, scores, labels, threshold):
    return nms(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(labels, np.int64),
        threshold,
    ).tolist()


def random_boxes(rng, count):
    corners = rng.integers(0, 12, (count, 2))
    return np.concatenate([corners, corners + rng.integers(1, 12, (count, 2))], 1).astype(
        np.float32
    )


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("classes", [1, 3])
def test_equals_the_reference_with_ties(threshold, classes):
    rng = np.random.default_rng(classes)
    for count in (1, 2, 30, 80):
        boxes = random_boxes(rng, count)
        scores = (rng.integers(0, 10, count) / 10).astype(np.float32)
        labels = rng.integers(1, classes + 1, count)
        expected = reference.nms(boxes.tolist(), scores.tolist(), labels.tolist(), threshold)
        assert nms(boxes, scores, labels, threshold).tolist() == expected


def test_equals_torchvision():
    rng = np.random.default_rng(5)
    for threshold in (0.25, 0.5):
        boxes = random_boxes(rng, 100) + rng.uniform(0, 1, (100, 1)).astype(np.float32)
        scores = rng.permutation(100).astype(np.float32)
        expected = torchvision.ops.nms(torch.tensor(boxes), torch.tensor(scores), threshold)
        assert nms(boxes, scores, np.ones(100, np.int64), threshold).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("boxes", "at"),
    [
        ([(0, 0, 2, 1), (0, 0, 1, 1)], 0.5),
        ([(0, 0, 10, 1), (0, 0, 3, 1)], 0.3),
        ([(0, 0, 4, 4), (1, 1, 3, 3)], 0.25),
    ],
)
def test_a_box_stays_at_equality(boxes, at):
    assert suppress(boxes, [0.9, 0.8], [1, 1], at) == [0, 1]
    assert suppress(boxes, [0.9, 0.8], [1, 1], at - 1e-4) == [0]


def test_classes_do_not_suppress_one_another():
    boxes = [(0, 0, 5, 5)] * 4
    assert suppress(boxes, [0.6, 0.9, 0.8, 0.7], [1, 2, 1, 2], 0.5) == [1, 2]


def test_a_dropped_box_drops_none():
    boxes = [(0, 0, 10, 1), (3, 0, 13, 1), (6, 0, 16, 1)]
    assert suppress(boxes, [0.9, 0.8, 0.7], [1, 1, 1], 0.5) == [0, 2]


def test_equal_scores_keep_their_order():
    apart = [(10 * i, 0, 10 * i + 5, 5) for i in range(20)]
    assert suppress(apart, [0.5] * 20, [1] * 20, 0.5) == list(range(20))
    assert suppress([(0, 0, 5, 5)] * 3, [0.5] * 3, [1] * 3, 0.5) == [0]


def test_boxes_without_area_stay():
    assert suppress([(1, 1, 1, 1)] * 2, [0.5, 0.6], [1, 1], 0.1) == [1, 0]


def test_no_boxes():
    assert suppress([], [], [], 0.5) == []


def test_the_arguments_are_not_changed():
    boxes = np.array([[0, 0, 1, 1], [5, 5, 9, 9]], np.float32)
    scores, labels = np.array([0.1, 0.2], np.float32), np.array([1, 2])
    copies = boxes.copy(), scores.copy(), labels.copy()
    nms(boxes, scores, labels, 0.5)
    for array, copy in zip((boxes, scores, labels), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_boxes_too_small_for_an_area_stay():
    tiny = np.array([[0, 0, 1e-30, 1e-30]] * 2, np.float32)
    kept = nms(tiny, np.array([0.9, 0.8], np.float32), np.array([1, 1]), 0.5)
    assert kept.tolist() == [0, 1]


def soften(boxes, scores, labels, threshold, min_score=0.0):
    taken, new = soft_nms(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(labels, np.int64),
        threshold,
        min_score,
    )
    return taken.tolist(), new.tolist()


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("min_score", [0.0, 0.3])
def test_soft_equals_the_reference(threshold, classes, min_score):
    rng = np.random.default_rng(classes)
    for count in (1, 2, 30, 80):
        boxes = random_boxes(rng, count)
        scores = rng.uniform(0.05, 1, count).astype(np.float32)
        labels = rng.integers(1, classes + 1, count)
        expected = reference.soft_nms(
            boxes.tolist(), scores.tolist(), labels.tolist(), threshold, min_score
        )
        taken, new = soft_nms(boxes, scores, labels, threshold, min_score)
        assert taken.tolist() == [index for index, _ in expected]
        np.testing.assert_allclose(new, [score for _, score in expected], rtol=1e-5)


def test_soft_lowers_by_the_overlap():
    boxes = [(0, 0, 2, 1), (0, 0, 1, 1), (5, 5, 6, 6)]
    assert soften(boxes, [0.75, 0.5, 0.125], [1, 1, 1], 0.25) == ([0, 1, 2], [0.75, 0.25, 0.125])
    assert soften(boxes, [0.75, 0.5, 0.375], [1, 1, 1], 0.25)[0] == [0, 2, 1]


def test_soft_leaves_a_box_at_equality_and_other_classes():
    boxes = [(0, 0, 2, 1), (0, 0, 1, 1)]
    assert soften(boxes, [0.75, 0.5], [1, 1], 0.5)[1] == [0.75, 0.5]
    assert soften(boxes, [0.75, 0.5], [1, 2], 0.1)[1] == [0.75, 0.5]


def test_soft_leaves_boxes_of_one_picture_to_each_other():
    boxes = np.array([(0, 0, 2, 1), (0, 0, 1, 1), (0, 0, 2, 1)], np.float32)
    scores, labels = np.array([0.75, 0.5, 0.5], np.float32), np.array([1, 1, 1])
    for pictures, expected in (([0, 0, 1], [0.75, 0.5]), ([0, 1, 2], [0.75, 0.25])):
        taken, new = soft_nms(boxes, scores, labels, 0.25, 0.0, np.array(pictures))
        assert taken.tolist() == [0, 1]
        assert new.tolist() == expected
    assert soft_nms(boxes, scores, labels, 0.25, 0.0, np.zeros(3, int))[1].tolist() == [
        0.75, 0.5, 0.5
    ]  # fmt: skip


def test_soft_drops_boxes_whose_score_falls_to_the_minimum():
    boxes = [(0, 0, 2, 1), (0, 0, 1, 1), (0, 0, 2, 1)]
    assert soften(boxes, [0.75, 0.5, 0.5], [1, 1, 1], 0.1, 0.25) == ([0], [0.75])


def test_soft_without_boxes_and_without_areas():
    assert soften([], [], [], 0.5) == ([], [])
    assert soften([(1, 1, 1, 1)] * 2, [0.5, 0.75], [1, 1], 0.1) == ([1, 0], [0.75, 0.5])


def test_soft_does_not_change_its_arguments():
    boxes = np.array([[0, 0, 2, 1], [0, 0, 1, 1]], np.float32)
    scores = np.array([0.75, 0.5], np.float32)
    soft_nms(boxes, scores, np.array([1, 1]), 0.1, 0.0)
    assert scores.tolist() == [0.75, 0.5]


@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.5, 1.0])
def test_voting_equals_the_reference(threshold):
    rng = np.random.default_rng(7)
    for count in (1, 2, 30, 80):
        boxes = random_boxes(rng, count)
        scores = (rng.integers(1, 10, count) / 10).astype(np.float32)
        labels = rng.integers(1, 3, count)
        kept = rng.permutation(count)[: count // 2 + 1]
        expected = reference.vote(
            boxes.tolist(), scores.tolist(), labels.tolist(), kept.tolist(), threshold
        )
        result = vote(boxes, scores, labels, kept, threshold)
        np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_voting_among_none():
    none = np.zeros(0, np.int64)
    assert vote(np.zeros((0, 4), np.float32), np.zeros(0), none, none, 0.5).shape == (0, 4)


def test_a_box_without_voters_stays_as_it_is():
    boxes = np.array([(0, 0, 5, 5), (1, 0, 6, 5), (20, 0, 25, 5)], np.float32)
    labels = np.array([1, 2, 1])
    result = vote(boxes, np.array([0.9, 0.8, 0.7], np.float32), labels, np.arange(3), 0.5)
    np.testing.assert_array_equal(result, boxes)
