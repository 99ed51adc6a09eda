import numpy as np
import pytest

from frcnn_cli.proposers.selective_search.ranking import (
    demote_near_duplicates,
    first_occurrences,
    random_numbers,
)
from reference import near_duplicates_later


def random_boxes(rng, count, size=60):
    first = rng.integers(0, size - 1, (count, 2))
    second = first + 1 + rng.integers(0, size - first, (count, 2))
    return np.concatenate([first, np.minimum(second, size)], axis=1).astype(np.int32)


@pytest.mark.parametrize("threshold", [0.01, 0.3, 0.5, 0.75, 0.8, 0.95, 0.999])
@pytest.mark.parametrize(("seed", "factor"), list(enumerate((1.0, 1.5, 3.0, 6.0, 1e9))))
def test_the_order_equals_the_reference(seed, factor, threshold):
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, 300, size=(12, 60)[seed % 2])
    order = demote_near_duplicates(boxes, threshold, factor)
    assert order.tolist() == near_duplicates_later(boxes.tolist(), threshold, factor)


def test_an_overlap_at_the_threshold_is_no_duplicate():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 9], [50, 50, 60, 60]], np.int32)
    assert demote_near_duplicates(boxes, 0.8, 9).tolist() == [0, 1, 3, 2]
    assert demote_near_duplicates(boxes, 0.79, 9).tolist() == [0, 3, 1, 2]


def test_what_a_duplicate_overlaps_does_not_count():
    # the third is near the second alone, and that is a duplicate itself
    boxes = np.array([[0, 0, 100, 10], [8, 0, 108, 10], [16, 0, 116, 10]], np.int32)
    assert demote_near_duplicates(boxes, 0.8, 9).tolist() == [0, 2, 1]


def test_of_equal_ranks_the_earlier_box_stays_first():
    boxes = np.array([[9, 9, 19, 19], [9, 9, 19, 18], [0, 0, 9, 9], [30, 0, 39, 9]], np.int32)
    assert demote_near_duplicates(boxes, 0.8, 2).tolist() == [0, 2, 1, 3]


@pytest.mark.parametrize("threshold", [1.0, 2.0])
def test_from_one_on_nothing_changes(threshold):
    boxes = random_boxes(np.random.default_rng(0), 50)
    assert demote_near_duplicates(boxes, threshold, 9).tolist() == list(range(50))


def test_one_box():
    assert demote_near_duplicates(np.array([[0, 0, 1, 1]], np.int32), 0.8, 9).tolist() == [0]


def test_first_occurrences():
    boxes = np.array(
        [[0, 0, 2, 2], [0, 0, 2, 1], [0, 0, 2, 2], [0, 1, 2, 2], [0, 0, 2, 1]], np.int32
    )
    assert first_occurrences(boxes).tolist() == [0, 1, 3]


@pytest.mark.parametrize("count", [0, 1, 500])
def test_first_occurrences_equal_a_set(count):
    boxes = random_boxes(np.random.default_rng(0), count, size=5)
    seen, expected = set(), []
    for index, box in enumerate(map(tuple, boxes.tolist())):
        if box not in seen:
            expected.append(index)
        seen.add(box)
    assert first_occurrences(boxes).tolist() == expected
    assert first_occurrences(boxes + 32_700).tolist() == expected


def test_random_numbers_depend_on_all_arguments_and_begin_alike():
    base = random_numbers(3, 1, 1000)
    assert base.tolist()[:10] == random_numbers(3, 1, 10).tolist()
    assert 0 <= base.min() < 0.01 < 0.99 < base.max() < 1
    assert abs(base.mean() - 0.5) < 0.03
    assert not np.isin(base, random_numbers(4, 1, 1000)).any()
    assert not np.isin(base, random_numbers(3, 2, 1000)).any()
