from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from frcnn_cli.checkpoints.weights import WeightsHeader, load_weights, save_weights
from frcnn_cli.errors import ConfigError, WeightsError
from frcnn_cli.models.backbones import BACKBONES
from frcnn_cli.runtime.paths import WEIGHTS_FILE
from frcnn_cli.training import initialisation
from frcnn_cli.training.initialisation import continue_from, included_detector, initial_network
from tiny import CLASSES, NAME, tiny_detector
from tiny_training import CONFIG, make_trainer


def test_layers_of_low_rank_from_the_start(dataset, source, init, tmp_path) -> None:
    config = replace(CONFIG, rank=5)
    trainer = make_trainer(dataset, source, init, tmp_path / "run", config)
    assert trainer.learner.header.ranks == {"fc6": 5, "fc7": 5}
    assert str(trainer.learner.header.provenance["init"]).endswith("fc6, fc7 of rank 5")
    list(trainer.steps())
    model, header = load_weights(tmp_path / "run" / WEIGHTS_FILE)
    shapes = {key: tuple(each.shape) for key, each in model.state_dict().items() if "fc" in key}
    assert shapes["fc_layers.fc6.0.weight"] == (5, 144)
    assert shapes["fc_layers.fc6.1.weight"] == (32, 5)
    assert header.ranks == trainer.learner.header.ranks
    again = make_trainer(dataset, source, init, tmp_path / "run", config, resume=True)
    assert again.learner.header.ranks == header.ranks
    wide = make_trainer(dataset, source, init, tmp_path / "wide", replace(CONFIG, rank=20))
    assert wide.learner.header.ranks == {"fc6": 20}  # fc7 has 24 outputs: 20 would save nothing


def test_layers_with_weights_keep_their_rank(dataset, source, init, tmp_path) -> None:
    state = torch.load(init)
    state |= {"classifier.1.weight": torch.zeros(32, 144), "classifier.1.bias": torch.zeros(32)}
    torch.save(state, init)
    row = replace(BACKBONES[NAME], classifier_layers=("classifier.1",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, NAME, row)
        with pytest.raises(ConfigError, match="fc6 came with the initial weights"):
            make_trainer(dataset, source, init, tmp_path, replace(CONFIG, rank=5))


@pytest.fixture
def detector_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    detector = tiny_detector(monkeypatch, tmp_path)
    path = tmp_path / "detector.safetensors"
    save_weights(path, detector.network, detector.header)
    return path


def test_a_detector_is_trained_further_at_its_scale(detector_file: Path) -> None:
    start, config = continue_from(detector_file, replace(CONFIG, backbone="vgg16"), chosen=())
    assert start.detector is not None
    header: WeightsHeader = start.detector[1]
    assert (config.backbone, config.scales, config.max_size) == (NAME, (240,), 400)
    assert (header.scale, header.max_size) == (240, 400)
    _, config = continue_from(detector_file, CONFIG, chosen=("scales", "max_size"))
    assert (config.scales, config.max_size) == (CONFIG.scales, CONFIG.max_size)


def test_settings_that_a_detector_cannot_have(detector_file: Path) -> None:
    with pytest.raises(ConfigError, match="the weights are of tiny"):
        continue_from(detector_file, replace(CONFIG, backbone="vgg16"), chosen=("backbone",))
    agnostic = replace(CONFIG, class_agnostic=True)
    with pytest.raises(ConfigError, match="refine boxes for each class by itself"):
        continue_from(detector_file, agnostic, chosen=("class_agnostic",))
    with pytest.raises(ConfigError, match="exclude each other"):
        continue_from(detector_file, replace(CONFIG, rank=5), chosen=("rank",))


@pytest.mark.parametrize("name", ["geometry", "class_agnostic"])
def test_batches_are_made_for_the_detector(detector_file: Path, name: str) -> None:
    start, config = continue_from(detector_file, CONFIG, chosen=())
    other = {"geometry": "caffe", "class_agnostic": True}[name]
    assert getattr(config, name) != other
    with pytest.raises(ConfigError, match=f"the weights have {name}="):
        initial_network(replace(config, **{name: other}), CLASSES, start, None)


def test_the_included_detector_is_for_the_usual_training_alone(monkeypatch) -> None:
    def download(name: str) -> None:
        raise WeightsError("no network")

    monkeypatch.setattr(initialisation, "download_imagenet", download)
    config = replace(CONFIG, backbone="squeezenet1_1")
    assert included_detector(config) == "squeezenet1_1-voc07"
    for other in ({"detector": "sppnet"}, {"rank": 5}, {"class_agnostic": True}):
        assert included_detector(replace(config, **other)) is None


def test_a_run_of_an_earlier_version_keeps_its_geometry(dataset, source, init, tmp_path) -> None:
    config, folder = replace(CONFIG, geometry="torch"), tmp_path / "run"
    list(make_trainer(dataset, source, init, folder, config).steps())
    state = torch.load(folder / "state.pt", weights_only=False)
    assert state.pop("geometry") == "torch"  # which earlier versions did not write
    torch.save(state, folder / "state.pt")
    longer = replace(CONFIG, iterations=7)
    assert longer.geometry == "caffe"
    with pytest.raises(ConfigError, match="--geometry torch"):
        make_trainer(dataset, source, init, folder, longer, resume=True)
    longer = replace(config, iterations=7)
    resumed = make_trainer(dataset, source, init, folder, longer, resume=True)
    assert not resumed.learner.network.ends_are_inside
    assert len(list(resumed.steps())) == 1
