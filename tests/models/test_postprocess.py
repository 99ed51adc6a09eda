import math

import numpy as np
import pytest
import torch

import reference
from frcnn_cli.models.postprocess import postprocess
from frcnn_cli.models.region_network import SCORE_FUNCTIONS
from frcnn_cli.structures import HeadOutput

IMAGE_SIZE = (100, 200)


def detect(scores, rois, deltas=None, threshold=0.05, nms_threshold=0.3, cap=100):
    """Postprocess logits whose softmax is `scores` [R, K + 1]."""
    logits = torch.tensor(scores, dtype=torch.float32).log()
    if deltas is None:
        deltas = torch.zeros(*logits.shape, 4)
    boxes = np.array(rois, np.float32).reshape(-1, 4)
    output, labels = HeadOutput(logits, deltas), range(1, logits.shape[1])
    return postprocess(
        output,
        boxes,
        IMAGE_SIZE,
        score_threshold=threshold,
        nms_threshold=nms_threshold,
        max_detections=cap,
        labels_wanted=labels,
        score_function=SCORE_FUNCTIONS["softmax"],
    )


def test_one_roi():
    found = detect([[0.2, 0.7, 0.1]], [(10, 20, 50, 60)], threshold=0.5)
    np.testing.assert_allclose(found.boxes, [[10, 20, 50, 60]])
    np.testing.assert_allclose(found.scores, [0.7], rtol=1e-6)
    assert found.labels.tolist() == [1]
    assert found.image_size == IMAGE_SIZE
    assert found.boxes.dtype == found.scores.dtype == np.float32
    assert found.labels.dtype == np.int64


def test_one_roi_may_be_several_classes():
    found = detect([[0.1, 0.2, 0.3, 0.4]], [(10, 20, 50, 60)])
    assert found.labels.tolist() == [3, 2, 1]
    np.testing.assert_allclose(found.scores, [0.4, 0.3, 0.2], rtol=1e-6)


@pytest.mark.parametrize(("threshold", "expected"), [(0.499, 1), (0.5, 0), (0.501, 0)])
def test_a_score_must_be_above_the_threshold(threshold, expected):
    assert len(detect([[0.5, 0.5]], [(0, 0, 9, 9)], threshold=threshold)) == expected


@pytest.mark.parametrize("threshold", [0.0, 0.05])
def test_the_background_is_never_found(threshold):
    found = detect([[0.98, 0.01, 0.01], [0.9, 0.06, 0.04]], [(0, 0, 9, 9), (20, 20, 40, 40)])
    assert found.labels.tolist() == [1]
    everything = detect([[0.98, 0.01, 0.01]], [(0, 0, 9, 9)], threshold=0.0)
    assert everything.labels.tolist() == [1, 2]


def test_the_deltas_of_the_class_are_decoded():
    deltas = torch.zeros(2, 3, 4)
    deltas[0, 0] = 5
    deltas[0, 1] = torch.tensor([0.5, 0.0, 0.0, 0.0])
    deltas[1, 2] = torch.tensor([0.0, 0.0, math.log(2), math.log(0.5)])
    found = detect(
        [[0.1, 0.88, 0.02], [0.2, 0.02, 0.78]],
        [(10, 10, 30, 30), (100, 40, 120, 60)],
        deltas,
    )
    np.testing.assert_allclose(found.boxes, [[20, 10, 40, 30], [90, 45, 130, 55]], rtol=1e-5)
    assert found.labels.tolist() == [1, 2]


def test_boxes_are_clipped():
    found = detect([[0.1, 0.9]], [(-10, -20, 300, 150)])
    assert found.boxes.tolist() == [[0, 0, 200, 100]]


@pytest.mark.parametrize(
    "roi",
    [(210, 10, 220, 20), (10, 110, 20, 120), (-20, 0, -5, 9), (200, 0, 210, 9), (5, 5, 5, 9)],
)
def test_boxes_left_empty_are_dropped(roi):
    found = detect([[0.1, 0.9], [0.4, 0.6]], [roi, (10, 10, 30, 30)])
    assert found.boxes.tolist() == [[10, 10, 30, 30]]
    np.testing.assert_allclose(found.scores, [0.6], rtol=1e-6)


def test_the_best_of_all_classes_are_kept():
    scores = [[0.3, 0.7, 0.0], [0.1, 0.0, 0.9], [0.5, 0.5, 0.0], [0.2, 0.0, 0.8]]
    rois = [(40 * i, 0, 40 * i + 30, 30) for i in range(4)]
    for cap in range(5):
        found = detect(scores, rois, cap=cap)
        assert found.boxes[:, 0].tolist() == [40, 120, 0, 80][:cap]
        assert found.labels.tolist() == [2, 2, 1, 1][:cap]


def test_the_cap_comes_after_nms():
    scores = [[0.1, 0.9], [0.2, 0.8], [0.3, 0.7]]
    found = detect(scores, [(0, 0, 30, 30), (1, 0, 31, 30), (80, 0, 99, 30)], cap=2)
    assert found.boxes[:, 0].tolist() == [0, 80]


def test_nms_is_by_class():
    rois = [(10, 10, 50, 50), (12, 10, 52, 50)]
    assert len(detect([[0.1, 0.9, 0.0], [0.2, 0.8, 0.0]], rois)) == 1
    assert len(detect([[0.1, 0.9, 0.0], [0.2, 0.0, 0.8]], rois)) == 2
    assert len(detect([[0.1, 0.9, 0.0], [0.2, 0.8, 0.0]], rois, nms_threshold=0.95)) == 2


@pytest.mark.parametrize("threshold", [0.05, 0.2, 0.6])
def test_equals_the_steps_one_by_one(threshold):
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 90, (30, 2))
    rois = np.concatenate([corners, corners + rng.uniform(10, 60, (30, 2))], 1).astype(np.float32)
    scores = rng.dirichlet([0.5] * 4, 30)
    deltas = torch.tensor(rng.normal(0, 0.1, (30, 4, 4)), dtype=torch.float32)
    candidates = [
        (
            float(scores[r, k]),
            k,
            np.clip(
                reference.decode(rois[r].tolist(), deltas[r, k].tolist()), 0, (200, 100, 200, 100)
            ),
        )
        for r in range(30)
        for k in range(1, 4)
        if scores[r, k] > threshold
    ]
    kept = reference.nms(
        [c[2] for c in candidates], [c[0] for c in candidates], [c[1] for c in candidates], 0.3
    )[:12]
    found = detect(scores, rois, deltas, threshold, cap=12)
    assert found.labels.tolist() == [candidates[i][1] for i in kept]
    np.testing.assert_allclose(found.scores, [candidates[i][0] for i in kept], rtol=1e-5)
    np.testing.assert_allclose(found.boxes, [candidates[i][2] for i in kept], atol=1e-3)


@pytest.mark.parametrize("rois", [0, 3])
def test_nothing_found(rois):
    found = postprocess(
        HeadOutput(torch.tensor([[9.0, 0.0]] * rois).view(rois, 2), torch.zeros(rois, 2, 4)),
        np.array([[0, 0, 9, 9]] * rois, np.float32).reshape(rois, 4),
        IMAGE_SIZE,
        score_threshold=0.5,
        nms_threshold=0.3,
        max_detections=100,
        labels_wanted=[1],
        score_function=SCORE_FUNCTIONS["softmax"],
    )
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)
    assert found.boxes.dtype == np.float32


def test_half_precision_and_arguments_unchanged():
    logits = torch.tensor([[0.0, 2.0, -1.0]], dtype=torch.bfloat16)
    before = logits.clone()
    deltas = torch.zeros(1, 3, 4, dtype=torch.bfloat16)
    found = postprocess(
        HeadOutput(logits, deltas),
        np.array([[0, 0, 9, 9]], np.float32),
        IMAGE_SIZE,
        score_threshold=0.5,
        nms_threshold=0.3,
        max_detections=9,
        labels_wanted=[1, 2],
        score_function=SCORE_FUNCTIONS["softmax"],
    )
    expected = math.exp(2) / (1 + math.exp(2) + math.exp(-1))
    np.testing.assert_allclose(found.scores, [expected], rtol=1e-5)
    assert torch.equal(logits, before)


def test_arguments_unchanged_in_float32():
    logits = torch.tensor([[0.0, 2.0]])
    rois = np.array([[-5, -5, 900, 900]], np.float32)
    postprocess(
        HeadOutput(logits, torch.zeros(1, 2, 4)),
        rois,
        IMAGE_SIZE,
        score_threshold=0.5,
        nms_threshold=0.3,
        max_detections=9,
        labels_wanted=[1],
        score_function=SCORE_FUNCTIONS["softmax"],
    )
    assert logits.tolist() == [[0, 2]]
    assert rois.tolist() == [[-5, -5, 900, 900]]


def test_only_the_labels_wanted():
    logits = torch.tensor([[0.0, 1.0, 2.0]])
    rois = np.array([[0, 0, 9, 9]], np.float32)
    output = HeadOutput(logits, torch.zeros(1, 3, 4))
    for wanted in ([1], [2], [1, 2], []):
        found = postprocess(
            output,
            rois,
            IMAGE_SIZE,
            score_threshold=0.05,
            nms_threshold=0.3,
            max_detections=9,
            labels_wanted=wanted,
            score_function=SCORE_FUNCTIONS["softmax"],
        )
        assert sorted(found.labels.tolist()) == wanted


def test_soft_nms_lowers_where_nms_drops():
    logits = torch.tensor([[0.1, 0.9], [0.2, 0.8]]).log()
    rois = np.array([(0, 0, 20, 10), (0, 0, 10, 10)], np.float32)
    output = HeadOutput(logits, torch.zeros(2, 2, 4))
    hard = postprocess(
        output,
        rois,
        IMAGE_SIZE,
        score_threshold=0.05,
        nms_threshold=0.3,
        max_detections=100,
        labels_wanted=[1],
        score_function=SCORE_FUNCTIONS["softmax"],
    )
    soft = postprocess(
        output,
        rois,
        IMAGE_SIZE,
        score_threshold=0.05,
        nms_threshold=0.3,
        max_detections=100,
        labels_wanted=[1],
        soft=True,
        score_function=SCORE_FUNCTIONS["softmax"],
    )
    np.testing.assert_allclose(hard.scores, [0.9], rtol=1e-6)
    np.testing.assert_allclose(soft.scores, [0.9, 0.4], rtol=1e-6)
    assert (
        len(
            postprocess(
                output,
                rois,
                IMAGE_SIZE,
                score_threshold=0.4001,
                nms_threshold=0.3,
                max_detections=100,
                labels_wanted=[1],
                soft=True,
                score_function=SCORE_FUNCTIONS["softmax"],
            )
        )
        == 1
    )
    assert (
        len(
            postprocess(
                output,
                rois,
                IMAGE_SIZE,
                score_threshold=0.05,
                nms_threshold=0.3,
                max_detections=1,
                labels_wanted=[1],
                soft=True,
                score_function=SCORE_FUNCTIONS["softmax"],
            )
        )
        == 1
    )


def test_voting_moves_the_boxes_that_stay():
    logits = torch.tensor([[0.1, 0.9], [0.4, 0.6]]).log()
    rois = np.array([(0, 0, 20, 10), (0, 0, 15, 10)], np.float32)
    output = HeadOutput(logits, torch.zeros(2, 2, 4))
    plain = postprocess(
        output,
        rois,
        IMAGE_SIZE,
        score_threshold=0.05,
        nms_threshold=0.3,
        max_detections=100,
        labels_wanted=[1],
        score_function=SCORE_FUNCTIONS["softmax"],
    )
    voted = postprocess(
        output,
        rois,
        IMAGE_SIZE,
        score_threshold=0.05,
        nms_threshold=0.3,
        max_detections=100,
        labels_wanted=[1],
        vote_threshold=0.5,
        score_function=SCORE_FUNCTIONS["softmax"],
    )
    np.testing.assert_allclose(plain.boxes, [[0, 0, 20, 10]], atol=1e-4)
    np.testing.assert_allclose(voted.boxes, [[0, 0, 18, 10]], atol=1e-4)
    np.testing.assert_array_equal(plain.scores, voted.scores)
    soft = postprocess(
        output,
        rois,
        IMAGE_SIZE,
        score_threshold=0.05,
        nms_threshold=0.3,
        max_detections=100,
        labels_wanted=[1],
        soft=True,
        vote_threshold=0.5,
        score_function=SCORE_FUNCTIONS["softmax"],
    )
    np.testing.assert_allclose(soft.boxes[0], [0, 0, 20, 10], atol=1e-4)
