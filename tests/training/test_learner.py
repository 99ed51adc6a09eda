from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from frcnn_cli.errors import FrcnnError
from frcnn_cli.models.losses import fast_rcnn_loss
from tiny_training import CONFIG, RUNTIME, make_learner, make_trainer


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_training_lowers_the_loss_and_leaves_frozen_layers(
    dataset, source, init, tmp_path, optimizer
) -> None:
    lr = 0.02 if optimizer == "sgd" else 0.002
    config = replace(CONFIG, iterations=300, optimizer=optimizer, lr=lr, lr_schedule="cosine")
    trainer = make_trainer(dataset, source, init, tmp_path / "run", config)
    frozen = trainer.learner.network.features[0].weight.clone()
    free = trainer.learner.network.features[2].weight.clone()
    losses = [step.cls + step.loc for step in trainer.steps()]
    assert np.mean(losses[-30:]) < 0.8 * np.mean(losses[:3])
    assert torch.equal(trainer.learner.network.features[0].weight, frozen)
    assert not torch.equal(trainer.learner.network.features[2].weight, free)


def test_bfloat16_trains_nearly_the_same(dataset, source, init, tmp_path) -> None:
    losses = []
    for precision in ("fp32", "bf16"):
        trainer = make_trainer(
            dataset,
            source,
            init,
            tmp_path / precision,
            runtime=replace(RUNTIME, precision=precision),
        )
        losses.append([step.cls + step.loc for step in trainer.steps()])
        assert all(p.dtype == torch.float32 for p in trainer.learner.network.parameters())
    assert losses[0] != losses[1]
    assert np.allclose(*losses, rtol=0.05)


def test_classification_alone_leaves_the_boxes(dataset, source, init, tmp_path) -> None:
    config = replace(CONFIG, loc_weight=0.0, weight_decay=0.0)
    trainer = make_trainer(dataset, source, init, tmp_path / "run", config)
    before = {key: value.clone() for key, value in trainer.learner.network.state_dict().items()}
    list(trainer.steps())
    after = trainer.learner.network.state_dict()
    assert torch.equal(after["bbox_pred.weight"], before["bbox_pred.weight"])
    assert not torch.equal(after["cls_score.weight"], before["cls_score.weight"])


def test_gradients_are_clipped(dataset, source, init, tmp_path) -> None:
    config = replace(CONFIG, clip_norm=1e-3, momentum=0.0, weight_decay=0.0, bias_lr=1.0)
    trainer = make_trainer(dataset, source, init, tmp_path / "run", replace(config, iterations=1))
    before = [p.detach().clone() for p in trainer.learner.network.parameters()]
    list(trainer.steps())
    changes = [p - old for p, old in zip(trainer.learner.network.parameters(), before, strict=True)]
    norm = torch.stack([change.norm() for change in changes]).norm().item()
    assert norm == pytest.approx(config.lr * 1e-3, rel=0.01)


def test_non_finite_loss_names_the_images(dataset, source, init, tmp_path) -> None:
    trainer = make_trainer(dataset, source, init, tmp_path / "run")
    with torch.no_grad():
        trainer.learner.network.cls_score.bias.fill_(float("nan"))
    names = trainer.learner.batches.image_ids(0)
    with pytest.raises(FrcnnError, match=f"iteration 1, images {', '.join(names)}"):
        list(trainer.steps())


def test_dropout_has_the_probability_of_the_settings(dataset, source, init, tmp_path) -> None:
    for probability in (0.0, 0.3):
        config = replace(CONFIG, dropout=probability)
        trainer = make_trainer(dataset, source, init, tmp_path / f"{probability}", config)
        assert trainer.learner.network.dropout.p == probability


def test_a_trial_changes_nothing(dataset, source, init, tmp_path) -> None:
    losses = []
    for tried in (False, True):
        trainer = make_trainer(dataset, source, init, tmp_path / f"{tried}")
        if tried:
            seconds, held = trainer.learner.trial()
            assert seconds > 0
            assert held > 1e6
        losses.append([metrics.cls + metrics.loc for metrics in trainer.steps()])
    assert losses[0] == losses[1]


def test_a_learner_steps_without_a_trainer(dataset, source, init, tmp_path) -> None:
    expected = [step.cls for step in make_trainer(dataset, source, init, tmp_path / "run").steps()]
    learner = make_learner(dataset, source, init)
    got = []
    while learner.iterations_left:
        metrics = learner.step(learner.batches(learner.iteration))
        assert metrics.iteration == learner.iteration
        got.append(metrics.cls)
    assert got == expected


def test_balanced_classes_are_in_the_loss(dataset, source, init, tmp_path) -> None:
    plain = make_trainer(dataset, source, init, tmp_path / "a").learner
    config = replace(CONFIG, class_weights="balanced")
    balanced = make_trainer(dataset, source, init, tmp_path / "b", config).learner
    output, targets, losses = balanced.forward(balanced.batches(0))
    weights = torch.from_numpy(balanced.batches.statistics.balanced_weights)
    expected = fast_rcnn_loss(output, targets, class_weights=weights)
    assert losses.cls.item() == pytest.approx(expected.cls.item())
    assert losses.cls.item() != plain.forward(plain.batches(0))[2].cls.item()
