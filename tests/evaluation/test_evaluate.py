from __future__ import annotations

import numpy as np
import pytest

from frcnn_cli.data.voc import load_voc
from frcnn_cli.errors import ConfigError
from frcnn_cli.evaluation.detect_dataset import detect_all
from frcnn_cli.evaluation.evaluate import evaluate
from frcnn_cli.evaluation.metrics import evaluate_detections
from frcnn_cli.evaluation.voc import evaluate_voc
from tiny import CLASSES


def test_an_evaluation_is_that_of_the_detections(detector, dataset) -> None:
    calls: list = []
    result = evaluate(detector, dataset, workers=1, on_image=lambda: calls.append(1))
    assert len(calls) == len(dataset)
    detections = detect_all(detector, dataset, workers=1)
    truths = dataset.ground_truths()
    expected = evaluate_detections(detections, truths, CLASSES, "voc07", 0.5)
    np.testing.assert_array_equal(result.ap, expected.ap)
    assert (result.metric, result.classes, result.score) == ("voc07", tuple(CLASSES), 0.5)
    assert result.mean_ap == evaluate_voc(detections, truths, 3).mean_ap
    assert list(result.ap_by_class) == list(CLASSES)
    assert result.object_counts.sum() == sum((~each.difficult).sum() for each in truths)


def test_some_classes(detector, dataset) -> None:
    every = evaluate(detector, dataset, metric="voc").ap_by_class
    some = evaluate(detector, dataset, metric="voc", classes=["tile", "ball"])
    assert some.ap_by_class == {name: every[name] for name in ("tile", "ball")}


def test_an_unknown_class_is_refused_before_anything_is_detected(detector, dataset) -> None:
    with pytest.raises(ConfigError, match="unknown class 'bal'"):
        evaluate(detector, dataset, classes=["bal"], on_image=lambda: pytest.fail("detects"))


def test_classes_of_the_data_set_are_paired_by_name(detector, voc_folder) -> None:
    expected = evaluate(detector, load_voc(voc_folder, "voc", "val", ()))
    for path in (voc_folder / "Annotations").glob("*.xml"):
        path.write_text(path.read_text().replace("<name>ball", "<name>BALL"))
    result = evaluate(detector, load_voc(voc_folder, "voc", "val", ()))
    np.testing.assert_array_equal(result.ap, expected.ap)
