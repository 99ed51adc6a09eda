import dataclasses
import re

import numpy as np
import pytest
import torch

from frcnn_cli.errors import DataError
from frcnn_cli.structures import (
    Batch,
    Detections,
    GroundTruth,
    HeadOutput,
    Losses,
    Proposals,
    RoiTargets,
    Sample,
)

SIZE = (20, 30)


def boxes(count, dtype=np.float32):
    return np.arange(count * 4, dtype=dtype).reshape(count, 4)


def proposals(count=3):
    return Proposals(boxes(count), SIZE)


def ground_truth(count=3):
    return GroundTruth(
        boxes=boxes(count), labels=np.arange(1, count + 1), difficult=np.arange(count) % 2 == 1
    )


def batch(**changes):
    fields = {
        "images": torch.zeros(2, 3, 8, 8, dtype=torch.uint8),
        "sizes": ((8, 8), (8, 8)),
        "rois": torch.zeros(5, 5),
        "roi_counts": (3, 2),
        "scales": (1.0, 1.0),
        "targets": RoiTargets.of(torch.zeros(5, dtype=torch.int64), torch.zeros(5, 4)),
    }
    return Batch(**(fields | changes))


MAKERS = [
    ("Proposals", lambda b: Proposals(b, SIZE)),
    (
        "GroundTruth",
        lambda b: GroundTruth(
            boxes=b, labels=np.ones(len(b), int), difficult=np.zeros(len(b), bool)
        ),
    ),
    (
        "Detections",
        lambda b: Detections(
            boxes=b,
            scores=np.ones(len(b), np.float32),
            labels=np.ones(len(b), int),
            image_size=SIZE,
        ),
    ),
]


@pytest.mark.parametrize(("name", "make"), MAKERS)
@pytest.mark.parametrize("count", [0, 1, 4])
def test_good_boxes(name, make, count):
    assert make(boxes(count)).boxes.shape == (count, 4)


@pytest.mark.parametrize(("name", "make"), MAKERS)
@pytest.mark.parametrize("shape", [(4,), (2, 5), (0,), (2, 4, 1)])
def test_boxes_of_a_wrong_shape(name, make, shape):
    expected = f"{name}.boxes: expected shape any×4, got {shape}"
    with pytest.raises(DataError, match=re.escape(expected)):
        make(np.zeros(shape, np.float32))


@pytest.mark.parametrize(("name", "make"), MAKERS)
@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.float16])
def test_boxes_of_a_wrong_type(name, make, dtype):
    with pytest.raises(DataError, match=rf"{name}\.boxes: expected float32, got {dtype.__name__}"):
        make(boxes(2, dtype))


@pytest.mark.parametrize(("name", "make"), MAKERS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_boxes_that_are_not_finite(name, make, value):
    bad = boxes(2)
    bad[1, 2] = value
    with pytest.raises(DataError, match=rf"{name}\.boxes: expected finite numbers"):
        make(bad)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (
            lambda: GroundTruth(
                boxes=boxes(3), labels=np.ones(2, int), difficult=np.zeros(3, bool)
            ),
            "GroundTruth.labels",
        ),
        (
            lambda: GroundTruth(
                boxes=boxes(3), labels=np.ones(3, int), difficult=np.zeros(4, bool)
            ),
            "GroundTruth.difficult",
        ),
        (
            lambda: Detections(
                boxes=boxes(2), scores=np.ones(3), labels=np.ones(2, int), image_size=SIZE
            ),
            "Detections.scores",
        ),
        (
            lambda: Detections(
                boxes=boxes(2), scores=np.ones(2), labels=np.ones(1, int), image_size=SIZE
            ),
            "Detections.labels",
        ),
        (lambda: RoiTargets.of(torch.zeros(3, 1), torch.zeros(3, 4)), "RoiTargets.labels"),
        (lambda: RoiTargets.of(torch.zeros(3), torch.zeros(2, 4)), "RoiTargets.deltas"),
        (lambda: RoiTargets.of(torch.zeros(3), torch.zeros(3, 5)), "RoiTargets.deltas"),
        (lambda: HeadOutput(torch.zeros(3, 5), torch.zeros(3, 4, 4)), "HeadOutput.box_deltas"),
        (lambda: HeadOutput(torch.zeros(3, 5), torch.zeros(2, 5, 4)), "HeadOutput.box_deltas"),
        (lambda: HeadOutput(torch.zeros(3, 5), torch.zeros(3, 20)), "HeadOutput.box_deltas"),
        (lambda: batch(images=torch.zeros(3, 3, 8, 8)), "Batch.images"),
        (lambda: batch(images=torch.zeros(2, 1, 8, 8)), "Batch.images"),
        (lambda: batch(images=torch.zeros(3, 8, 8)), "Batch.images"),
        (lambda: batch(rois=torch.zeros(5, 4)), "Batch.rois"),
        (lambda: batch(rois=torch.zeros(6, 5)), "Batch.rois"),
        (lambda: batch(rois=torch.zeros(6, 5), roi_counts=(3, 3)), "Batch.targets"),
        (
            lambda: Sample(
                image_id="a",
                image=np.zeros((30, 20, 3), np.uint8),
                proposals=proposals(),
                ground_truth=ground_truth(),
            ),
            "Sample.image",
        ),
        (
            lambda: Sample(
                image_id="a",
                image=np.zeros(SIZE, np.uint8),
                proposals=proposals(),
                ground_truth=ground_truth(),
            ),
            "Sample.image",
        ),
    ],
)
def test_fields_that_do_not_fit_together(make, field):
    with pytest.raises(DataError, match=re.escape(field) + ": expected shape"):
        make()


def test_fields_that_fit_together():
    assert batch().targets is not None
    rois = torch.zeros(9, 5)
    assert batch(rois=rois, roi_counts=(0, 9), targets=None).rois.shape == (9, 5)
    assert (
        Sample(
            image_id="a",
            image=np.zeros((*SIZE, 3), np.uint8),
            proposals=proposals(),
            ground_truth=ground_truth(),
        ).image_id
        == "a"
    )
    assert HeadOutput(torch.zeros(0, 5), torch.zeros(0, 5, 4)).box_deltas.shape == (0, 5, 4)


@pytest.mark.parametrize(("count", "kept"), [(0, 0), (2, 2), (3, 3), (9, 3)])
def test_top_proposals(count, kept):
    top = proposals().top(count)
    np.testing.assert_array_equal(top.boxes, boxes(3)[:kept])
    assert top.image_size == SIZE


def test_choosing_objects():
    truth = ground_truth()
    chosen = truth[np.array([True, False, True])]
    np.testing.assert_array_equal(chosen.boxes, boxes(3)[[0, 2]])
    assert chosen.labels.tolist() == [1, 3]
    assert chosen.difficult.tolist() == [False, False]
    assert len(truth[truth.labels > 9].boxes) == 0


def test_total_loss_and_length():
    assert Losses(torch.tensor(1.5), torch.tensor(0.25)).total().item() == 1.75
    assert (
        len(
            Detections(
                boxes=boxes(2),
                scores=np.ones(2, np.float32),
                labels=np.ones(2, int),
                image_size=SIZE,
            )
        )
        == 2
    )


def test_fields_cannot_be_replaced():
    with pytest.raises(dataclasses.FrozenInstanceError):
        proposals().boxes = boxes(1)


def test_head_output_needs_a_row_for_each_roi():
    with pytest.raises(DataError, match="class_logits"):
        HeadOutput(torch.zeros(3), torch.zeros(3, 5, 4))
