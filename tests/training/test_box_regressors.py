from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import reference
from frcnn_cli.models.detectors import build_network
from frcnn_cli.training.box_regressors import (
    fold_box_regressors,
    ridge,
    train_box_regressors,
)
from region_data import CLASSES, WIDTH, make_regions
from tiny import NAME, add_tiny_backbone


@pytest.mark.parametrize("penalty", [0.1, 1.0, 1000.0])
@pytest.mark.parametrize("parts", [1, 3])
def test_ridge_is_the_closed_form(penalty: float, parts: int) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(3, 2, (50, 7)), rng.normal(-1, 1, (50, 4))
    w, b = ridge(zip(np.array_split(x, parts), np.array_split(y, parts), strict=True), penalty)
    # an example with the constant 1, whose weight is not penalised
    z = np.hstack([x, np.ones((50, 1))])
    penalties = penalty * np.diag([1.0] * 7 + [0.0])
    expected = np.linalg.inv(z.T @ z + penalties) @ z.T @ y
    np.testing.assert_allclose(np.vstack([w, b]), expected, atol=1e-9)


def test_a_large_penalty_leaves_the_mean() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 7)), rng.normal(5, 1, (50, 2))
    w, b = ridge([(x, y)], 1e12)
    assert np.abs(w).max() < 1e-9
    np.testing.assert_allclose(b, y.mean(axis=0))


def test_regressors_of_a_class_are_ridge_on_regions_near_its_objects(tmp_path: Path) -> None:
    store, truths = make_regions(tmp_path)
    regressors = train_box_regressors(store, truths, CLASSES + 1)
    rows = store.features(np.arange(store.rows)).astype(np.float64)
    scale = 20 / np.linalg.norm(rows, axis=1).mean()
    for label in (1, 2):
        x, y = [], []
        for image, truth in enumerate(truths):
            features = store.features(store.slice_of(image))
            for box, feature in zip(store.boxes(image), features, strict=True):
                overlaps = [reference.iou(box, other) for other in truth.boxes]
                nearest = int(np.argmax(overlaps))
                if overlaps[nearest] >= 0.6 and truth.labels[nearest] == label:
                    x.append(feature * scale)
                    y.append(reference.encode(box.tolist(), truth.boxes[nearest].tolist()))
        w, b = ridge([(np.array(x), np.array(y))], 1000.0)
        np.testing.assert_allclose(regressors.weights[label - 1], (scale * w).T, atol=1e-5)
        np.testing.assert_allclose(regressors.biases[label - 1], b, atol=1e-5)
    assert not regressors.weights[CLASSES].any()  # a class without objects leaves boxes as they are


def test_folded_regressors_are_the_box_layer(tmp_path: Path, monkeypatch) -> None:
    add_tiny_backbone(monkeypatch, tmp_path)
    store, truths = make_regions(tmp_path / "regions")
    regressors = train_box_regressors(store, truths, CLASSES)
    network = build_network(NAME, CLASSES)
    network.bbox_pred = torch.nn.Linear(WIDTH, 4 * (CLASSES + 1))
    fold_box_regressors(network, regressors)
    x = store.features(np.arange(10))
    with torch.inference_mode():
        deltas = network.bbox_pred(torch.from_numpy(x)).view(10, CLASSES + 1, 4).numpy()
    for k in range(CLASSES):
        expected = x @ regressors.weights[k].T + regressors.biases[k]
        np.testing.assert_allclose(deltas[:, k + 1], expected, atol=1e-6)
    assert not deltas[:, 0].any()
