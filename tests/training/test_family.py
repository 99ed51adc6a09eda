"""R-CNN and SPPnet go through the same functions as Fast R-CNN."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from frcnn_cli.checkpoints.weights import load_weights, read_header
from frcnn_cli.compression import cost
from frcnn_cli.compression.compress import compress
from frcnn_cli.config import CompressConfig, DetectConfig, TrainConfig, TrainRuntimeConfig
from frcnn_cli.data.sources import as_source
from frcnn_cli.data.voc import load_voc
from frcnn_cli.errors import ConfigError
from frcnn_cli.evaluation.evaluate import evaluate
from frcnn_cli.inference.detector import Detector
from frcnn_cli.inference.profile import profile
from frcnn_cli.models.detectors import DETECTORS
from frcnn_cli.models.warp import Warp
from frcnn_cli.proposers.registry import proposal_source
from frcnn_cli.recipes import recipe
from frcnn_cli.training.initialisation import Initialisation, continue_from
from frcnn_cli.training.statistics import compute_statistics
from frcnn_cli.training.train import TrainResult, train
from tiny import NAME, add_tiny_backbone

RUNTIME = TrainRuntimeConfig(device="cpu", workers=0)


@pytest.fixture(autouse=True)
def initial_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    small = replace(DETECTORS["rcnn"], warp=Warp(side=48, context=4))  # to be quick
    monkeypatch.setitem(DETECTORS, "rcnn", small)
    return add_tiny_backbone(monkeypatch, tmp_path)


def settings(detector: str, **others) -> TrainConfig:
    """Training in one stage; `test_stages` is about several."""
    return replace(
        recipe("paper", detector=detector), backbone=NAME, iterations=2, scales=(100,),
        max_size=160, rois_per_batch=16, images_per_batch=2, classifier="softmax", boxes="network",
        **others,
    )  # fmt: skip


def run(
    config: TrainConfig, voc_folder: Path, weights: Path, folder: Path, **others
) -> TrainResult:
    result = train(
        config,
        load_voc(voc_folder, "voc", "train", ()),
        folder=folder,
        initialisation=Initialisation(imagenet_weights=weights),
        runtime=RUNTIME,
        threads=1,
    )
    assert result is not None
    return result


@pytest.mark.parametrize("name", ["rcnn", "sppnet"])
def test_trains_detects_and_compresses(
    name: str,
    tmp_path: Path,
    voc_folder: Path,
    initial_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(  # a new process would not know the backbone
        cost, "measure_weights", lambda path, device: cost.measure_here(path, device, 1)
    )
    trained = run(settings(name), voc_folder, initial_weights, tmp_path / "run")
    network, header = load_weights(trained.weights)
    assert header.detector == name
    assert header.detector_spec == DETECTORS[name]
    images = load_voc(voc_folder, "voc", "train", ())
    detect = DetectConfig(score_threshold=0.1, max_proposals=40)
    detector = Detector.load(trained.weights, config=detect, device="cpu")
    assert 0 <= evaluate(detector, images, workers=1).mean_ap <= 1
    photograph = as_source(voc_folder / "JPEGImages" / "000001.jpg")
    stages = {each.name for each in profile(detector, [photograph]).stages}
    assert {"conv", "RoI pool", "fc6", "heads"} <= stages
    assert ("warp" in stages) == (network.warp is not None)
    small = compress(
        trained.weights,
        CompressConfig(rank=8),
        calibrate=f"voc:{voc_folder}",
        out=tmp_path / "small.safetensors",
        device="cpu",
        workers=1,
    )
    assert small.path is not None
    assert read_header(small.path).warp == DETECTORS[name].warp


def test_the_convolutions_of_sppnet_stay_and_those_of_rcnn_are_fine_tuned(
    tmp_path: Path, voc_folder: Path, initial_weights: Path
) -> None:
    assert recipe("paper", detector="rcnn").images_per_batch == 32  # 32 foreground RoIs of 128
    initial = torch.load(initial_weights, weights_only=True)
    for name, stays in (("sppnet", True), ("rcnn", False)):
        trained = run(settings(name), voc_folder, initial_weights, tmp_path / name)
        weight = load_weights(trained.weights)[0].features[2].weight
        assert torch.equal(weight, initial["features.2.weight"]) == stays


def test_maps_that_do_not_exist_cannot_be_cached(
    tmp_path: Path, voc_folder: Path, initial_weights: Path
) -> None:
    with pytest.raises(ConfigError, match="--cache-features needs convolutions of the whole image"):
        train(
            settings("rcnn", train_from="fc6"),
            load_voc(voc_folder, "voc", "train", ()),
            folder=tmp_path / "run",
            initialisation=Initialisation(imagenet_weights=initial_weights),
            runtime=replace(RUNTIME, cache_features=True),
            threads=1,
        )


def test_class_agnostic_boxes(tmp_path: Path, voc_folder: Path, initial_weights: Path) -> None:
    """One refinement for every class: trained, normalised, saved, loaded and resumed."""
    config = settings("fast_rcnn", class_agnostic=True)
    trained = run(config, voc_folder, initial_weights, tmp_path / "run")
    network, header = load_weights(trained.weights)
    assert header.class_agnostic
    assert network.bbox_pred.out_features == 4
    with torch.inference_mode():
        deltas = network.predict(torch.rand(5, 24)).box_deltas
    assert deltas.shape == (5, 4, 4)
    assert (deltas == deltas[:, :1]).all()
    images = load_voc(voc_folder, "voc", "train", ())
    detect = DetectConfig(score_threshold=0.1, max_proposals=40)
    detector = Detector.load(trained.weights, config=detect, device="cpu")
    assert 0 <= evaluate(detector, images, workers=1).mean_ap <= 1
    further, config = continue_from(trained.weights, config, ())
    assert config.class_agnostic
    renamed = replace(
        images,
        classes=("cube", *images.classes[1:]),
        annotations=tuple(
            replace(each, names=tuple("cube" if name == "ball" else name for name in each.names))
            for each in images.annotations
        ),
    )
    again = train(
        config, renamed, folder=tmp_path / "further", initialisation=further, runtime=RUNTIME,
        threads=1,
    )  # fmt: skip
    assert again is not None
    assert read_header(again.weights).classes[0] == "cube"


def test_class_agnostic_targets_have_one_mean_and_deviation(
    tmp_path: Path, voc_folder: Path, initial_weights: Path
) -> None:
    """As one class that stands for all of them."""
    images, source = load_voc(voc_folder, "voc", "train", ()), proposal_source("fast")
    one_class = replace(
        images,
        classes=("thing",),
        annotations=tuple(
            replace(each, names=("thing",) * len(each.names)) for each in images.annotations
        ),
    )
    common = {"max_proposals": 300, "fg_threshold": 0.5, "bg_thresholds": (0.1, 0.5), "threads": 1}
    agnostic, thing = (
        compute_statistics(each, source, class_agnostic=flag, on_image=lambda: None, **common)
        for each, flag in ((images, True), (one_class, False))
    )
    for label in (1, 2, 3):
        assert np.array_equal(agnostic.deltas.mean[label], thing.deltas.mean[1])
        assert np.array_equal(agnostic.deltas.std[label], thing.deltas.std[1])
