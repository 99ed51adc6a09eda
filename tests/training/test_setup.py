from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from frcnn_cli.checkpoints.weights import load_weights
from frcnn_cli.config import SelectiveSearchConfig, TrainConfig, recipe
from frcnn_cli.data.dataset import Dataset
from frcnn_cli.data.voc import load_voc
from frcnn_cli.errors import ConfigError, DataError, FrcnnError, ImageError
from frcnn_cli.models.backbones import BACKBONES
from frcnn_cli.models.detectors import build_network
from frcnn_cli.proposers.cache import ProposalSource
from frcnn_cli.proposers.registry import Method, selective_search
from frcnn_cli.structures import Proposals
from frcnn_cli.training import batches as batches_module
from frcnn_cli.training import setup as prepare_module
from frcnn_cli.training import trainer as train_module
from frcnn_cli.training.batches import epoch_order
from frcnn_cli.training.optimizers import learning_rate, parameter_groups
from frcnn_cli.training.setup import Initialisation, prepare
from frcnn_cli.training.state import STATE_FILE, read_state
from frcnn_cli.training.target_normalization import denormalised, normalise
from frcnn_cli.training.trainer import InterruptedRun, Runtime, Trainer
from frcnn_cli.training.validation import mean_average_precision
from tiny import NAME, add_tiny_backbone

CONFIG = TrainConfig(
    backbone=NAME, iterations=6, rois_per_batch=32, scales=(120,), max_size=200, lr=0.01, seed=5
)

RUNTIME = Runtime("cpu", workers=0)


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
    runtime: Runtime = RUNTIME,
) -> Trainer:
    state = read_state(run) if resume else None
    origin = Initialisation(init, state=state)
    trainer = prepare(dataset, source, config, origin, runtime, 1, lambda: None)
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
    assert np.mean(losses[-30:]) < 0.8 * np.mean(losses[:3])
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_with_a_checkpoint(dataset, source, init, tmp_path, number) -> None:
    runtime = replace(RUNTIME, workers=1)
    trainer = make_trainer(dataset, source, init, tmp_path / "run", runtime=runtime)
    handler = signal.getsignal(number)
    steps = trainer.steps()
    assert [next(steps).iteration, next(steps).iteration] == [1, 2]
    for child in multiprocessing.active_children():  # a whole group is often signalled
        assert child.pid is not None
        os.kill(child.pid, number)
    os.kill(os.getpid(), number)
    with pytest.raises(InterruptedRun):
        next(steps)
    assert signal.getsignal(number) is handler
    again = make_trainer(dataset, source, init, tmp_path / "run", resume=True)
    assert again.iteration == 2


def test_batches_of_other_processes_are_the_same(dataset, source, init, tmp_path) -> None:
    for name, workers in (("none", 0), ("two", 2)):
        runtime = replace(RUNTIME, workers=workers)
        list(make_trainer(dataset, source, init, tmp_path / name, runtime=runtime).steps())
    first, second = tensors_of(tmp_path / "none"), tensors_of(tmp_path / "two")
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_the_best_weights_are_kept(dataset, source, init, tmp_path) -> None:
    trainer = make_trainer(
        dataset, source, init, tmp_path / "run", runtime=replace(RUNTIME, eval_every=2)
    )
    head_outputs, judged = iter([0.2, 0.5, 0.4]), []

    def judge(model, header, check):
        check()
        assert not model.training
        judged.append({key: value.clone() for key, value in model.state_dict().items()})
        return next(head_outputs)

    trainer.judge = judge
    list(trainer.steps())
    best, header = load_weights(tmp_path / "run" / train_module.BEST_FILE)
    assert len(judged) == 3
    assert all(torch.equal(best.state_dict()[key], judged[1][key]) for key in judged[1])
    assert header.provenance["validation_mean_ap"] == 0.5
    assert header.provenance["iterations"] == 4
    again = make_trainer(dataset, source, init, tmp_path / "run", resume=True)
    assert again.best == 0.5
    rows = (tmp_path / "run" / "validation.csv").read_text().split()
    assert rows == ["iteration,mean_ap", "2,0.2", "4,0.5", "6,0.4"]


def test_judging_changes_nothing(dataset, source, init, tmp_path) -> None:
    list(make_trainer(dataset, source, init, tmp_path / "plain").steps())
    trainer = make_trainer(
        dataset, source, init, tmp_path / "judged", runtime=replace(RUNTIME, eval_every=1)
    )
    trainer.judge = lambda model, header, check: mean_average_precision(
        model, header, source, dataset, "cpu", "fp32", 1, check
    )
    list(trainer.steps())
    first, second = tensors_of(tmp_path / "plain"), tensors_of(tmp_path / "judged")
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_run_that_is_stopped_while_it_is_judged_is_judged_later(
    dataset, source, init, tmp_path
) -> None:
    runtime, judged = replace(RUNTIME, eval_every=2), []

    def judge(model, header, check):
        judged.append(header.provenance["iterations"])
        if len(judged) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        check()
        return 0.1

    for resume in (False, True):
        trainer = make_trainer(
            dataset, source, init, tmp_path / "run", resume=resume, runtime=runtime
        )
        trainer.judge = judge
        if not resume:
            with pytest.raises(InterruptedRun):
                list(trainer.steps())
            assert read_state(tmp_path / "run")["iteration"] == 4
    list(trainer.steps())
    assert judged == [2, 4, 4, 6]


def test_a_run_that_is_killed_between_weights_and_state(
    dataset, source, init, tmp_path, monkeypatch
) -> None:
    list(make_trainer(dataset, source, init, tmp_path / "whole").steps())
    always = replace(RUNTIME, checkpoint_minutes=0)
    trainer = make_trainer(dataset, source, init, tmp_path / "run", runtime=always)
    write = train_module.write_atomically

    def killed_at_the_end(path, fill):
        if trainer.iteration == CONFIG.iterations:
            raise KeyboardInterrupt
        write(path, fill)

    monkeypatch.setattr(train_module, "write_atomically", killed_at_the_end)
    with pytest.raises(KeyboardInterrupt):
        list(trainer.steps())
    monkeypatch.undo()
    add_tiny_backbone(monkeypatch, tmp_path)
    list(make_trainer(dataset, source, init, tmp_path / "run", resume=True).steps())
    first, second = tensors_of(tmp_path / "whole"), tensors_of(tmp_path / "run")
    assert all(torch.equal(first[key], second[key]) for key in first)
    header = load_weights(tmp_path / "run" / train_module.WEIGHTS_FILE)[1]
    assert header.provenance["iterations"] == CONFIG.iterations


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (ValueError("a bug of ours"), "batch 1 cannot be made: a bug of ours"),
        (MemoryError(), "out of memory while a batch was made"),
    ],
)
def test_an_exception_where_batches_are_made_ends_the_run(
    dataset, source, init, tmp_path, monkeypatch, error, message
) -> None:
    trainer = make_trainer(
        dataset, source, init, tmp_path / "run", runtime=replace(RUNTIME, workers=1)
    )

    def fail(*arguments):
        raise error

    monkeypatch.setattr(batches_module, "read_sample", fail)
    with pytest.raises(FrcnnError, match=message):
        list(trainer.steps())
    assert not multiprocessing.active_children()


def test_what_a_killed_process_left_half_written_is_removed(
    dataset, source, init, tmp_path
) -> None:
    trainer = make_trainer(dataset, source, init, tmp_path / "run")
    left = tmp_path / "run" / ".state.pt.abc.part"
    left.write_bytes(b"half")
    list(trainer.steps())
    assert not left.exists()


@pytest.mark.parametrize(
    ("config", "runtime", "message"),
    [
        (CONFIG, replace(RUNTIME, precision="fp8"), "unknown precision"),
        (CONFIG, replace(RUNTIME, precision="fp16"), "fp16 is for"),
        (replace(CONFIG, train_from="conv9"), RUNTIME, "unknown layer"),
        (
            replace(CONFIG, train_from="conv1"),
            replace(RUNTIME, cache_features=True),
            "--cache-features needs",
        ),
        (CONFIG, replace(RUNTIME, cache_features=True, compiled=True), "exclude each other"),
    ],
)
def test_bad_settings_are_found_before_the_images_are_looked_at(
    dataset, source, init, monkeypatch, config, runtime, message
) -> None:
    monkeypatch.setattr(prepare_module, "survey", lambda *_: pytest.fail("looked at the images"))
    with pytest.raises(ConfigError, match=message):
        prepare(dataset, source, config, Initialisation(init), runtime, 1, lambda: None)


@pytest.mark.parametrize("train_from", ["fc6", None])  # None: the second convolution
def test_cached_features_train_as_the_convolutions_would(
    dataset, source, init, tmp_path, train_from
) -> None:
    config = replace(CONFIG, train_from=train_from, images_per_batch=1, rois_per_batch=16)
    losses = []
    for cached in (False, True):
        runtime = replace(RUNTIME, cache_features=cached)
        trainer = make_trainer(
            dataset, source, init, tmp_path / f"cached-{cached}", config, runtime=runtime
        )
        losses.append([step.cls + step.loc for step in trainer.steps()])
    assert np.allclose(*losses, rtol=2e-3)  # kept in half precision
    entries = list((tmp_path / "cached-True" / "features").iterdir())
    assert len(entries) == 6
    for entry in entries[:3]:
        entry.write_bytes(b"damaged")
    again = make_trainer(dataset, source, init, tmp_path / "cached-True", config, runtime=runtime)
    assert [step.cls + step.loc for step in again.steps()] == losses[1]


def test_layers_of_low_rank_from_the_start(dataset, source, init, tmp_path) -> None:
    config = replace(CONFIG, rank=5)
    trainer = make_trainer(dataset, source, init, tmp_path / "run", config)
    assert trainer.header.ranks == {"fc6": 5, "fc7": 5}
    assert str(trainer.header.provenance["init"]).endswith("fc6, fc7 of rank 5")
    list(trainer.steps())
    model, header = load_weights(tmp_path / "run" / train_module.WEIGHTS_FILE)
    shapes = {key: tuple(each.shape) for key, each in model.state_dict().items() if "fc" in key}
    assert shapes["fc_layers.fc6.0.weight"] == (5, 144)
    assert shapes["fc_layers.fc6.1.weight"] == (32, 5)
    assert header.ranks == trainer.header.ranks
    again = make_trainer(dataset, source, init, tmp_path / "run", config, resume=True)
    assert again.header.ranks == header.ranks
    wide = make_trainer(dataset, source, init, tmp_path / "wide", replace(CONFIG, rank=20))
    assert wide.header.ranks == {"fc6": 20}  # fc7 has 24 outputs: 20 would save nothing


def test_layers_that_are_given_keep_their_rank(dataset, source, init, tmp_path) -> None:
    state = torch.load(init)
    state |= {"classifier.1.weight": torch.zeros(32, 144), "classifier.1.bias": torch.zeros(32)}
    torch.save(state, init)
    row = replace(BACKBONES[NAME], classifier_layers=("classifier.1",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, NAME, row)
        with pytest.raises(ConfigError, match="fc6 came with the initial weights"):
            make_trainer(dataset, source, init, tmp_path, replace(CONFIG, rank=5))


def test_features_that_are_trained_cannot_be_cached(dataset, source, init, tmp_path) -> None:
    config, runtime = replace(CONFIG, train_from="conv1"), replace(RUNTIME, cache_features=True)
    with pytest.raises(ConfigError, match="not trained"):
        make_trainer(dataset, source, init, tmp_path, config, runtime=runtime)


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
        assert all(p.dtype == torch.float32 for p in trainer.model.parameters())
    assert losses[0] != losses[1]
    assert np.allclose(*losses, rtol=0.05)


def test_several_scales(dataset, source, init, tmp_path) -> None:
    config = replace(CONFIG, scales=(60, 90, 120), iterations=20, images_per_batch=1)
    trainer = make_trainer(dataset, source, init, tmp_path / "run", config)
    seen = [trainer.batches.scales(iteration)[0] for iteration in range(200)]
    assert {scale: seen.count(scale) > 40 for scale in seen} == dict.fromkeys((60, 90, 120), True)
    for iteration in range(5):
        batch = trainer.batches(iteration)
        assert min(batch.images.shape[2:]) == seen[iteration]
    assert trainer.header.scale == 120


def test_classification_alone_leaves_the_boxes(dataset, source, init, tmp_path) -> None:
    config = replace(CONFIG, loc_weight=0.0, weight_decay=0.0)
    trainer = make_trainer(dataset, source, init, tmp_path / "run", config)
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    list(trainer.steps())
    after = trainer.model.state_dict()
    assert torch.equal(after["bbox_pred.weight"], before["bbox_pred.weight"])
    assert not torch.equal(after["cls_score.weight"], before["cls_score.weight"])


def test_gradients_are_clipped(dataset, source, init, tmp_path) -> None:
    config = replace(CONFIG, clip_norm=1e-3, momentum=0.0, weight_decay=0.0, bias_lr=1.0)
    trainer = make_trainer(dataset, source, init, tmp_path / "run", replace(config, iterations=1))
    before = [p.detach().clone() for p in trainer.model.parameters()]
    list(trainer.steps())
    changes = [p - old for p, old in zip(trainer.model.parameters(), before, strict=True)]
    norm = torch.stack([change.norm() for change in changes]).norm().item()
    assert norm == pytest.approx(config.lr * 1e-3, rel=0.01)


def test_proposals_that_miss_the_objects_stop_the_run(dataset, init, tmp_path) -> None:
    def corner(image):
        return Proposals(np.array([[0, 0, 3, 3]], np.float32), None, image.shape[:2])

    source = ProposalSource(Method("corner", corner, {}), tmp_path / "cache")
    with pytest.raises(DataError, match="cover 0% of the objects") as error:
        make_trainer(dataset, source, init, tmp_path / "run")
    assert "order of the columns" in error.value.hint


def test_memory_that_runs_out_names_the_knob(dataset, source, init, tmp_path, monkeypatch) -> None:
    trainer = make_trainer(dataset, source, init, tmp_path / "run")
    list(trainer.steps())
    kept = (tmp_path / "run" / STATE_FILE).read_bytes()

    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    again = make_trainer(
        dataset, source, init, tmp_path / "run", replace(CONFIG, iterations=9), resume=True
    )
    monkeypatch.setattr(again.model, "forward", full)
    with pytest.raises(FrcnnError, match="out of memory in iteration 7") as error:
        list(again.steps())
    assert "--rois-per-batch" in error.value.hint
    assert (tmp_path / "run" / STATE_FILE).read_bytes() == kept


def test_a_full_disk_leaves_the_last_checkpoint(
    dataset, source, init, tmp_path, monkeypatch
) -> None:
    trainer = make_trainer(dataset, source, init, tmp_path / "run")
    list(trainer.steps())
    kept = {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.[ps]*")}

    def full(state, part):
        Path(part).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(FrcnnError, match="No space left") as error:
        trainer.save()
    assert "space on the disk" in error.value.hint
    assert kept == {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.[ps]*")}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_missing_image_is_named_and_the_work_kept(
    dataset, source, init, tmp_path, voc_folder, workers
) -> None:
    runtime = replace(RUNTIME, workers=workers)
    trainer = make_trainer(dataset, source, init, tmp_path / "run", runtime=runtime)
    name = trainer.batches.names(2)[0]
    earlier = trainer.batches.names(0) + trainer.batches.names(1)
    (voc_folder / "JPEGImages" / f"{name}.jpg").unlink()
    done = 2 if name not in earlier else (0 if name in earlier[:2] else 1)
    with pytest.raises(ImageError, match=f"{name}.jpg"):
        list(trainer.steps())
    assert read_state(tmp_path / "run")["iteration"] == done


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
        (tmp_path / STATE_FILE).write_bytes(content)
    with pytest.raises(DataError):
        read_state(tmp_path)


def test_a_state_of_something_else_is_refused(tmp_path) -> None:
    torch.save({"iteration": 3}, tmp_path / STATE_FILE)
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


def test_images_in_another_order_are_noticed_when_resuming(
    dataset, source, init, tmp_path, voc_folder
) -> None:
    make_trainer(dataset, source, init, tmp_path / "run").save()
    path = voc_folder / "ImageSets" / "Main" / "trainval.txt"
    path.write_text("\n".join(reversed(path.read_text().split())))
    changed = load_voc(voc_folder, "voc", "trainval", ())
    with pytest.raises(DataError, match="changed since the run began"):
        make_trainer(changed, source, init, tmp_path / "run", resume=True)


def test_a_run_is_not_resumed_to_fewer_iterations(dataset, source, init, tmp_path) -> None:
    list(make_trainer(dataset, source, init, tmp_path / "run").steps())
    fewer = replace(CONFIG, iterations=3)
    with pytest.raises(ConfigError, match="has done 6 iterations already"):
        make_trainer(dataset, source, init, tmp_path / "run", config=fewer, resume=True)


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
    step = trainer.optimizer.step

    def step_with_gradients_of_one():
        for group in trainer.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.ones_like(parameter)
        step()

    trainer.optimizer.step = step_with_gradients_of_one
    before = {name: each.detach().clone() for name, each in trainer.model.named_parameters()}
    list(trainer.steps())
    for name, parameter in trainer.model.named_parameters():
        rate = config.lr * (2 if name.endswith("bias") else 1)
        rate *= 0 if name.startswith("features.0") else 0.25 if "features" in name else 1
        moved = (before[name] - parameter.detach()).mean().item()
        assert moved == pytest.approx(rate, rel=1e-3), name


def test_dropout_is_the_settings(dataset, source, init, tmp_path) -> None:
    for share in (0.0, 0.3):
        config = replace(CONFIG, dropout=share)
        trainer = make_trainer(dataset, source, init, tmp_path / f"{share}", config)
        assert trainer.model.dropout.p == share


def test_unfolding_undoes_folding(dataset, source, init, tmp_path) -> None:
    trainer = make_trainer(dataset, source, init, tmp_path / "run")
    deltas, layer = trainer.batches.survey.deltas, trainer.model.bbox_pred
    torch.nn.init.normal_(layer.bias)
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    with denormalised(trainer.model, deltas):
        assert not torch.allclose(layer.bias, before["bias"])
        normalise(trainer.model, deltas)
        for key, value in layer.state_dict().items():
            torch.testing.assert_close(value, before[key], rtol=1e-5, atol=1e-7)


def test_no_image_waits_for_ever() -> None:
    landscape = np.array([True] * 20 + [False])
    order = epoch_order(1, 0, landscape, 4)
    assert 20 in order[..., 0]


@pytest.mark.slow
def test_four_images_can_be_learned_by_heart(dataset, source, init, tmp_path) -> None:
    four = dataset.limited(4)
    config = replace(
        CONFIG,
        iterations=1500,
        optimizer="adamw",
        lr=3e-3,
        lr_schedule="cosine",
        warmup=0.05,
        rois_per_batch=64,
        train_from="conv1",
    )
    start = time.process_time()
    trainer = make_trainer(four, source, init, tmp_path / "run", config)
    list(trainer.steps())
    assert time.process_time() - start < 240  # two minutes of two cores
    model, header = load_weights(tmp_path / "run" / train_module.WEIGHTS_FILE)
    found = mean_average_precision(model, header, source, four, "cpu", "fp32", 1, lambda: None)
    assert found == 1.0
