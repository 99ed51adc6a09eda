from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from frcnn_cli.checkpoints.weights import load_weights
from frcnn_cli.data.voc import load_voc
from frcnn_cli.errors import ConfigError, DataError, FrcnnError
from frcnn_cli.runtime.paths import WEIGHTS_FILE
from frcnn_cli.training.state import STATE_FILE, STATE_TYPES, read_state, restore
from full_disk import check_every_write
from tiny_training import CONFIG, make_trainer


def test_checkpoint_predicts_true_deltas(dataset, source, init, tmp_path) -> None:
    trainer = make_trainer(dataset, source, init, tmp_path / "run")
    deltas = trainer.learner.batches.statistics.deltas
    before = trainer.learner.network.bbox_pred.weight.clone()
    trainer.save()
    assert torch.equal(trainer.learner.network.bbox_pred.weight, before)
    saved, header = load_weights(tmp_path / "run" / WEIGHTS_FILE)
    assert header.classes == dataset.classes
    x = torch.rand(4, trainer.learner.network.bbox_pred.in_features)
    normalised = trainer.learner.network.bbox_pred(x).detach().view(4, -1, 4)
    expected = normalised * torch.from_numpy(deltas.std) + torch.from_numpy(deltas.mean)
    assert torch.allclose(saved.bbox_pred(x).view(4, -1, 4), expected, atol=1e-5)


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


def test_whichever_write_fails_the_checkpoint_is_whole(dataset, source, init, tmp_path) -> None:
    trainer = make_trainer(dataset, source, init, tmp_path / "run")
    (tmp_path / "all").mkdir()

    def commit(folder: Path) -> None:
        trainer.folder = folder
        trainer.save()

    def same(path: Path, content: bytes) -> bool:
        if path.name != STATE_FILE:
            return path.read_bytes() == content
        # torch writes the name of the part file into it
        return path.stat().st_size == len(content) and bool(read_state(path.parent))

    assert check_every_write(tmp_path / "all", commit, same=same) > 8


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


@pytest.mark.parametrize("wrong", [None, -1, "x", [], {}, [[1], [2]], {"init": 1}, torch.zeros(2)])
@pytest.mark.parametrize("key", STATE_TYPES)
def test_a_state_with_other_things_is_refused_or_read(
    dataset, source, init, tmp_path, key, wrong
) -> None:
    torch.save({name: sound(name) for name in STATE_TYPES} | {key: wrong}, tmp_path / STATE_FILE)
    if f"{key} {wrong}" in RIGHT:
        assert str(read_state(tmp_path)[key]) == str(wrong)
    else:
        with pytest.raises(DataError, match=f"damaged: `{key}`"):
            read_state(tmp_path)


RIGHT = {
    "best -1", "classes []", "provenance {'init': 1}", "images x", "ranks {}", "model {}",
    "ranks {'init': 1}", "deltas tensor([0., 0.])",
}  # fmt: skip


def test_deltas_of_a_type_that_numpy_lacks_are_refused(tmp_path) -> None:
    deltas = torch.zeros(2, 2, 4, dtype=torch.bfloat16)
    state = {name: sound(name) for name in STATE_TYPES} | {"deltas": deltas}
    torch.save(state, tmp_path / STATE_FILE)
    with pytest.raises(DataError, match="damaged: `deltas`"):
        read_state(tmp_path)


def sound(name: str) -> object:
    values = {
        "iteration": 3, "validated": 0, "best": -1.0, "images": "ab", "classes": ["a"],
        "pixels": [(1.0, 2.0, 3.0), (1.0, 1.0, 1.0)], "provenance": {"init": "random"},
        "ranks": {"fc6": 2}, "deltas": torch.zeros(2, 2, 4), "model": {"a": torch.zeros(1)},
        "optimizer": {"state": {}, "param_groups": []},
    }  # fmt: skip
    return values[name]


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


@pytest.mark.parametrize("first", ["sgd", "adamw"])
def test_a_run_goes_on_with_its_own_optimiser(dataset, source, init, tmp_path, first) -> None:
    other = "sgd" if first == "adamw" else "adamw"
    config = replace(CONFIG, optimizer=first)
    list(make_trainer(dataset, source, init, tmp_path, config).steps())
    with pytest.raises(ConfigError, match=f"the run has another optimizer than {other}"):
        make_trainer(dataset, source, init, tmp_path, replace(config, optimizer=other), resume=True)


def test_a_run_goes_on_with_its_own_ranks(dataset, source, init, tmp_path) -> None:
    config = replace(CONFIG, rank=4)
    make_trainer(dataset, source, init, tmp_path, config).save()
    make_trainer(dataset, source, init, tmp_path, config, resume=True)
    with pytest.raises(ConfigError, match="the run has layers of rank 4"):
        make_trainer(dataset, source, init, tmp_path, replace(config, rank=8), resume=True)


def test_resuming_needs_no_initial_weights(dataset, source, init, tmp_path) -> None:
    first = make_trainer(dataset, source, init, tmp_path / "run")
    first.save()
    again = make_trainer(dataset, source, tmp_path / "gone.pth", tmp_path / "run", resume=True)
    assert again.learner.header == first.learner.header


FORGED = {
    "momentum_buffer has not the shape": lambda kept: torch.zeros(1),
    "momentum_buffer is not finite": lambda kept: torch.full_like(kept, float("nan")),
}


@pytest.mark.parametrize("message", FORGED)
def test_what_an_optimiser_cannot_have_kept_is_refused(
    dataset, source, init, tmp_path, message
) -> None:
    trainer = make_trainer(dataset, source, init, tmp_path / "run")
    list(trainer.steps())
    state = read_state(tmp_path / "run")
    for each in state["optimizer"]["state"].values():
        each["momentum_buffer"] = FORGED[message](each["momentum_buffer"])
    with pytest.raises(DataError, match=message):
        restore(trainer.learner, state)


def test_settings_of_an_optimiser_in_a_state_are_not_believed(
    dataset, source, init, tmp_path
) -> None:
    trainer = make_trainer(dataset, source, init, tmp_path / "run")
    list(trainer.steps())
    state = read_state(tmp_path / "run")
    for group in state["optimizer"]["param_groups"]:
        group |= {"momentum": 1e9, "weight_decay": float("nan"), "fused": "x", "factor": None}
    restore(trainer.learner, state)
    assert all(group["momentum"] == 0.9 for group in trainer.learner.optimizer.param_groups)
    assert all(group["fused"] is True for group in trainer.learner.optimizer.param_groups)


def test_weights_of_whole_numbers_are_refused(dataset, source, init, tmp_path) -> None:
    trainer = make_trainer(dataset, source, init, tmp_path / "run")
    trainer.save()
    state = read_state(tmp_path / "run")
    state["model"] = {key: value.to(torch.int32) for key, value in state["model"].items()}
    with pytest.raises(DataError, match="a weight is no fraction"):
        restore(trainer.learner, state)
