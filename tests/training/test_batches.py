from __future__ import annotations

from dataclasses import replace

import numpy as np

from frcnn_cli.training.batches import epoch_order
from tiny_training import CONFIG, make_trainer


def test_epoch_holds_every_image_and_its_mirror_once() -> None:
    landscape = np.array([True, True, False, True, False])
    order = epoch_order(3, 0, landscape, 2)
    assert order.shape == (5, 2, 2)
    seen = sorted(map(tuple, order.reshape(-1, 2).tolist()))
    assert seen == sorted((image, mirrored) for image in range(5) for mirrored in (0, 1))
    for batch in order:
        assert len(set(landscape[batch[:, 0]])) == 1
    assert not np.array_equal(order, epoch_order(3, 1, landscape, 2))
    assert np.array_equal(order, epoch_order(3, 0, landscape, 2))


def test_one_image_still_makes_a_batch() -> None:
    order = epoch_order(3, 0, np.array([True]), 4)
    assert order.shape == (1, 4, 2)


def test_an_image_without_partner_is_trained_on_in_every_epoch() -> None:
    landscape = np.array([True] * 20 + [False])
    order = epoch_order(1, 0, landscape, 4)
    assert 20 in order[..., 0]


def test_several_scales(dataset, source, init, tmp_path) -> None:
    config = replace(CONFIG, scales=(60, 90, 120), iterations=20, images_per_batch=1)
    trainer = make_trainer(dataset, source, init, tmp_path / "run", config)
    seen = [trainer.learner.batches.scales(iteration)[0] for iteration in range(200)]
    assert {scale: seen.count(scale) > 40 for scale in seen} == dict.fromkeys((60, 90, 120), True)
    for iteration in range(5):
        batch = trainer.learner.batches(iteration)
        assert min(batch.images.shape[2:]) == seen[iteration]
    assert trainer.learner.header.scale == 120


def test_one_roi_of_each_image_is_foreground_a_quarter_of_the_time(
    dataset, source, init, tmp_path
) -> None:
    config = replace(CONFIG, images_per_batch=16, rois_per_batch=16, iterations=40)
    batches = make_trainer(dataset, source, init, tmp_path / "run", config).learner.batches
    labels = []
    for iteration in range(25):
        batch = batches(iteration)
        assert batch.rois[:, 0].tolist() == list(range(16))
        labels += batch.targets.labels.tolist()
    assert abs(np.mean(np.array(labels) > 0) - 0.25) < 0.1  # 400 draws: five standard errors


def test_rois_that_cannot_be_divided_evenly(dataset, source, init, tmp_path) -> None:
    config = replace(CONFIG, images_per_batch=3, rois_per_batch=32)
    batch = make_trainer(dataset, source, init, tmp_path / "run", config).learner.batches(0)
    assert batch.rois[:, 0].int().bincount().tolist() == [11, 11, 10]
