import math

import numpy as np
import pytest
import torch

import reference
from frcnn_cli.config import LEAST_SCORE, DetectConfig
from frcnn_cli.models.postprocess import postprocess
from frcnn_cli.models.region_network import SCORE_FUNCTIONS
from frcnn_cli.models.score_calibration import ScoreCalibration
from frcnn_cli.structures import HeadOutput

IMAGE_SIZE = (100, 200)


def run(logits, rois, deltas=None, labels=None, **settings):
    """Postprocess logits [R, K + 1], by default without deltas and box voting."""
    if deltas is None:
        deltas = torch.zeros(*logits.shape, 4)
    return postprocess(
        HeadOutput(logits, deltas),
        np.array(rois, np.float32).reshape(-1, 4),
        IMAGE_SIZE,
        labels=range(1, logits.shape[1]) if labels is None else labels,
        score_function=SCORE_FUNCTIONS["softmax"],
        config=DetectConfig(**{"vote_threshold": 0.0, **settings}),
    )


def calibrated_run(logits, rois, calibration, **settings):
    return postprocess(
        HeadOutput(logits, torch.zeros(*logits.shape, 4)),
        np.array(rois, np.float32).reshape(-1, 4),
        IMAGE_SIZE,
        labels=range(1, logits.shape[1]),
        score_function=SCORE_FUNCTIONS["softmax"],
        calibration=calibration,
        config=DetectConfig(**settings),
    )


def detect(scores, rois, deltas=None, threshold=0.05, nms_threshold=0.3, cap=100):
    """Postprocess logits whose softmax is `scores` [R, K + 1]."""
    return run(
        torch.tensor(scores, dtype=torch.float32).log(),
        rois,
        deltas,
        score_threshold=threshold,
        nms_threshold=nms_threshold,
        max_detections=cap,
    )


def test_one_roi():
    detections = detect([[0.2, 0.7, 0.1]], [(10, 20, 50, 60)], threshold=0.5)
    np.testing.assert_allclose(detections.boxes, [[10, 20, 50, 60]])
    np.testing.assert_allclose(detections.scores, [0.7], rtol=1e-6)
    assert detections.labels.tolist() == [1]
    assert detections.image_size == IMAGE_SIZE
    assert detections.boxes.dtype == detections.scores.dtype == np.float32
    assert detections.labels.dtype == np.int64


def test_one_roi_may_be_several_classes():
    detections = detect([[0.1, 0.2, 0.3, 0.4]], [(10, 20, 50, 60)])
    assert detections.labels.tolist() == [3, 2, 1]
    np.testing.assert_allclose(detections.scores, [0.4, 0.3, 0.2], rtol=1e-6)


@pytest.mark.parametrize(("threshold", "expected"), [(0.499, 1), (0.5, 0), (0.501, 0)])
def test_a_score_must_be_above_the_threshold(threshold, expected):
    assert len(detect([[0.5, 0.5]], [(0, 0, 9, 9)], threshold=threshold)) == expected


@pytest.mark.parametrize("threshold", [0.0, 0.05])
def test_the_background_is_never_found(threshold):
    detections = detect([[0.98, 0.01, 0.01], [0.9, 0.06, 0.04]], [(0, 0, 9, 9), (20, 20, 40, 40)])
    assert detections.labels.tolist() == [1]
    everything = detect([[0.98, 0.01, 0.01]], [(0, 0, 9, 9)], threshold=0.0)
    assert everything.labels.tolist() == [1, 2]


def test_the_deltas_of_the_class_are_decoded():
    deltas = torch.zeros(2, 3, 4)
    deltas[0, 0] = 5
    deltas[0, 1] = torch.tensor([0.5, 0.0, 0.0, 0.0])
    deltas[1, 2] = torch.tensor([0.0, 0.0, math.log(2), math.log(0.5)])
    detections = detect(
        [[0.1, 0.88, 0.02], [0.2, 0.02, 0.78]],
        [(10, 10, 30, 30), (100, 40, 120, 60)],
        deltas,
    )
    np.testing.assert_allclose(detections.boxes, [[20, 10, 40, 30], [90, 45, 130, 55]], rtol=1e-5)
    assert detections.labels.tolist() == [1, 2]


def test_boxes_are_clipped():
    detections = detect([[0.1, 0.9]], [(-10, -20, 300, 150)])
    assert detections.boxes.tolist() == [[0, 0, 200, 100]]


@pytest.mark.parametrize(
    "roi",
    [(210, 10, 220, 20), (10, 110, 20, 120), (-20, 0, -5, 9), (200, 0, 210, 9), (5, 5, 5, 9)],
)
def test_boxes_left_empty_are_dropped(roi):
    detections = detect([[0.1, 0.9], [0.4, 0.6]], [roi, (10, 10, 30, 30)])
    assert detections.boxes.tolist() == [[10, 10, 30, 30]]
    np.testing.assert_allclose(detections.scores, [0.6], rtol=1e-6)


def test_the_best_of_all_classes_are_kept():
    scores = [[0.3, 0.7, 0.0], [0.1, 0.0, 0.9], [0.5, 0.5, 0.0], [0.2, 0.0, 0.8]]
    rois = [(40 * i, 0, 40 * i + 30, 30) for i in range(4)]
    for cap in range(5):
        detections = detect(scores, rois, cap=cap)
        assert detections.boxes[:, 0].tolist() == [40, 120, 0, 80][:cap]
        assert detections.labels.tolist() == [2, 2, 1, 1][:cap]


def test_the_cap_comes_after_nms():
    scores = [[0.1, 0.9], [0.2, 0.8], [0.3, 0.7]]
    detections = detect(scores, [(0, 0, 30, 30), (1, 0, 31, 30), (80, 0, 99, 30)], cap=2)
    assert detections.boxes[:, 0].tolist() == [0, 80]


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
    detections = detect(scores, rois, deltas, threshold, cap=12)
    assert detections.labels.tolist() == [candidates[i][1] for i in kept]
    np.testing.assert_allclose(detections.scores, [candidates[i][0] for i in kept], rtol=1e-5)
    np.testing.assert_allclose(detections.boxes, [candidates[i][2] for i in kept], atol=1e-3)


@pytest.mark.parametrize("rois", [0, 3])
def test_nothing_found(rois):
    detections = run(
        torch.tensor([[9.0, 0.0]] * rois).view(rois, 2), [[0, 0, 9, 9]] * rois, score_threshold=0.5
    )
    assert len(detections) == 0
    assert detections.boxes.shape == (0, 4)
    assert detections.boxes.dtype == np.float32


def test_half_precision_and_arguments_unchanged():
    logits = torch.tensor([[0.0, 2.0, -1.0]], dtype=torch.bfloat16)
    before = logits.clone()
    deltas = torch.zeros(1, 3, 4, dtype=torch.bfloat16)
    detections = run(logits, [[0, 0, 9, 9]], deltas, score_threshold=0.5, max_detections=9)
    expected = math.exp(2) / (1 + math.exp(2) + math.exp(-1))
    np.testing.assert_allclose(detections.scores, [expected], rtol=1e-5)
    assert torch.equal(logits, before)


def test_arguments_unchanged_in_float32():
    logits = torch.tensor([[0.0, 2.0]])
    deltas = torch.full((1, 2, 4), 0.1)
    rois = np.array([[-5, -5, 900, 900]], np.float32)
    for box_regression in (True, False):
        postprocess(
            HeadOutput(logits, deltas),
            rois,
            IMAGE_SIZE,
            labels=[1],
            score_function=SCORE_FUNCTIONS["softmax"],
            config=DetectConfig(score_threshold=0.5, box_regression=box_regression),
        )
    assert logits.tolist() == [[0, 2]]
    assert (deltas == 0.1).all()
    assert rois.tolist() == [[-5, -5, 900, 900]]


def test_only_the_labels_asked_for():
    logits = torch.tensor([[0.0, 1.0, 2.0]])
    for labels in ([1], [2], [1, 2], []):
        detections = run(logits, [[0, 0, 9, 9]], labels=labels, max_detections=9)
        assert sorted(detections.labels.tolist()) == labels


def test_soft_nms_lowers_scores_where_nms_drops_boxes():
    logits = torch.tensor([[0.1, 0.9], [0.2, 0.8]]).log()
    rois = [(0, 0, 20, 10), (0, 0, 10, 10)]
    np.testing.assert_allclose(run(logits, rois).scores, [0.9], rtol=1e-6)
    soft = run(logits, rois, soft_nms=True)
    np.testing.assert_allclose(soft.scores, [0.9, 0.4], rtol=1e-6)
    assert len(run(logits, rois, soft_nms=True, score_threshold=0.4001)) == 1
    assert len(run(logits, rois, soft_nms=True, max_detections=1)) == 1


def test_voting_moves_the_boxes_that_stay():
    logits = torch.tensor([[0.1, 0.9], [0.4, 0.6]]).log()
    rois = [(0, 0, 20, 10), (0, 0, 15, 10)]
    plain, voted = run(logits, rois), run(logits, rois, vote_threshold=0.5)
    np.testing.assert_allclose(plain.boxes, [[0, 0, 20, 10]], atol=1e-4)
    np.testing.assert_allclose(voted.boxes, [[0, 0, 18, 10]], atol=1e-4)
    np.testing.assert_array_equal(plain.scores, voted.scores)
    soft = run(logits, rois, soft_nms=True, vote_threshold=0.5)
    np.testing.assert_allclose(soft.boxes[0], [0, 0, 20, 10], atol=1e-4)


def test_without_box_regression_the_rois_are_the_boxes():
    logits = torch.tensor([[0.1, 0.9], [0.4, 0.6]]).log()
    rois = [(0, 0, 20, 10), (0, 0, 15, 10)]
    deltas = torch.full((2, 2, 4), 0.3)
    detections = run(logits, rois, deltas, box_regression=False, vote_threshold=0.5)
    np.testing.assert_allclose(detections.boxes, [[0, 0, 20, 10]], atol=1e-4)


@pytest.mark.parametrize("soft", [False, True])
def test_class_agnostic_nms_leaves_one_class_for_an_object(soft):
    scores = torch.tensor([[0.1, 0.5, 0.4], [0.2, 0.2, 0.6], [0.1, 0.6, 0.3]])
    rois = [(0, 0, 40, 40), (1, 0, 40, 40), (100, 0, 150, 40)]
    settings = {"score_threshold": 0.25, "soft_nms": soft}
    by_class = run(scores.log(), rois, **settings)
    together = run(scores.log(), rois, class_agnostic=True, **settings)
    assert sorted(by_class.labels[by_class.boxes[:, 0] == 100].tolist()) == [1, 2]
    assert together.boxes[:, 0].tolist() == [100, 1] or together.boxes[:, 0].tolist() == [1, 100]
    assert dict(zip(together.boxes[:, 0].tolist(), together.labels.tolist(), strict=True)) == {
        100: 1,
        1: 2,
    }


@pytest.mark.parametrize("soft_nms", [False, True])
def test_calibration_changes_the_scores_alone(soft_nms):
    generator = torch.Generator().manual_seed(5)
    logits = 2 * torch.randn(60, 4, generator=generator)
    corners = 200 * torch.rand(60, 2, generator=generator)
    sizes = 40 + 40 * torch.rand(60, 2, generator=generator)
    rois = torch.cat([corners, corners + sizes], dim=1).numpy()
    calibration = ScoreCalibration(slope=1.3, offset=-1.5)
    plain = calibrated_run(logits, rois, None, soft_nms=soft_nms)
    found = calibrated_run(logits, rois, calibration, soft_nms=soft_nms)
    assert len(plain) > 20
    np.testing.assert_array_equal(found.boxes, plain.boxes)
    np.testing.assert_array_equal(found.labels, plain.labels)
    expected = calibration.calibrated(torch.from_numpy(plain.scores)).numpy()
    np.testing.assert_array_equal(found.scores, expected)
    # no score in Python's and evaluation's settings: one of 0.05 before calibration
    assert LEAST_SCORE < plain.scores.min() < 0.3
    assert found.scores.min() < 0.05


def test_a_threshold_is_one_of_calibrated_scores():
    scores = torch.linspace(0.02, 0.98, 49, dtype=torch.float64)
    logits = torch.stack([1 - scores, scores], dim=1).log().float()
    rois = [(4 * i, 0, 4 * i + 3, 9) for i in range(49)]
    calibration = ScoreCalibration(slope=1.3, offset=-1.5)
    expected = calibration.calibrated(scores)
    for threshold in (0.1, 0.5, 0.9):
        found = calibrated_run(logits, rois, calibration, score_threshold=threshold)
        assert 0 < len(found) == (expected > threshold).sum()
        assert (found.scores > threshold).all()
