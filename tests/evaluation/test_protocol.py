from __future__ import annotations

import numpy as np
import pytest

import reference
from frcnn_cli.config import DetectConfig
from frcnn_cli.evaluation import protocol
from frcnn_cli.evaluation.protocol import candidates_only, select_over_images
from frcnn_cli.models.postprocess import best_of_classes
from frcnn_cli.structures import Detections


def candidates(seed: int, images: int = 6, count: int = 60, classes: int = 3) -> list[Detections]:
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(images):
        corners = rng.uniform(0, 100, (count, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(5, 80, (count, 2))], axis=1)
        result.append(
            Detections(
                boxes=boxes.astype(np.float32),
                scores=rng.random(count, np.float32),
                labels=rng.integers(1, classes + 1, count),
                image_size=(200, 200),
            )
        )
    return result


@pytest.mark.parametrize("per_image", [1, 5, 12, 40])
def test_boxes_are_those_of_the_loop_of_the_papers_code(monkeypatch, per_image: int) -> None:
    monkeypatch.setattr(protocol, "PER_IMAGE", per_image)
    given = candidates(per_image)
    ours = select_over_images(given)
    expected = reference.fast_rcnn_selection(given, classes=3, per_image=per_image)
    for image, (got, kept) in enumerate(zip(ours, expected, strict=True)):
        indices = [i for i in range(len(given[image])) if i in kept]
        assert sorted(got.scores.tolist()) == sorted(given[image].scores[indices].tolist())
        assert (np.diff(got.scores) <= 0).all()
    kept_count = sum(len(each) for each in ours)
    assert 0 < kept_count <= 3 * per_image * len(given)


def test_overlaps_of_exactly_the_threshold_are_suppressed() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 3], [0, 0, 10, 2]], np.float32)  # IoU 0.3, 0.2
    both = Detections(
        boxes=boxes, scores=np.float32([0.9, 0.8, 0.1]), labels=np.array([1, 1, 1]),
        image_size=(10, 10),
    )  # fmt: skip
    (kept,) = select_over_images([both])
    np.testing.assert_allclose(kept.scores, [0.9, 0.1])


def test_nothing_is_selected_from_nothing() -> None:
    empty = candidates(0, images=2, count=0)
    assert [len(each) for each in select_over_images(empty)] == [0, 0]
    assert select_over_images([]) == []


def test_the_best_of_each_class() -> None:
    scores, labels = np.float32([0.5, 0.9, 0.7, 0.7, 0.1]), np.array([2, 1, 2, 2, 1])
    assert best_of_classes(scores, labels, 1).tolist() == [1, 2]
    assert best_of_classes(scores, labels, 2).tolist() == [1, 2, 3, 4]
    assert best_of_classes(scores[:0], labels[:0], 2).tolist() == []


def test_candidates_are_not_suppressed() -> None:
    settings = candidates_only(DetectConfig(precision="bf16"))
    assert (settings.class_limit, settings.nms_threshold, settings.score_threshold) == (100, 1, 0)
    assert settings.precision == "bf16"
