from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from frcnn_cli.models.detectors import build_network
from frcnn_cli.recipes import recipe
from frcnn_cli.training.optimizers import learning_rate, parameter_groups
from tiny import NAME
from tiny_training import CONFIG, make_trainer


def test_learning_rates_of_the_paper() -> None:
    config = recipe("paper")
    assert learning_rate(config, 0) == learning_rate(config, 29_999) == 0.001
    assert learning_rate(config, 30_000) == pytest.approx(0.0001)


def test_cosine_with_warm_up() -> None:
    config = replace(recipe("modern"), iterations=100, warmup=0.1, lr=1.0)
    assert learning_rate(config, 0) == pytest.approx(0.1)
    assert learning_rate(config, 9) == pytest.approx(1.0)
    assert learning_rate(config, 55) == pytest.approx(0.5)
    assert learning_rate(config, 99) < 0.001


def test_biases_learn_twice_as_fast_and_do_not_decay(init) -> None:
    model = build_network(NAME, 2)
    model.freeze_before(None)
    config = recipe("paper")
    settings = {
        id(parameter): (group["factor"], group["weight_decay"])
        for group in parameter_groups(model, config)
        for parameter in group["params"]
    }
    for name, parameter in model.named_parameters():
        if name.startswith("features.0"):
            assert id(parameter) not in settings
        elif name.endswith("bias"):
            assert settings[id(parameter)] == (2.0, 0.0), name
        else:
            assert settings[id(parameter)] == (1.0, 0.0005), name


def test_every_parameter_moves_at_its_own_rate(dataset, source, init, tmp_path) -> None:
    """Plain gradient descent with gradients of one: a step is the rate."""
    config = replace(CONFIG, momentum=0.0, weight_decay=0.0, backbone_lr=0.25, iterations=1)
    trainer = make_trainer(dataset, source, init, tmp_path / "run", config=config)
    step = trainer.learner.optimizer.step

    def step_with_gradients_of_one():
        for group in trainer.learner.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.ones_like(parameter)
        step()

    trainer.learner.optimizer.step = step_with_gradients_of_one
    before = {
        name: each.detach().clone() for name, each in trainer.learner.network.named_parameters()
    }
    list(trainer.steps())
    for name, parameter in trainer.learner.network.named_parameters():
        rate = config.lr * (2 if name.endswith("bias") else 1)
        rate *= 0 if name.startswith("features.0") else 0.25 if "features" in name else 1
        moved = (before[name] - parameter.detach()).mean().item()
        assert moved == pytest.approx(rate, rel=1e-3), name
