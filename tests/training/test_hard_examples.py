from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import reference
from frcnn_cli.models.losses import roi_losses
from frcnn_cli.training.hard_examples import HardExampleMiner, hardest
from tiny_training import CONFIG, RUNTIME, assert_same_weights, make_learner, make_trainer

MINING = replace(CONFIG, mined_rois=80, rois_per_batch=16, bg_low=0.0, dropout=0.0)


@pytest.mark.parametrize("count", [0, 1, 7, 30])
def test_the_hardest_are_those_of_a_slow_loop(count) -> None:
    rng = np.random.default_rng(count)
    corners = np.sort(rng.integers(0, 12, (30, 2, 2)), axis=1)  # many boxes overlap
    corners[:, 1] += 1
    boxes = corners.reshape(30, 4).astype(np.float32)
    losses = rng.random(30, dtype=np.float32)
    found = hardest(boxes, losses, count)
    assert found.tolist() == reference.hardest(boxes.tolist(), losses.tolist(), count)


def test_two_rois_of_one_object_are_one_example() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10]], np.float32)
    losses = np.array([3.0, 2.0, 1.0], np.float32)
    assert hardest(boxes, losses, 2).tolist() == [0, 2]
    assert hardest(boxes, losses, 3).tolist() == [0, 1, 2]


def test_the_chosen_have_larger_losses_than_the_rest(dataset, source, init) -> None:
    learner = make_learner(dataset, source, init, MINING)
    batch = learner.batches(0)
    assert batch.roi_counts == (40, 40)
    network, images = learner.network, learner.normalize(batch.images, batch.sizes)
    miner = HardExampleMiner(network, batch, [8, 5], MINING)
    maps = network.image_features(images)
    index = miner(maps, batch.rois)
    assert (index < 40).sum() == 8
    assert len(index) == len(miner.targets.labels) == 13
    assert torch.equal(miner.targets.labels, batch.targets.labels[index])
    losses = roi_losses(network.score_regions(maps, batch.rois), batch.targets, 1.0).detach()
    rest = torch.ones(80, dtype=torch.bool)
    rest[index] = False
    assert losses[index].mean() > losses[rest].mean()
    assert losses[:40].argmax() in index
    assert network.dropout.training


def test_a_heavy_class_has_hard_examples(dataset, source, init) -> None:
    learner = make_learner(dataset, source, init, MINING)
    batch = learner.batches(0)
    network, images = learner.network, learner.normalize(batch.images, batch.sizes)
    maps = network.image_features(images)
    for label in {int(each) for each in batch.targets.labels[:40]}:
        weights = torch.full((network.cls_score.out_features,), 1e-3)
        weights[label] = 1e3
        miner = HardExampleMiner(network, batch, [1, 0], MINING, weights)
        miner(maps, batch.rois)
        assert miner.targets.labels.tolist() == [label]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_all_layers_get_gradients(dataset, source, init, precision) -> None:
    """Autocast would keep the weights of a pass without gradients for the next."""
    learner = make_learner(
        dataset, source, init, MINING, runtime=replace(RUNTIME, precision=precision)
    )
    output, targets, losses = learner.forward(learner.batches(0))
    assert len(output.class_logits) == len(targets.labels) == 16
    torch.autograd.backward(losses.total())
    trained = [p for p in learner.network.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)


def test_mining_among_as_many_as_are_trained_on_changes_nothing(
    dataset, source, init, tmp_path
) -> None:
    config = replace(CONFIG, dropout=0.3)
    for name, mined in (("with", config.rois_per_batch), ("without", 0)):
        settings = replace(config, mined_rois=mined)
        list(make_trainer(dataset, source, init, tmp_path / name, settings).steps())
    assert_same_weights(tmp_path / "with", tmp_path / "without")
