from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from frcnn_cli.checkpoints.weights import load_weights
from frcnn_cli.config import DetectConfig, TrainConfig, TrainRuntimeConfig
from frcnn_cli.data.voc import load_voc
from frcnn_cli.errors import ConfigError, FrcnnError
from frcnn_cli.inference.detector import Detector
from frcnn_cli.models.detectors import DETECTORS
from frcnn_cli.models.warp import Warp
from frcnn_cli.ops.boxes import from_last_pixel
from frcnn_cli.recipes import recipe
from frcnn_cli.training import box_regressors, region_features, stages, svm
from frcnn_cli.training.initialisation import Initialisation, continue_from
from frcnn_cli.training.interruption import InterruptedRun
from frcnn_cli.training.region_store import RegionStore, region_bytes
from frcnn_cli.training.stages import STAGES, check_stage, stages_of
from frcnn_cli.training.train import TrainResult, train
from tiny import NAME, add_tiny_backbone

ALL = ("finetune", "features", "svm", "boxes")
HIDDEN = 24  # outputs of the tiny backbone's fc7


class Training:
    """A training of the tiny network on the synthetic data set, which can be run again."""

    def __init__(self, voc_folder: Path, weights: Path) -> None:
        self.images = load_voc(voc_folder, "voc", "train", ())
        self.start = Initialisation(imagenet_weights=weights)

    def __call__(self, folder: Path, detector: str = "sppnet", **others) -> TrainResult:
        chosen = {"iterations": 3, "classifier": None, "boxes": None, "feature_scales": ()}
        chosen = {key: others.pop(key, value) for key, value in chosen.items()}
        config = replace(
            recipe("paper", detector=detector), backbone=NAME, scales=(100,), max_size=160,
            rois_per_batch=16, images_per_batch=2, max_proposals=60,
            **{key: value for key, value in chosen.items() if value is not None},
        )  # fmt: skip
        result = train(
            config,
            self.images,
            folder=folder,
            initialisation=self.start,
            runtime=TrainRuntimeConfig(device="cpu", precision="fp32", workers=0),
            threads=1,
            **others,
        )
        assert result is not None
        return result


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, voc_folder: Path) -> Training:
    pytest.importorskip("sklearn")
    small = replace(DETECTORS["rcnn"], warp=Warp(side=48, context=4))  # to be quick
    monkeypatch.setitem(DETECTORS, "rcnn", small)
    return Training(voc_folder, add_tiny_backbone(monkeypatch, tmp_path))


def test_the_stages_of_each_detector() -> None:
    for name in ("rcnn", "sppnet"):
        assert stages_of(recipe("paper", detector=name)) == ALL
    assert stages_of(TrainConfig()) == ("finetune",)
    assert stages_of(TrainConfig(classifier="svm")) == ("finetune", "features", "svm")
    assert stages_of(TrainConfig(boxes="ridge")) == ("finetune", "features", "boxes")
    assert (*ALL[:1], *STAGES) == ALL


def test_a_stage_that_a_training_lacks() -> None:
    with pytest.raises(ConfigError, match="--stage svm is none of this training's") as error:
        check_stage(TrainConfig(), "svm")
    assert "--classifier svm" in error.value.hint


@pytest.mark.parametrize("detector", ["rcnn", "sppnet"])
def test_all_stages_one_after_the_other(tmp_path: Path, training: Training, detector: str) -> None:
    result = training(tmp_path / "run", detector)
    assert [stage.name for stage in result.stages] == list(ALL)
    assert all(stage.seconds > 0 and stage.bytes > 0 for stage in result.stages)
    assert result.weights.name == "boxes.safetensors"
    network, header = load_weights(result.weights)
    assert header.score_function == network.score_function == "svm"
    assert header.provenance["svm"]["c"] == 0.001
    finetuned, earlier = load_weights(tmp_path / "run" / "last.safetensors")
    assert earlier.score_function == "softmax"
    for layer in ("features.2.weight", "fc_layers.fc7.weight"):
        assert torch.equal(network.state_dict()[layer], finetuned.state_dict()[layer])
    assert not torch.equal(network.cls_score.weight, finetuned.cls_score.weight)
    assert not torch.equal(network.bbox_pred.weight, finetuned.bbox_pred.weight)
    detect = DetectConfig(score_threshold=0.05)
    detector = Detector.load(result.weights, config=detect, device="cpu")
    detections = detector(training.images.paths[0]).detections
    assert len(detections) > 0
    assert ((detections.scores > 0.05) & (detections.scores <= 1)).all()


def test_stored_features_are_those_of_detection(tmp_path: Path, training: Training) -> None:
    result = training(tmp_path / "run", "fast_rcnn", classifier="svm")
    inputs = stored_regions(tmp_path / "run")
    detector = Detector.load(
        tmp_path / "run" / "last.safetensors",
        config=DetectConfig(max_proposals=60),
        device="cpu",
    )
    content, image = training.images.read_image(1)
    prepared = detector.preprocess(content, image)
    with torch.inference_mode():
        features, inverse = detector.region_features(prepared)
        hidden = detector.network.box_head(features)[inverse].numpy()
    rows = inputs.slice_of(1)
    objects = rows.stop - rows.start - len(hidden)
    assert objects == (~training.images.ground_truth(1).difficult).sum() > 0
    stored = inputs.features(rows)[objects:]
    np.testing.assert_allclose(stored, hidden, rtol=1e-3, atol=1e-3)
    assert np.array_equal(inputs.boxes(1)[objects:], from_last_pixel(prepared.rois))
    assert result.weights.name == "svm.safetensors"


def test_svms_are_trained_on_an_object_of_one_column(tmp_path: Path, training: Training) -> None:
    first, *others = training.images.annotations
    assert not first.difficult.any()
    narrow = replace(first, boxes=first.boxes[:, [0, 1, 0, 3]] + np.float32([0, 0, 1, 0]))
    training.images = replace(training.images, annotations=(narrow, *others))
    result = training(tmp_path / "run", "fast_rcnn", classifier="svm")
    assert load_weights(result.weights)[1].geometry == "caffe"
    assert result.weights.name == "svm.safetensors"


def stored_regions(run: Path) -> RegionStore:
    identity = json.loads((run / "regions" / "index.json").read_text())["identity"]
    width = identity.pop("width")
    assert width == HIDDEN
    return RegionStore(run / "regions", width, identity)


def test_features_at_several_scales_are_of_all_regions(tmp_path: Path, training: Training) -> None:
    training(tmp_path / "one", stage=None)
    training(tmp_path / "two", feature_scales=(60, 100))
    one, two = stored_regions(tmp_path / "one"), stored_regions(tmp_path / "two")
    assert one.rows == two.rows
    for image in range(one.images):
        ours, theirs = (store.boxes(image).tolist() for store in (one, two))
        assert sorted(ours) == sorted(theirs)


class Killed(BaseException):
    """What ends a process at once."""


def fails_at(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, call: int) -> None:
    original, calls = getattr(owner, name), []

    def replacement(*args, **others):
        calls.append(name)
        if len(calls) == call:
            raise Killed
        return original(*args, **others)

    monkeypatch.setattr(owner, name, replacement)


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (stages, "store_features", 1),  # before the first image
        (RegionStore, "add", 3),  # in the middle of the features, without a save
        (RegionStore, "save", 1),  # before the last save
        (svm._ClassMiner, "train", 2),  # while mining
        (stages, "fold_svms", 1),  # before the SVMs are written
        (box_regressors, "ridge", 2),
        (stages, "save_weights", 2),  # before the boxes are written
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_run_that_is_killed_goes_on_and_ends_the_same(
    tmp_path: Path, training: Training, monkeypatch: pytest.MonkeyPatch, owner, name, call
) -> None:
    whole = training(tmp_path / "whole")
    with monkeypatch.context() as patch:
        fails_at(patch, owner, name, call)
        with pytest.raises(Killed):
            training(tmp_path / "killed")
    resumed = training(tmp_path / "ignored", resume=tmp_path / "killed")
    assert resumed.weights.parent == tmp_path / "killed"
    assert resumed.weights.read_bytes() == whole.weights.read_bytes()


def test_a_stop_signal_keeps_the_features_that_are_done(
    tmp_path: Path, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StopAfterTwo(region_features.StopSignal):
        @property
        def requested(self) -> bool:
            self.asked = getattr(self, "asked", 0) + 1
            return self.asked > 2

        @requested.setter
        def requested(self, value: bool) -> None:
            pass

    monkeypatch.setattr(region_features, "StopSignal", StopAfterTwo)
    with pytest.raises(InterruptedRun, match="features of 2 of 4 images") as stopped:
        training(tmp_path / "run")
    assert "--resume" in stopped.value.hint
    assert stored_regions(tmp_path / "run").images == 2
    monkeypatch.undo()


def test_stages_by_name(tmp_path: Path, training: Training) -> None:
    run = tmp_path / "run"
    assert training(run, stage="finetune").weights.name == "last.safetensors"
    with pytest.raises(ConfigError, match="the stage features comes before svm"):
        training(run, resume=run, stage="svm")
    training(run, resume=run, stage="features")
    assert training(run, resume=run, stage="svm").weights.name == "svm.safetensors"
    assert not (run / "boxes.safetensors").exists()
    assert training(run, resume=run).weights.name == "boxes.safetensors"
    before = (run / "svm.safetensors").stat().st_mtime_ns
    training(run, resume=run, stage="svm")  # again
    assert (run / "svm.safetensors").stat().st_mtime_ns > before
    with pytest.raises(ConfigError, match="comes after fine-tuning, which has 2 iterations left"):
        training(run, resume=run, stage="svm", iterations=5)


def test_more_fine_tuning_makes_the_later_stages_due_again(
    tmp_path: Path, training: Training
) -> None:
    first = training(tmp_path / "run")
    content = first.weights.read_bytes()
    again = training(tmp_path / "run", resume=tmp_path / "run", iterations=5)
    assert again.weights == first.weights
    assert again.weights.read_bytes() != content


def test_stages_without_their_features(tmp_path: Path, training: Training) -> None:
    run = training(tmp_path / "run").folder
    (run / "regions" / "features.f16").unlink()
    with pytest.raises(FrcnnError, match="lacks features of 4 images") as error:
        training(run, resume=run, stage="svm")
    assert "--stage features" in error.value.hint


def test_svms_cannot_be_trained_further(tmp_path: Path, training: Training) -> None:
    weights = training(tmp_path / "run").weights
    training.start, config = continue_from(weights, TrainConfig(), ())
    assert config.detector == "sppnet"
    with pytest.raises(ConfigError, match="linear SVMs, which cannot be trained further"):
        training(tmp_path / "further")


def test_the_bytes_of_a_region(tmp_path: Path, training: Training) -> None:
    result = training(tmp_path / "run", stage=None)
    store = stored_regions(result.folder)
    reported = {stage.name: stage.bytes for stage in result.stages}["features"]
    index = (result.folder / "regions" / "index.json").stat().st_size
    assert reported - index == store.rows * region_bytes(HIDDEN)


def test_boxes_are_trained_with_the_network_unless_they_are_regressed_afterwards() -> None:
    config = recipe("paper", detector="rcnn")
    assert config.trained_loc_weight == 0
    assert replace(config, boxes="network").trained_loc_weight == 1
    assert TrainConfig(loc_weight=3.0).trained_loc_weight == 3


@pytest.mark.parametrize("text", ["[1]", "[" * 100_000, '{"svm": 5}', '{"svm": {"seconds": "x"}}'])
def test_a_damaged_log_of_stages_counts_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / stages.STAGES_FILE).write_text(text)
    log = stages.StageLog(tmp_path)
    assert not log.is_done("svm", "")
    log.add("svm", 2.0, "digest", 5)
    assert stages.StageLog(tmp_path).is_done("svm", "digest")
    assert log.reports(tmp_path, ["svm"])[1].seconds == 2
