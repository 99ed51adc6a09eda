import numpy as np
import pytest

import reference
from frcnn_cli.evaluation.recall import COUNTS, CURVE, best_overlaps, recall_table
from frcnn_cli.structures import GroundTruth, Proposals


def random_boxes(rng, count):
    corners = rng.integers(0, 30, (count, 2))
    return np.concatenate([corners, corners + rng.integers(1, 30, (count, 2))], 1).astype(
        np.float32
    )


def proposals_of(boxes):
    return Proposals(np.array(boxes, np.float32).reshape(-1, 4), (60, 60))


def truth_of(boxes, difficult=None):
    count = len(boxes)
    flags = np.zeros(count, np.bool_) if difficult is None else np.array(difficult, np.bool_)
    labels = np.ones(count, np.int64)
    return GroundTruth(
        boxes=np.array(boxes, np.float32).reshape(-1, 4), labels=labels, difficult=flags
    )


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_reference(seed):
    rng = np.random.default_rng(seed)
    boxes, objects = random_boxes(rng, 30), random_boxes(rng, 6)
    difficult = rng.random(6) < 0.3
    counts = (1, 2, 10, 30, 1000)
    expected = reference.best_overlaps(
        boxes.tolist(),
        [o for o, d in zip(objects.tolist(), difficult, strict=True) if not d],
        counts,
    )
    result = best_overlaps(proposals_of(boxes), truth_of(objects, difficult), counts)
    assert result.shape == ((~difficult).sum(), 5)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_more_proposals_cover_better():
    boxes = [(0, 0, 10, 5), (20, 20, 30, 30), (0, 0, 10, 10)]
    result = best_overlaps(proposals_of(boxes), truth_of([(0, 0, 10, 10)]), (0, 1, 2, 3))
    assert result.tolist() == [[0, 0.5, 0.5, 1]]


def test_no_proposals():
    result = best_overlaps(proposals_of([]), truth_of([(0, 0, 10, 10)] * 2), (1, 100))
    assert result.tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("truth", [truth_of([]), truth_of([(0, 0, 5, 5)], [True])])
def test_no_objects(truth):
    result = best_overlaps(proposals_of([(0, 0, 5, 5)]), truth, (1, 2, 3))
    assert result.shape == (0, 3)


@pytest.mark.parametrize("seed", range(4))
def test_the_table_equals_the_reference(seed):
    rng = np.random.default_rng(seed)
    counts = (100, 500, 2000)
    best = np.sort(rng.uniform(0, 1, (40, 3)), axis=1).astype(np.float32)
    labels = rng.choice([1, 2, 7], 40)
    expected = reference.recall_table(best.tolist(), labels.tolist(), counts)
    table = recall_table(best, labels, counts)
    assert list(table) == ["100", "500", "2000"]
    for count, row in expected.items():
        assert table[count] == pytest.approx(row, abs=1e-4)


def test_an_overlap_at_the_threshold_counts():
    row = recall_table(np.array([[0.5], [0.7], [0.4]], np.float32), np.array([1, 1, 2]), (100,))
    assert row["100"]["0.5"] == round(2 / 3, 4)
    assert row["100"]["0.7"] == round(1 / 3, 4)
    assert row["100"]["abo"] == round(1.6 / 3, 4)
    assert row["100"]["mabo"] == 0.5


def test_the_counts_of_the_table_are_on_the_curve():
    assert set(COUNTS) <= set(CURVE)
    assert list(CURVE) == sorted(CURVE)
    assert (COUNTS[0], COUNTS[-1]) == (100, 10_000)
