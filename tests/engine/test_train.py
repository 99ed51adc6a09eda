from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from frcnn_cli.config import SelectiveSearchConfig, TrainConfig, recipe
from frcnn_cli.data.dataset import Dataset
from frcnn_cli.data.voc import load_voc
from frcnn_cli.engine import train as train_module
from frcnn_cli.engine.batches import epoch_order
from frcnn_cli.engine.checkpoint import load_weights
from frcnn_cli.engine.optim import learning_rate, parameter_groups
from frcnn_cli.engine.train import InterruptedRun, Trainer, prepare, read_state
from frcnn_cli.errors import DataError, FrcnnError
from frcnn_cli.models.fast_rcnn import build, freeze
from frcnn_cli.proposers.cache import ProposalSource
from frcnn_cli.proposers.methods import selective_search
from tiny import NAME, add_tiny_backbone

CONFIG = TrainConfig(
    backbone=NAME, iterations=6, rois_per_batch=32, scale=120, max_size=200, lr=0.01, seed=5
)


@pytest.fixture
def init(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return add_tiny_backbone(monkeypatch, tmp_path)


@pytest.fixture
def dataset(voc_folder: Path) -> Dataset:
    return load_voc(voc_folder, "voc", "trainval", ())


@pytest.fixture
def source(tmp_path: Path) -> ProposalSource:
    return ProposalSource(selective_search(SelectiveSearchConfig()), tmp_path / "proposals")


def make_trainer(
    dataset: Dataset,
    source: ProposalSource,
    init: Path,
    run: Path,
    config: TrainConfig = CONFIG,
    resume: bool = False,
) -> Trainer:
    state = read_state(run) if resume else None
    trainer, _ = prepare(dataset, source, config, init, None, state, None, "cpu", 1, lambda: None)
    run.mkdir(exist_ok=True)
    trainer.run = run
    return trainer


def tensors_of(run: Path) -> dict[str, torch.Tensor]:
    return load_weights(run / train_module.WEIGHTS_FILE)[0].state_dict()


def test_a_resumed_run_ends_with_the_same_bits(dataset, source, init, tmp_path) -> None:
    whole = make_trainer(dataset, source, init, tmp_path / "whole")
    list(whole.steps())

    first = make_trainer(dataset, source, init, tmp_path / "parts")
    for step in first.steps():
        if step.iteration == 3:
            first.save()
            break
    second = make_trainer(dataset, source, init, tmp_path / "parts", resume=True)
    assert second.iteration == 3
    assert [step.iteration for step in second.steps()] == [4, 5, 6]

    expected, got = tensors_of(tmp_path / "whole"), tensors_of(tmp_path / "parts")
    assert expected.keys() == got.keys()
    for key, tensor in expected.items():
        assert torch.equal(tensor, got[key]), key
    rows = (tmp_path / "parts" / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["iteration", "1", "2", "3", "4", "5", "6"]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_training_lowers_the_loss_and_leaves_frozen_layers(
    dataset, source, init, tmp_path, optimizer
) -> None:
    lr = 0.02 if optimizer == "sgd" else 0.002
    config = replace(CONFIG, iterations=300, optimizer=optimizer, lr=lr, lr_schedule="cosine")
    trainer = make_trainer(dataset, source, init, tmp_path / "run", config)
    frozen = trainer.model.features[0].weight.clone()
    free = trainer.model.features[2].weight.clone()
    losses = [step.cls + step.loc for step in trainer.steps()]
    assert np.mean(losses[-30:]) < 0.7 * np.mean(losses[:10])
    assert torch.equal(trainer.model.features[0].weight, frozen)
    assert not torch.equal(trainer.model.features[2].weight, free)


def test_checkpoint_predicts_true_deltas(dataset, source, init, tmp_path) -> None:
    trainer = make_trainer(dataset, source, init, tmp_path / "run")
    deltas = trainer.batches.survey.deltas
    before = trainer.model.bbox_pred.weight.clone()
    trainer.save()
    assert torch.equal(trainer.model.bbox_pred.weight, before)
    saved, header = load_weights(tmp_path / "run" / train_module.WEIGHTS_FILE)
    assert header.classes == dataset.classes
    x = torch.rand(4, trainer.model.bbox_pred.in_features)
    normalised = trainer.model.bbox_pred(x).detach().view(4, -1, 4)
    expected = normalised * torch.from_numpy(deltas.std) + torch.from_numpy(deltas.mean)
    assert torch.allclose(saved.bbox_pred(x).view(4, -1, 4), expected, atol=1e-5)


def test_signal_ends_with_a_checkpoint(dataset, source, init, tmp_path) -> None:
    trainer = make_trainer(dataset, source, init, tmp_path / "run")
    handler = signal.getsignal(signal.SIGINT)
    steps = trainer.steps()
    assert [next(steps).iteration, next(steps).iteration] == [1, 2]
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(InterruptedRun):
        next(steps)
    assert signal.getsignal(signal.SIGINT) is handler
    again = make_trainer(dataset, source, init, tmp_path / "run", resume=True)
    assert again.iteration == 2


def test_non_finite_loss_names_the_images(dataset, source, init, tmp_path) -> None:
    trainer = make_trainer(dataset, source, init, tmp_path / "run")
    with torch.no_grad():
        trainer.model.cls_score.bias.fill_(float("nan"))
    names = trainer.batches.names(0)
    with pytest.raises(FrcnnError, match=f"iteration 1, images {', '.join(names)}"):
        list(trainer.steps())


@pytest.mark.parametrize("content", [None, b"", b"not a checkpoint"])
def test_resuming_needs_a_sound_state(tmp_path, content) -> None:
    if content is not None:
        (tmp_path / train_module.STATE_FILE).write_bytes(content)
    with pytest.raises(DataError):
        read_state(tmp_path)


def test_a_state_of_something_else_is_refused(tmp_path) -> None:
    torch.save({"iteration": 3}, tmp_path / train_module.STATE_FILE)
    with pytest.raises(DataError, match="not a training state"):
        read_state(tmp_path)


def test_changed_annotations_are_noticed_when_resuming(
    dataset, source, init, tmp_path, voc_folder
) -> None:
    make_trainer(dataset, source, init, tmp_path / "run").save()
    path = voc_folder / "Annotations" / "000001.xml"
    path.write_text(path.read_text().replace("<xmin>", "<xmin>1"))
    changed = load_voc(voc_folder, "voc", "trainval", ())
    with pytest.raises(DataError, match="changed since the run began"):
        make_trainer(changed, source, init, tmp_path / "run", resume=True)


def test_resuming_needs_no_initial_weights(dataset, source, init, tmp_path) -> None:
    first = make_trainer(dataset, source, init, tmp_path / "run")
    first.save()
    again = make_trainer(dataset, source, tmp_path / "gone.pth", tmp_path / "run", resume=True)
    assert again.header == first.header


def test_training_is_the_same_twice(dataset, source, init, tmp_path) -> None:
    for name in ("a", "b"):
        list(make_trainer(dataset, source, init, tmp_path / name).steps())
    first, second = tensors_of(tmp_path / "a"), tensors_of(tmp_path / "b")
    assert all(torch.equal(first[key], second[key]) for key in first)


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
    model = build(NAME, 2)
    freeze(model, 1)
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


def test_no_image_waits_for_ever() -> None:
    landscape = np.array([True] * 20 + [False])
    order = epoch_order(1, 0, landscape, 4)
    assert 20 in order[..., 0]
