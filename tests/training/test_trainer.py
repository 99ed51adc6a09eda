from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import time
from dataclasses import replace

import pytest
import torch

from frcnn_cli.checkpoints.weights import load_weights
from frcnn_cli.errors import FrcnnError, ImageError
from frcnn_cli.runtime.paths import BEST_FILE, WEIGHTS_FILE
from frcnn_cli.training import batches as batches_module
from frcnn_cli.training import state as state_module
from frcnn_cli.training.interruption import InterruptedRun
from frcnn_cli.training.state import STATE_FILE, read_state
from frcnn_cli.training.validation import detect_in_validation
from tiny import add_tiny_backbone
from tiny_training import CONFIG, RUNTIME, assert_same_weights, make_trainer


def test_a_resumed_run_ends_with_the_same_bits(dataset, source, init, tmp_path) -> None:
    whole = make_trainer(dataset, source, init, tmp_path / "whole")
    list(whole.steps())

    first = make_trainer(dataset, source, init, tmp_path / "parts")
    for step in first.steps():
        if step.iteration == 3:
            first.save()
            break
    second = make_trainer(dataset, source, init, tmp_path / "parts", resume=True)
    assert second.learner.iteration == 3
    assert [step.iteration for step in second.steps()] == [4, 5, 6]

    assert_same_weights(tmp_path / "whole", tmp_path / "parts")
    rows = (tmp_path / "parts" / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["iteration", "1", "2", "3", "4", "5", "6"]


def test_training_is_the_same_twice(dataset, source, init, tmp_path) -> None:
    for name in ("a", "b"):
        list(make_trainer(dataset, source, init, tmp_path / name).steps())
    assert_same_weights(tmp_path / "a", tmp_path / "b")


@pytest.mark.usefixtures("usual_signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
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
    assert again.learner.iteration == 2


def test_batches_of_other_processes_are_the_same(dataset, source, init, tmp_path) -> None:
    for name, workers in (("none", 0), ("two", 2)):
        runtime = replace(RUNTIME, workers=workers)
        list(make_trainer(dataset, source, init, tmp_path / name, runtime=runtime).steps())
    assert_same_weights(tmp_path / "none", tmp_path / "two")


def test_the_best_weights_are_kept(dataset, source, init, tmp_path) -> None:
    mean_aps, validated = iter([0.2, 0.5, 0.4]), []

    def validate(network, header, check_stop):
        check_stop()
        assert not network.training
        validated.append({key: value.clone() for key, value in network.state_dict().items()})
        return next(mean_aps)

    runtime = replace(RUNTIME, eval_every=2)
    trainer = make_trainer(
        dataset, source, init, tmp_path / "run", runtime=runtime, validate=validate
    )
    list(trainer.steps())
    best, header = load_weights(tmp_path / "run" / BEST_FILE)
    assert len(validated) == 3
    assert all(torch.equal(best.state_dict()[key], validated[1][key]) for key in validated[1])
    assert header.provenance["validation_mean_ap"] == 0.5
    assert header.provenance["iterations"] == 4
    again = make_trainer(dataset, source, init, tmp_path / "run", resume=True)
    assert again.best == 0.5
    rows = (tmp_path / "run" / "validation.csv").read_text().split()
    assert rows == ["iteration,mean_ap", "2,0.2", "4,0.5", "6,0.4"]


def test_validation_changes_nothing(dataset, source, init, tmp_path) -> None:
    list(make_trainer(dataset, source, init, tmp_path / "plain").steps())

    def validate(network, header, check_stop):
        return (
            detect_in_validation(
                network, header, source, dataset, device="cpu", precision="fp32", threads=1
            )
            .evaluate("voc07")
            .mean_ap
        )

    runtime = replace(RUNTIME, eval_every=1)
    trainer = make_trainer(
        dataset, source, init, tmp_path / "validated", runtime=runtime, validate=validate
    )
    list(trainer.steps())
    assert_same_weights(tmp_path / "plain", tmp_path / "validated")


def test_a_run_that_is_stopped_while_it_is_validated_is_validated_later(
    dataset, source, init, tmp_path
) -> None:
    runtime, validated = replace(RUNTIME, eval_every=2), []

    def validate(network, header, check_stop):
        validated.append(header.provenance["iterations"])
        if len(validated) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        check_stop()
        return 0.1

    for resume in (False, True):
        trainer = make_trainer(
            dataset,
            source,
            init,
            tmp_path / "run",
            resume=resume,
            runtime=runtime,
            validate=validate,
        )
        if not resume:
            with pytest.raises(InterruptedRun):
                list(trainer.steps())
            assert read_state(tmp_path / "run")["iteration"] == 4
    list(trainer.steps())
    assert validated == [2, 4, 4, 6]


def test_a_run_that_is_killed_between_weights_and_state(
    dataset, source, init, tmp_path, monkeypatch
) -> None:
    list(make_trainer(dataset, source, init, tmp_path / "whole").steps())
    always = replace(RUNTIME, checkpoint_minutes=0)
    trainer = make_trainer(dataset, source, init, tmp_path / "run", runtime=always)
    write = state_module.write_atomically

    def killed_at_the_end(path, fill, **options):
        if trainer.learner.iteration == CONFIG.iterations:
            raise KeyboardInterrupt
        write(path, fill, **options)

    monkeypatch.setattr(state_module, "write_atomically", killed_at_the_end)
    with pytest.raises(KeyboardInterrupt):
        list(trainer.steps())
    monkeypatch.undo()
    add_tiny_backbone(monkeypatch, tmp_path)
    list(make_trainer(dataset, source, init, tmp_path / "run", resume=True).steps())
    assert_same_weights(tmp_path / "whole", tmp_path / "run")
    header = load_weights(tmp_path / "run" / WEIGHTS_FILE)[1]
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


@pytest.mark.parametrize("workers", [0, 1])
def test_a_missing_image_is_named_and_the_work_kept(
    dataset, source, init, tmp_path, voc_folder, workers
) -> None:
    runtime = replace(RUNTIME, workers=workers)
    trainer = make_trainer(dataset, source, init, tmp_path / "run", runtime=runtime)
    name = trainer.learner.batches.image_ids(2)[0]
    earlier = trainer.learner.batches.image_ids(0) + trainer.learner.batches.image_ids(1)
    (voc_folder / "JPEGImages" / f"{name}.jpg").unlink()
    done = 2 if name not in earlier else (0 if name in earlier[:2] else 1)
    with pytest.raises(ImageError, match=f"{name}.jpg"):
        list(trainer.steps())
    assert read_state(tmp_path / "run")["iteration"] == done


def test_memory_that_runs_out_names_the_knob(dataset, source, init, tmp_path, monkeypatch) -> None:
    trainer = make_trainer(dataset, source, init, tmp_path / "run")
    list(trainer.steps())
    kept = (tmp_path / "run" / STATE_FILE).read_bytes()

    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    again = make_trainer(
        dataset, source, init, tmp_path / "run", replace(CONFIG, iterations=9), resume=True
    )
    monkeypatch.setattr(again.learner.network, "forward", full)
    with pytest.raises(FrcnnError, match="out of memory in iteration 7") as error:
        list(again.steps())
    assert "--rois-per-batch" in error.value.hint
    assert (tmp_path / "run" / STATE_FILE).read_bytes() == kept


@pytest.mark.parametrize("place", ["_open_log", "_finish_iteration"])
def test_an_error_ends_the_processes_that_make_batches(
    dataset, source, init, tmp_path, monkeypatch, place
) -> None:
    """They ignore signals to stop, so that the program would wait for them at its end."""
    trainer = make_trainer(
        dataset, source, init, tmp_path / "run", runtime=replace(RUNTIME, workers=1)
    )

    def full(*arguments: object) -> None:
        raise FrcnnError("the disk is full")

    monkeypatch.setattr(trainer, place, full)
    with pytest.raises(FrcnnError, match="the disk is full") as error:
        list(trainer.steps())
    assert not multiprocessing.active_children(), error  # which holds the frames


def test_half_written_files_of_a_killed_process_are_removed(
    dataset, source, init, tmp_path
) -> None:
    trainer = make_trainer(dataset, source, init, tmp_path / "run")
    left = tmp_path / "run" / ".state.pt.abc.part"
    left.write_bytes(b"half")
    list(trainer.steps())
    assert not left.exists()


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
    model, header = load_weights(tmp_path / "run" / WEIGHTS_FILE)
    found = detect_in_validation(
        model, header, source, four, device="cpu", precision="fp32", threads=1
    )
    assert found.evaluate("voc07").mean_ap == 1.0


@pytest.mark.parametrize(
    ("patience", "mean_aps", "last"),
    [
        (0, [0.5, 0.4, 0.3, 0.2, 0.1, 0.0], 6),
        (2, [0.1, 0.5, 0.4, 0.5, 0.9, 0.9], 4),  # an equal one is no better
        (2, [0.1, 0.5, 0.4, 0.6, 0.3, 0.2], 6),
        (1, [0.1, 0.2, 0.1, 0.9, 0.9, 0.9], 3),
    ],
)
def test_patience_ends_a_run(dataset, source, init, tmp_path, patience, mean_aps, last) -> None:
    values = iter(mean_aps)
    runtime = replace(RUNTIME, eval_every=1, patience=patience)
    trainer = make_trainer(
        dataset, source, init, tmp_path, runtime=runtime, validate=lambda *_: next(values)
    )
    assert [step.iteration for step in trainer.steps()][-1] == last
    assert trainer.ended_early == (last < 6)
    assert trainer.best == max(mean_aps[:last])
    assert read_state(tmp_path)["iteration"] == last
    resumed = make_trainer(
        dataset, source, init, tmp_path, runtime=runtime, resume=True, validate=trainer.validate
    )
    assert not list(resumed.steps())  # of an earlier version, it went on to the next validation
    assert resumed.ended_early == (last < 6)


@pytest.mark.parametrize("stop", [1, 4])
def test_averages_are_resumed_with_the_same_bits(dataset, source, init, tmp_path, stop) -> None:
    config = replace(CONFIG, ema=0.9)
    whole = make_trainer(dataset, source, init, tmp_path / "whole", config)
    list(whole.steps())
    first = make_trainer(dataset, source, init, tmp_path / "parts", config)
    for step in first.steps():
        if step.iteration == stop:
            first.save()
            break
    list(make_trainer(dataset, source, init, tmp_path / "parts", config, resume=True).steps())
    assert_same_weights(tmp_path / "whole", tmp_path / "parts")


def test_the_average_is_saved_and_validated_and_changes_no_step(
    dataset, source, init, tmp_path
) -> None:
    seen = []

    def validate(network, header, check_stop):
        seen.append(network.state_dict()["cls_score.weight"].clone())
        return 0.5

    runtime = replace(RUNTIME, eval_every=CONFIG.iterations)
    plain = make_trainer(dataset, source, init, tmp_path / "plain")
    losses = [step.cls for step in plain.steps()]
    averaged = make_trainer(
        dataset, source, init, tmp_path / "ema", replace(CONFIG, ema=0.9),
        runtime=runtime, validate=validate,
    )  # fmt: skip
    expected = averaged.learner.network.cls_score.weight.detach().clone()
    found = []
    for number, step in enumerate(averaged.steps()):
        found.append(step.cls)
        decay = min(0.9, (1 + number) / (10 + number))
        now = averaged.learner.network.cls_score.weight.detach()
        expected = decay * expected + (1 - decay) * now
    assert found == losses
    own = averaged.learner.network.state_dict()
    for key, tensor in plain.learner.network.state_dict().items():
        assert torch.equal(tensor, own[key]), key
    for name in (WEIGHTS_FILE, BEST_FILE):
        saved = load_weights(tmp_path / "ema" / name)[0].state_dict()["cls_score.weight"]
        torch.testing.assert_close(saved, expected)
    torch.testing.assert_close(seen, [expected])


def test_a_run_without_an_average_is_not_resumed_with_one(dataset, source, init, tmp_path) -> None:
    trainer = make_trainer(dataset, source, init, tmp_path / "run")
    next(trainer.steps())
    trainer.save()
    with pytest.raises(FrcnnError, match="another network: 'features"):
        make_trainer(dataset, source, init, tmp_path / "run", replace(CONFIG, ema=0.9), resume=True)
