import contextlib
import io
import json
import sys

import numpy as np
import pytest

import detection_sets
from detection_sets import make_detections, make_truth
from frcnn_cli.errors import ConfigError
from frcnn_cli.evaluation.coco import COCO_METRICS, evaluate_coco
from frcnn_cli.structures import GroundTruth

CLASSES = 4
BOX = (0, 0, 40, 40)


def by_file(folder, detections, truths, classes):
    """The metrics by pycocotools, through files as in its own demonstration."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def xywh(box):
        x1, y1, x2, y2 = (float(v) for v in box)
        return [x1, y1, x2 - x1, y2 - y1]

    annotations = []
    for image, each in enumerate(truths):
        for box, label, difficult in zip(each.boxes, each.labels, each.difficult, strict=True):
            x, y, w, h = xywh(box)
            row = {"id": len(annotations) + 1, "image_id": image, "category_id": int(label)}
            annotations.append(
                {**row, "bbox": [x, y, w, h], "area": w * h, "iscrowd": int(difficult)}
            )
    results = [
        {"image_id": image, "category_id": int(label), "bbox": xywh(box), "score": float(score)}
        for image, each in enumerate(detections)
        for box, score, label in zip(each.boxes, each.scores, each.labels, strict=True)
    ]
    content = {
        "images": [{"id": image} for image in range(len(truths))],
        "categories": [{"id": label, "name": str(label)} for label in range(1, classes + 1)],
        "annotations": annotations,
    }
    (folder / "truth.json").write_text(json.dumps(content))
    (folder / "results.json").write_text(json.dumps(results))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(folder / "truth.json"))
        evaluation = COCOeval(coco, coco.loadRes(str(folder / "results.json")), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


CHUNKS = [range(start, start + 25) for start in range(0, 500, 25)]


@pytest.mark.parametrize(
    "seeds", [CHUNKS[0], *(pytest.param(chunk, marks=pytest.mark.slow) for chunk in CHUNKS[1:])]
)
def test_equals_pycocotools(tmp_path, seeds):
    for seed in seeds:
        detections, truths = detection_sets.random_set(seed, CLASSES)
        if not sum(map(len, detections)):  # loadRes cannot take an empty list
            continue
        expected = by_file(tmp_path, detections, truths, CLASSES)
        result = evaluate_coco(detections, truths, CLASSES)
        stats = np.where(expected.stats < 0, np.nan, expected.stats)
        np.testing.assert_allclose(list(result.metrics.values()), stats, rtol=0, atol=1e-6)
        for k in range(CLASSES):
            own = expected.eval["precision"][:, :, k, 0, -1]
            mean = np.nan if (own < 0).all() else own.mean()
            np.testing.assert_allclose(result.ap[k], mean, rtol=0, atol=1e-6)


def test_by_hand():
    # IoU 0.81: right at the seven thresholds 0.5 … 0.8
    result = evaluate_coco([make_detections(((0, 0, 36, 36), 0.9, 1))], [make_truth((BOX, 1))], 2)
    assert tuple(result.metrics) == COCO_METRICS
    assert result.metrics["AP"] == pytest.approx(0.7)
    assert result.metrics["AP50"] == pytest.approx(1)
    assert result.metrics["APm"] == pytest.approx(0.7)
    assert np.isnan(result.metrics["APs"])
    np.testing.assert_allclose(result.ap, [0.7, np.nan])
    assert result.mean_ap == result.metrics["AP"]


def test_the_area_of_the_outline_decides_the_size():
    thin = GroundTruth(
        boxes=np.array([BOX], np.float32),
        labels=np.array([1]),
        difficult=np.array([False]),
        areas=np.array([900], np.float32),
    )
    metrics = evaluate_coco([make_detections((BOX, 0.9, 1))], [thin], 1).metrics
    assert metrics["APs"] == pytest.approx(1)
    assert np.isnan(metrics["APm"])


def test_difficult_objects_are_ignored():
    truths = [make_truth((BOX, 1, True), ((0, 50, 40, 90), 1))]
    detections = [make_detections((BOX, 0.9, 1), (BOX, 0.8, 1), ((0, 50, 40, 90), 0.7, 1))]
    result = evaluate_coco(detections, truths, 1)
    assert result.mean_ap == pytest.approx(1)


@pytest.mark.parametrize(
    ("detections", "truths"),
    [
        ([], []),
        ([make_detections()], [make_truth()]),
        ([make_detections((BOX, 0.5, 1))], [make_truth((BOX, 1, True))]),
    ],
)
def test_no_objects(detections, truths):
    result = evaluate_coco(detections, truths, 2)
    assert np.isnan(result.mean_ap)
    assert np.isnan(result.ap).all()


def test_nothing_found():
    result = evaluate_coco([make_detections()], [make_truth((BOX, 2))], 2)
    np.testing.assert_array_equal(result.ap, [np.nan, 0])
    assert result.mean_ap == 0


def test_pycocotools_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(ConfigError, match="need pycocotools") as error:
        evaluate_coco([], [], 1)
    assert "frcnn-cli[coco]" in error.value.hint
