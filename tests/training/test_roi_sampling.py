from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from frcnn_cli.ops import box_coder
from frcnn_cli.ops import boxes as box_ops
from frcnn_cli.structures import GroundTruth, Proposals, Sample
from frcnn_cli.training import roi_sampling
from frcnn_cli.training.roi_sampling import SamplingConfig
from frcnn_cli.training.target_normalization import DeltaStatistics

PAPER = SamplingConfig(
    rois_per_image=64, fg_fraction=0.25, fg_threshold=0.5, bg_thresholds=(0.1, 0.5)
)
OBJECTS = np.array([[10, 10, 50, 60], [80, 20, 140, 100], [20, 70, 60, 110]], np.float32)
LABELS = np.array([2, 1, 3], np.int64)


def statistics(classes: int = 3) -> DeltaStatistics:
    rng = np.random.default_rng(2)
    mean = rng.normal(0, 0.1, (classes + 1, 4)).astype(np.float32)
    return DeltaStatistics(mean, rng.uniform(0.1, 0.5, (classes + 1, 4)).astype(np.float32))


def around(boxes: np.ndarray, count: int, spread: float, seed: int = 4) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, spread, (count, *boxes.shape))
    jittered = box_ops.clip((boxes + noise).reshape(-1, 4).astype(np.float32), (120, 160))
    return jittered[((jittered[:, 2:] - jittered[:, :2]) >= 4).all(axis=1)]


def sample(
    boxes: np.ndarray = OBJECTS,
    difficult: tuple[bool, ...] = (False, False, False),
    proposals: np.ndarray | None = None,
) -> Sample:
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    if proposals is None:
        near, far = around(boxes, 30, 3), around(boxes, 30, 25)
        proposals = np.concatenate([near, far]).astype(np.float32)
    truth = GroundTruth(
        boxes=boxes, labels=LABELS[: len(boxes)], difficult=np.array(difficult, bool)
    )
    return Sample(
        image_id="one",
        image=image,
        proposals=Proposals(proposals, (120, 160)),
        ground_truth=truth,
    )


def none() -> np.ndarray:
    return np.zeros((0, 4), np.float32)


def test_a_proposal_in_a_crowd_is_no_example() -> None:
    crowd = np.array([[0, 0, 100, 100]], np.float32)
    proposals = np.array(
        [[10, 10, 50, 60], [60, 0, 130, 100], [30, 0, 100, 100], [71, 0, 171, 100]], np.float32
    )  # within it; 4/7 of it; within it, at its edge; 0.29 of it
    one = sample(np.concatenate([crowd, OBJECTS[:1]]), (True, False), proposals)
    alone = roi_sampling.match_proposals(one)[1]
    assert alone[:2].tolist() == [1, 1]  # the object, and the proposal that is equal to it
    truth = replace(one.ground_truth, crowds=np.array([True, False]))
    with_crowd = roi_sampling.match_proposals(replace(one, ground_truth=truth))[1]
    assert with_crowd[0] == 1  # the object, which lies in the crowd too
    assert with_crowd[1:].tolist() == [-1, alone[2], -1, alone[4]]
    assert roi_sampling.in_crowd(proposals, truth).tolist() == [True, False, True, False]
    assert not roi_sampling.in_crowd(proposals, one.ground_truth).any()


def test_match_proposals_puts_ground_truth_first() -> None:
    one = sample()
    boxes, overlaps, nearest = roi_sampling.match_proposals(one)
    np.testing.assert_array_equal(boxes[:3], OBJECTS)
    np.testing.assert_array_equal(boxes[3:], one.proposals.boxes)
    np.testing.assert_allclose(overlaps[:3], 1)
    assert nearest[:3].tolist() == [0, 1, 2]


def test_match_proposals_agrees_with_a_loop() -> None:
    boxes, overlaps, nearest = roi_sampling.match_proposals(sample())
    for box, overlap, index in zip(boxes, overlaps, nearest, strict=True):
        own = []
        for thing in OBJECTS:
            w = max(0, min(box[2], thing[2]) - max(box[0], thing[0]))
            h = max(0, min(box[3], thing[3]) - max(box[1], thing[1]))
            areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, thing)]
            own.append(w * h / (sum(areas) - w * h))
        assert overlap == pytest.approx(max(own), abs=1e-5)
        assert own[index] == pytest.approx(max(own), abs=1e-5)


def test_match_proposals_leaves_difficult_objects_out() -> None:
    boxes, overlaps, nearest = roi_sampling.match_proposals(
        sample(difficult=(True, False, False), proposals=OBJECTS)
    )
    assert len(boxes) == 2 + 3
    np.testing.assert_array_equal(boxes[:2], OBJECTS[1:])
    assert overlaps[2] < 0.5
    assert nearest[3:].tolist() == [0, 1]


def test_match_proposals_without_objects() -> None:
    boxes, overlaps, nearest = roi_sampling.match_proposals(
        sample(difficult=(True, True, True), proposals=OBJECTS)
    )
    np.testing.assert_array_equal(boxes, OBJECTS)
    assert overlaps.tolist() == [0, 0, 0]
    assert nearest.tolist() == [0, 0, 0]


def test_sample_targets_without_proposals_gives_the_objects() -> None:
    rois, labels, deltas = roi_sampling.sample_targets(
        sample(proposals=none()), PAPER, statistics(), np.random.default_rng(0)
    )
    order = np.lexsort(rois.T)
    np.testing.assert_array_equal(rois[order], OBJECTS[np.lexsort(OBJECTS.T)])
    by_box = {tuple(box): label for box, label in zip(OBJECTS, LABELS, strict=True)}
    assert labels.tolist() == [by_box[tuple(box)] for box in rois]
    normalisation = statistics()
    np.testing.assert_allclose(
        deltas, -normalisation.mean[labels] / normalisation.std[labels], rtol=1e-5, atol=1e-6
    )


def test_sample_targets_counts() -> None:
    _, labels, _ = roi_sampling.sample_targets(
        sample(), PAPER, statistics(), np.random.default_rng(0)
    )
    assert len(labels) == 64
    assert (labels > 0).sum() == 16
    assert (labels[:16] > 0).all()


def test_sample_targets_deltas_decode_to_the_object_of_the_label() -> None:
    normalisation = statistics()
    rois, labels, deltas = roi_sampling.sample_targets(
        sample(), PAPER, normalisation, np.random.default_rng(1)
    )
    chosen = labels > 0
    assert chosen.any()
    fg_labels = labels[chosen]
    raw = deltas[chosen] * normalisation.std[fg_labels] + normalisation.mean[fg_labels]
    decoded = box_coder.decode(rois[chosen], raw.astype(np.float32))
    for box, roi, label in zip(decoded, rois[chosen], fg_labels, strict=True):
        thing = OBJECTS[LABELS.tolist().index(label)]
        np.testing.assert_allclose(box, thing, atol=1e-2)
        assert box_ops.iou(roi[None], thing[None])[0, 0] >= 0.5


def test_sample_targets_background_rows_are_zero_and_overlap_in_range() -> None:
    rois, labels, deltas = roi_sampling.sample_targets(
        sample(), PAPER, statistics(), np.random.default_rng(1)
    )
    background = labels == 0
    assert background.any()
    assert (deltas[background] == 0).all()
    best = box_ops.iou(rois[background], OBJECTS).max(axis=1)
    assert (best >= 0.1).all()
    assert (best < 0.5).all()


def test_sample_targets_never_draws_towards_a_difficult_object() -> None:
    one = sample(difficult=(False, True, False))
    rois, labels, _ = roi_sampling.sample_targets(
        one, PAPER, statistics(), np.random.default_rng(3)
    )
    assert 1 not in labels
    assert set(labels.tolist()) == {0, 2, 3}
    assert not (rois == OBJECTS[1]).all(axis=1).any()


def test_sample_targets_of_difficult_objects_alone_are_none() -> None:
    rois, labels, deltas = roi_sampling.sample_targets(
        sample(difficult=(True, True, True)), PAPER, statistics(), np.random.default_rng(0)
    )
    assert rois.shape == (0, 4)
    assert labels.shape == (0,)
    assert deltas.shape == (0, 4)


def test_sample_targets_without_objects_are_none() -> None:
    one = sample(none(), (), OBJECTS)
    rois, labels, _ = roi_sampling.sample_targets(
        one, PAPER, statistics(), np.random.default_rng(0)
    )
    assert len(rois) == len(labels) == 0


def test_sample_targets_depends_on_the_generator_alone() -> None:
    first, again, other = (
        roi_sampling.sample_targets(sample(), PAPER, statistics(), np.random.default_rng(seed))
        for seed in (5, 5, 6)
    )
    for left, right in zip(first, again, strict=True):
        np.testing.assert_array_equal(left, right)
    assert not np.array_equal(first[0], other[0])


def test_hflip_moves_boxes_with_the_pixels() -> None:
    one = sample()
    image = np.zeros_like(one.image)
    image[10:60, 10:50] = 255
    turned = roi_sampling.hflip(replace(one, image=image))
    ys, xs = np.nonzero(turned.image[..., 0])
    box = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    assert turned.ground_truth.boxes[0].tolist() == box == [110, 10, 150, 60]
    np.testing.assert_array_equal(turned.ground_truth.labels, LABELS)


def test_hflip_keeps_boxes_the_right_way_round() -> None:
    turned = roi_sampling.hflip(sample())
    for boxes in (turned.proposals.boxes, turned.ground_truth.boxes):
        assert (boxes[:, 2] > boxes[:, 0]).all()
        assert boxes.min() >= 0
        assert boxes[:, 2].max() <= 160


def test_hflip_twice_changes_nothing() -> None:
    one = sample()
    twice = roi_sampling.hflip(roi_sampling.hflip(one))
    np.testing.assert_array_equal(twice.image, one.image)
    np.testing.assert_allclose(twice.ground_truth.boxes, one.ground_truth.boxes, atol=1e-4)
    np.testing.assert_allclose(twice.proposals.boxes, one.proposals.boxes, atol=1e-4)
    assert not np.array_equal(roi_sampling.hflip(one).image, one.image)


def test_hflip_leaves_the_sample_alone() -> None:
    one = sample()
    before = one.image.copy(), one.proposals.boxes.copy(), one.ground_truth.boxes.copy()
    roi_sampling.hflip(one)
    np.testing.assert_array_equal(one.image, before[0])
    np.testing.assert_array_equal(one.proposals.boxes, before[1])
    np.testing.assert_array_equal(one.ground_truth.boxes, before[2])


def test_preprocess_training_keeps_rois_in_original_pixels() -> None:
    item = roi_sampling.preprocess_training(
        sample(),
        short_side=60,
        max_side=100,
        sampling=PAPER,
        statistics=statistics(),
        rng=np.random.default_rng(0),
    )
    rois, labels, deltas = roi_sampling.sample_targets(
        sample(), PAPER, statistics(), np.random.default_rng(0)
    )
    assert item.image.shape == (60, 80, 3)
    np.testing.assert_array_equal(item.rois, rois)
    np.testing.assert_array_equal(item.labels, labels)
    np.testing.assert_array_equal(item.deltas, deltas)
