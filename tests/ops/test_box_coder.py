import math

import numpy as np
import pytest

import reference
from frcnn_cli.ops import box_coder


def random_boxes(rng, count):
    corners = rng.uniform(0, 500, (count, 2))
    return np.concatenate([corners, corners + rng.uniform(5, 300, (count, 2))], 1).astype(
        np.float32
    )


def row(*values):
    return np.array([values], np.float32)


HAND_COMPUTED = [
    ((0, 0, 10, 20), (0, 0, 10, 20), (0, 0, 0, 0)),
    ((0, 0, 10, 20), (5, 5, 15, 25), (0.5, 0.25, 0, 0)),
    ((0, 0, 10, 20), (-5, 5, 15, 15), (0, 0, math.log(2), math.log(0.5))),
    ((10, 10, 14, 12), (20, 4, 28, 5), (3, -3.25, math.log(2), math.log(0.5))),
]


@pytest.mark.parametrize(("proposal", "target", "deltas"), HAND_COMPUTED)
def test_encode_by_hand(proposal, target, deltas):
    result = box_coder.encode(row(*proposal), row(*target))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, [deltas], atol=1e-6)


@pytest.mark.parametrize(("proposal", "target", "deltas"), HAND_COMPUTED)
def test_decode_by_hand(proposal, target, deltas):
    result = box_coder.decode(row(*proposal), row(*deltas))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, [target], atol=1e-5)


def test_encode_equals_the_reference():
    rng = np.random.default_rng(0)
    proposals, targets = random_boxes(rng, 100), random_boxes(rng, 100)
    expected = [
        reference.encode(p, t) for p, t in zip(proposals.tolist(), targets.tolist(), strict=True)
    ]
    np.testing.assert_allclose(box_coder.encode(proposals, targets), expected, rtol=1e-4, atol=1e-4)


def test_decode_equals_the_reference():
    rng = np.random.default_rng(1)
    proposals = random_boxes(rng, 100)
    deltas = rng.normal(0, 0.7, (100, 4)).astype(np.float32)
    expected = [
        reference.decode(p, d) for p, d in zip(proposals.tolist(), deltas.tolist(), strict=True)
    ]
    np.testing.assert_allclose(box_coder.decode(proposals, deltas), expected, rtol=1e-4, atol=1e-2)


def test_decode_inverts_encode():
    rng = np.random.default_rng(2)
    proposals, targets = random_boxes(rng, 300), random_boxes(rng, 300)
    decoded = box_coder.decode(proposals, box_coder.encode(proposals, targets))
    np.testing.assert_allclose(decoded, targets, atol=5e-3)


def test_huge_log_scales_are_clamped():
    boxes = box_coder.decode(row(0, 0, 16, 32), row(0, 0, 1e30, 89))
    np.testing.assert_allclose(boxes, row(-492, -984, 508, 1016), rtol=1e-5)


def test_log_scales_below_the_limit_are_not_clamped():
    boxes = box_coder.decode(row(0, 0, 2, 2), row(0, 0, 4, 4.1))
    width, height = 2 * math.exp(4), 2 * math.exp(4.1)
    expected = row(1 - width / 2, 1 - height / 2, 1 + width / 2, 1 + height / 2)
    np.testing.assert_allclose(boxes, expected, rtol=1e-5)


def test_very_negative_log_scales_give_an_empty_box():
    np.testing.assert_array_equal(
        box_coder.decode(row(0, 0, 16, 32), row(0, 0, -1e30, -1e30)), row(8, 16, 8, 16)
    )


@pytest.mark.parametrize("code", [box_coder.encode, box_coder.decode])
def test_no_boxes(code):
    none = np.zeros((0, 4), np.float32)
    result = code(none, none)
    assert result.shape == (0, 4)
    assert result.dtype == np.float32
