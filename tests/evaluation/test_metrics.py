import numpy as np
import pytest

import detection_sets
from detection_sets import make_detections
from frcnn_cli.evaluation.coco import COCO_METRICS
from frcnn_cli.evaluation.metrics import evaluate_detections, select_classes, usual_metric
from frcnn_cli.evaluation.voc import evaluate_voc

NAMES = ("a", "b", "c", "d")
BOX = (0, 0, 10, 10)


@pytest.mark.parametrize("rule", ["voc07", "voc"])
def test_the_voc_metrics(rule) -> None:
    detections, truths = detection_sets.random_set(3, 4)
    result = evaluate_detections(detections, truths, NAMES, rule, 0.25)
    expected = evaluate_voc(detections, truths, 4, rule)
    np.testing.assert_array_equal(result.ap, expected.ap)
    assert result.mean_ap == expected.mean_ap
    assert result.rule == rule
    assert result.coco_metrics == {}
    points = [ranking.at(0.25) for ranking in result.rankings]
    np.testing.assert_array_equal(result.recall, [recall for recall, _ in points])
    np.testing.assert_array_equal(result.precision, [precision for _, precision in points])


def test_the_coco_metric() -> None:
    result = evaluate_detections(*detection_sets.random_set(3, 4), NAMES, "coco")
    assert tuple(result.coco_metrics) == COCO_METRICS
    assert result.mean_ap == result.coco_metrics["AP"]
    assert result.rule == "voc"


def test_no_classes_at_all() -> None:
    result = evaluate_detections([], [], ())
    assert len(result.recall) == len(result.precision) == 0
    assert np.isnan(result.mean_ap)


def test_selected_classes_are_renumbered() -> None:
    detections = make_detections((BOX, 0.9, 1), (BOX, 0.8, 3), (BOX, 0.7, 2), (BOX, 0.6, 3))
    (selected,) = select_classes([detections], [3, 1])
    assert selected.labels.tolist() == [2, 1, 1]
    assert selected.scores.tolist() == [np.float32(score) for score in (0.9, 0.8, 0.6)]


@pytest.mark.parametrize(
    ("name", "comparing", "metric"),
    [
        ("voc2007", False, "voc07"),
        ("voc2012", False, "voc"),
        ("voc:folder", True, "voc07"),
        ("yolo:folder", False, "voc07"),
        ("coco:file.json", False, "coco"),
        ("coco", False, "coco"),
        ("coco:file.json", True, "voc"),
    ],
)
def test_the_usual_metric(name, comparing, metric) -> None:
    assert usual_metric(name, comparing) == metric
