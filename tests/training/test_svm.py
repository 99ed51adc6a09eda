from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import reference
from frcnn_cli.errors import ConfigError, DataError
from frcnn_cli.models.detectors import build_network
from frcnn_cli.models.region_network import SCORE_FUNCTIONS
from frcnn_cli.ops.boxes import from_last_pixel, to_last_pixel
from frcnn_cli.structures import GroundTruth
from frcnn_cli.training import svm
from frcnn_cli.training.region_store import RegionStore
from frcnn_cli.training.svm import LinearSVMs, MiningConfig, fold_svms, train_svms
from region_data import CLASSES, WIDTH, make_regions
from tiny import NAME, add_tiny_backbone

# a penalty at which the example is not separable; trained to the end
MINING = MiningConfig(c=0.01, retrain_after=30, passes=20, tolerance=1e-7, iterations=200_000)


def brute_force(
    store: RegionStore, truths: list[GroundTruth], label: int
) -> tuple[np.ndarray, object]:
    """An SVM on every negative, chosen one by one: scaled features of all regions, and the SVM."""
    from sklearn.svm import LinearSVC

    x, y, everything = [], [], []
    for image, truth in enumerate(truths):
        features = store.features(store.slice_of(image))
        everything.append(features)
        for box, feature in zip(store.boxes(image), features, strict=True):
            own = [
                other for other, its in zip(truth.boxes, truth.labels, strict=True) if its == label
            ]
            if any((box == other).all() for other in own):
                x.append(feature)
                y.append(1)
            elif all(reference.iou(box, other) < 0.3 for other in own):
                x.append(feature)
                y.append(-1)
    rows = np.concatenate(everything)
    scale = 20 / np.linalg.norm(rows, axis=1).mean()
    model = LinearSVC(
        C=MINING.c, loss="hinge", class_weight={1: 2.0}, intercept_scaling=10.0, tol=1e-7,
        max_iter=200_000, random_state=3,
    )  # fmt: skip
    model.fit(np.array(x, np.float64) * scale, y)
    return rows * scale, model


@pytest.fixture
def regions(tmp_path: Path) -> tuple[RegionStore, list[GroundTruth]]:
    return make_regions(tmp_path / "regions")


def test_mining_finds_what_training_on_every_negative_finds(regions) -> None:
    pytest.importorskip("sklearn")
    store, truths = regions
    svms = train_svms(store, truths, CLASSES, MINING)
    for label in (1, 2):
        scaled, model = brute_force(store, truths, label)
        expected = model.decision_function(scaled)
        features = store.features(np.arange(store.rows))
        margins = features @ svms.weights[label - 1] + svms.biases[label - 1]
        assert np.abs(margins - expected).max() < 0.02
        negatives = svms.negatives[label - 1]
        assert 0 < negatives < 0.6 * store.rows  # most were never needed


def test_margins_after_folding_are_the_decision_function(regions, monkeypatch, tmp_path) -> None:
    linear_svc = pytest.importorskip("sklearn.svm").LinearSVC
    add_tiny_backbone(monkeypatch, tmp_path)
    store, _ = regions
    x = store.features(np.arange(store.rows)).astype(np.float64)
    y = x[:, :2] > np.median(x[:, :2], axis=0)
    models = [linear_svc(C=0.01, loss="hinge", random_state=0).fit(x, y[:, k]) for k in (0, 1)]
    svms = LinearSVMs(
        weights=np.stack([model.coef_[0] for model in models]).astype(np.float32),
        biases=np.array([model.intercept_[0] for model in models], np.float32),
        negatives=(0, 0),
    )
    network = build_network(NAME, CLASSES)
    network.cls_score = torch.nn.Linear(WIDTH, CLASSES + 1)
    fold_svms(network, svms)
    with torch.inference_mode():
        margins = network.cls_score(torch.from_numpy(x).float()).numpy()
    for k, model in enumerate(models):
        assert np.abs(margins[:, k + 1] - model.decision_function(x)).max() < 1e-6
    assert (margins[:, 0] == 0).all()
    assert network.score_function == "svm"


def test_scores_keep_the_order_of_margins_and_meet_the_threshold() -> None:
    margins = torch.linspace(-3, 3, 61)[None]
    scores = SCORE_FUNCTIONS["svm"](margins)[0]
    assert (scores.diff() > 0).all()
    assert scores[20].item() == pytest.approx(0.05)  # a margin of -1
    assert scores[30].item() == 0.5


def test_a_class_without_objects_is_never_detected(regions) -> None:
    pytest.importorskip("sklearn")
    store, truths = regions
    svms = train_svms(store, truths, CLASSES + 1, replace(MINING, passes=1))
    assert not svms.weights[2].any()
    score = SCORE_FUNCTIONS["svm"](torch.tensor([[float(svms.biases[2])]]))
    assert score.item() < 1e-6


def test_difficult_objects_are_neither_positive_nor_negative(regions) -> None:
    store, truths = regions
    truth = replace(truths[0], difficult=np.array([True, False]))
    rows = svm.positive_rows(store, [truth, *truths[1:]], CLASSES)
    assert 0 not in rows[0]
    assert rows[1][0] == 1
    overlaps = svm.class_overlaps(store.boxes(0), truth, CLASSES)
    assert overlaps[0, 0] == 1  # too near to be a negative


def test_narrow_objects_are_found_in_the_geometry_of_the_network(tmp_path: Path) -> None:
    objects = np.array([(20, 20, 60, 60), (5, 5, 6, 25), (0.3, 40, 30, 41)], np.float32)
    proposals = np.array([(0, 0, 50, 50)], np.float32)
    regions = from_last_pixel(to_last_pixel(np.concatenate([proposals, objects])))
    assert (regions[2:, 2:] != objects[1:, 2:]).any(axis=1).all()  # they became larger
    store = RegionStore(tmp_path, WIDTH, {})
    store.add(regions, np.zeros((4, WIDTH), np.float16))
    truth = GroundTruth(boxes=objects, labels=np.array([1, 2, 2]), difficult=np.zeros(3, np.bool_))
    rows = svm.positive_rows(store, [truth], CLASSES, ends_are_inside=True)
    assert [each.tolist() for each in rows] == [[1], [2, 3]]
    with pytest.raises(DataError, match="lacks the region of an object of image 1"):
        svm.positive_rows(store, [truth], CLASSES, ends_are_inside=False)


def test_overlaps_are_those_of_a_slow_loop(regions) -> None:
    store, truths = regions
    overlaps = svm.class_overlaps(store.boxes(3), truths[3], CLASSES)
    for row, box in zip(overlaps, store.boxes(3), strict=True):
        expected = [reference.iou(box, other) for other in truths[3].boxes]
        assert row == pytest.approx(expected, abs=1e-5)


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    with pytest.raises(ConfigError, match="scikit-learn, which is not installed") as error:
        svm.require_sklearn()
    assert "pip install" in error.value.hint
