from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from frcnn_cli.data.voc import load_voc
from frcnn_cli.errors import ConfigError, DataError, FrcnnError
from frcnn_cli.training.initialisation import Initialisation, continue_from
from frcnn_cli.training.train import train
from tiny_training import CONFIG, RUNTIME, assert_same_weights, make_trainer


class CountingProgress:
    """Counts the units of every stage, which must be as many as were announced."""

    def __init__(self) -> None:
        self.stages: Counter[str] = Counter()

    @contextmanager
    def __call__(self, stage: str, total: int, unit: str) -> Iterator[Callable[[str], None]]:
        notes: list[str] = []
        yield notes.append
        assert len(notes) == total
        self.stages[stage] += total


def test_one_call_trains_as_the_trainer_does(dataset, source, init, tmp_path) -> None:
    list(make_trainer(dataset, source, init, tmp_path / "expected").steps())
    steps, ready, progress = [], [], CountingProgress()
    result = train(
        CONFIG,
        dataset,
        folder=tmp_path / "run",
        initialisation=Initialisation(imagenet_weights=init),
        proposals=source,
        runtime=RUNTIME,
        threads=1,
        progress=progress,
        on_ready=lambda learner: ready.append((learner.iteration, (tmp_path / "run").exists())),
        on_step=steps.append,
    )
    assert result is not None
    assert_same_weights(tmp_path / "expected", result.folder)
    assert (result.folder, result.iterations) == (tmp_path / "run", CONFIG.iterations)
    assert result.weights.is_file()
    assert [metrics.iteration for metrics in steps] == [1, 2, 3, 4, 5, 6]
    assert progress.stages == {"reading the images": len(dataset), "training": 6}
    assert ready == [(0, False)]
    assert result.cls == pytest.approx(sum(metrics.cls for metrics in steps) / 6)
    assert result.loc == pytest.approx(sum(metrics.loc for metrics in steps) / 6)
    assert 0 <= result.waited <= 1
    assert result.best_weights is None
    assert result.best_mean_ap is None
    settings = tomllib.loads((result.folder / "config.toml").read_text())
    assert (settings["iterations"], settings["scales"], settings["device"]) == (6, "120", "cpu")


def test_a_run_is_resumed_in_its_folder(dataset, source, init, tmp_path) -> None:
    start = Initialisation(imagenet_weights=init)
    options = {"proposals": source, "runtime": RUNTIME, "threads": 1}
    first = train(CONFIG, dataset, folder=tmp_path / "run", initialisation=start, **options)
    config = replace(CONFIG, iterations=8)
    second = train(config, dataset, resume=first.folder, **options)
    assert (second.folder, second.iterations) == (first.folder, 8)
    third = train(config, dataset, resume=first.folder, **options)
    assert (third.iterations, third.cls, third.loc, third.waited) == (8, None, None, 0.0)
    new = train(CONFIG, dataset, folder=tmp_path / "run", initialisation=start, **options)
    assert new.folder == tmp_path / "run-2"


def test_validation_is_reported(dataset, source, init, tmp_path, voc_folder) -> None:
    messages, progress = [], CountingProgress()
    result = train(
        CONFIG,
        dataset,
        folder=tmp_path / "run",
        initialisation=Initialisation(imagenet_weights=init),
        proposals=source,
        validation=load_voc(voc_folder, "voc", "val", ()).limited(3),
        runtime=replace(RUNTIME, eval_every=4),
        threads=1,
        progress=progress,
        on_message=messages.append,
    )
    assert result is not None
    assert messages[0].startswith("3 of the 3 validation images are trained on")
    rows = [row.split(",") for row in (result.folder / "validation.csv").read_text().split()[1:]]
    assert [iteration for iteration, _ in rows] == ["4", "6"]
    for message, row in zip(messages[1:], rows, strict=True):
        assert message.startswith(f"iteration {row[0]}: mAP {float(row[1]):.1%}; by class: ")
        assert all(f"{name} " in message for name in dataset.classes)
    assert progress.stages["validating"] == 6
    assert result.best_mean_ap == pytest.approx(
        max(float(mean_ap) for _, mean_ap in rows), rel=1e-5
    )
    assert result.best_weights == result.folder / "best.safetensors"
    assert result.best_weights.is_file()


def test_a_run_from_weights_keeps_their_classes(dataset, source, init, tmp_path) -> None:
    start = Initialisation(imagenet_weights=init)
    options = {"proposals": source, "runtime": RUNTIME, "threads": 1}
    first = train(CONFIG, dataset, folder=tmp_path / "first", initialisation=start, **options)
    other = dataset.with_classes(("tile", "ball"))
    further, config = continue_from(first.weights, CONFIG, chosen=())
    second = train(config, other, folder=tmp_path / "second", initialisation=further, **options)
    third = train(replace(config, iterations=7), other, resume=second.folder, **options)
    assert third.iterations == 7


def test_settings_and_data_are_checked_before_a_folder_is_made(
    dataset, source, init, tmp_path, voc_folder
) -> None:
    folder = tmp_path / "run"
    options = {"proposals": source, "runtime": RUNTIME, "threads": 1, "folder": folder}
    with pytest.raises(ConfigError, match="--lr"):
        train(replace(CONFIG, lr=-1.0), dataset, **options)
    with pytest.raises(ConfigError, match="nosuchmethod"):
        train(CONFIG, dataset, **{**options, "proposals": "nosuchmethod"})
    with pytest.raises(DataError, match="no training state"):
        train(CONFIG, dataset, resume=Path("nowhere"), **options)
    for path in (voc_folder / "Annotations").glob("*.xml"):
        path.write_text(path.read_text().replace("<difficult>0", "<difficult>1"))
    with pytest.raises(DataError, match="have no object"):
        train(CONFIG, dataset, validation=load_voc(voc_folder, "voc", "val", ()), **options)
    assert not folder.exists()


def test_a_folder_that_cannot_be_made_is_told_before_the_images_are_read(
    dataset, source, init, tmp_path
) -> None:
    (tmp_path / "file").touch()
    progress = CountingProgress()
    with pytest.raises(FrcnnError, match="Not a directory"):
        train(CONFIG, dataset, folder=tmp_path / "file" / "run", proposals=source,
              runtime=RUNTIME, progress=progress)  # fmt: skip
    assert not progress.stages


def test_a_dry_run_writes_nothing(dataset, source, init, tmp_path) -> None:
    ready = []
    result = train(
        CONFIG,
        dataset,
        folder=tmp_path / "run",
        initialisation=Initialisation(imagenet_weights=init),
        proposals=source,
        runtime=RUNTIME,
        threads=1,
        dry_run=True,
        on_ready=ready.append,
    )
    assert result is None
    assert len(ready) == 1
    assert not (tmp_path / "run").exists()
