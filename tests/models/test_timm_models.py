from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from frcnn_cli.checkpoints.pretrained import start_from_imagenet
from frcnn_cli.checkpoints.weights import WeightsHeader, load_weights, read_header, save_weights
from frcnn_cli.errors import ConfigError, WeightsError
from frcnn_cli.models import timm_models
from frcnn_cli.models.backbones import TORCHVISION_PIXELS, backbone_spec
from frcnn_cli.models.detectors import build_network
from frcnn_cli.models.stages import beside

NAME = "timm:resnet10t"
HEADER = WeightsHeader(
    backbone=NAME, classes=("a", "b"), pixels=TORCHVISION_PIXELS, scale=64, max_size=96
)
IMAGES = torch.randn((1, 3, 75, 106), generator=torch.Generator().manual_seed(1))
# name -> the maps of strides 16 and 32 among those of timm's model
MODELS = {"resnet10t": (3, 4), "mobilenetv3_small_050": (3, 4), "convnext_atto": (2, 3)}


@pytest.fixture
def timm() -> Any:
    return pytest.importorskip("timm")


def random_model(timm: Any, name: str) -> nn.Module:
    """Timm's model with its classifier and random weights and statistics."""
    torch.manual_seed(3)
    model: nn.Module = timm.create_model(name).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return model


def maps_of(model: nn.Module, name: str) -> Tensor:
    fine, coarse = MODELS[name]
    maps = model.forward_intermediates(IMAGES, intermediates_only=True)
    return beside(maps[fine], maps[coarse])


@pytest.mark.parametrize("as_one", [False, True], ids=["stages", "one layer"])
@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_the_maps_are_those_of_timms_model(
    timm: Any, monkeypatch: pytest.MonkeyPatch, name: str, as_one: bool
) -> None:
    if as_one:
        monkeypatch.setattr(timm_models, "_chain", lambda *_: None)
    model = random_model(timm, name)
    spec = backbone_spec(f"timm:{name}")
    features = spec.features()
    assert spec.from_imagenet is not None
    state = spec.from_imagenet(model.state_dict())
    features.load_state_dict({key.removeprefix("features."): state[key] for key in state})
    expected, found = maps_of(model, name), features.train()(IMAGES)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.std()))
    assert found.shape[1] == spec.channels
    if as_one:
        assert (spec.layers, spec.first_trained) == ({"features": 0}, "features")


def test_the_stages_end_with_the_maps(timm: Any) -> None:
    spec = backbone_spec(NAME)
    features = spec.features()
    assert list(spec.layers) == ["stage1", "stage2", "stage3", "stage4", "stage5"]
    assert spec.first_trained == "stage3"  # the first whose map has a stride above 4
    strides = []
    for first in [*list(spec.layers.values())[1:-1], len(features) - 1]:
        with torch.no_grad():
            strides.append(64 // features[:first](torch.zeros(1, 3, 64, 64)).shape[2])
    # the pooling of stride 2 that the second stage begins with has no weights to train
    assert strides == [4, 4, 8, 16]
    with torch.device("meta"):
        network = build_network(NAME, 2)
    network.freeze_before("stage5")
    frozen, trained = network.split_features()
    assert (len(frozen), len(trained)) == (len(features) - 1, 1)


def test_files_of_weights(timm: Any, tmp_path: Path) -> None:
    model = random_model(timm, "resnet10t")
    torch.save(model.state_dict(), tmp_path / "a.pth")
    save_file(model.state_dict(), tmp_path / "a.safetensors")
    network = build_network(NAME, 2).eval()
    for file in ("a.pth", "a.safetensors"):
        nn.init.zeros_(network.features[0].weight)
        pixels, filled, description = start_from_imagenet(network, tmp_path / file, None)
        mean = tuple(255 * value for value in model.pretrained_cfg["mean"])
        assert (pixels.mean, filled) == (mean, [])
        assert file in description
        with torch.no_grad():
            torch.testing.assert_close(network.features(IMAGES), maps_of(model, "resnet10t"))
    with torch.device("meta"):
        other = build_network("timm:mobilenetv3_small_050", 2)
    with pytest.raises(WeightsError, match=r"weights of another model: .* is missing, timm:mob"):
        start_from_imagenet(other, tmp_path / "a.pth", None)


def test_a_weights_file(timm: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    network = build_network(NAME, 2).eval()
    save_weights(path, network, HEADER)
    before = torch.get_rng_state()
    loaded, header = load_weights(path)
    assert torch.equal(torch.get_rng_state(), before)
    assert header.backbone == NAME
    with torch.no_grad():
        assert torch.equal(loaded.features(IMAGES), network.features(IMAGES))
    assert loaded.image_flops((64, 96)) == network.image_flops((64, 96)) > 0


def test_memory_is_taken_only_for_a_model_that_the_file_holds(
    timm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    save_weights(path, build_network("squeezenet1_1", 2), HEADER)
    devices = set()

    def create(name: str) -> nn.Module:
        model = created(name)
        devices.update(tensor.device.type for tensor in model.parameters())
        return model

    created = timm_models._create
    monkeypatch.setattr(timm_models, "_create", create)
    with pytest.raises(WeightsError, match="does not fit its own header"):
        load_weights(path)
    assert devices == {"meta"}


@pytest.mark.parametrize(
    "name", ["hf-hub:a/b", "../../a", "local-dir:/tmp", "", "a\nb", "a.b.c", "x" * 300]
)
def test_headers_with_names_that_no_model_has(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.safetensors"
    header = replace(HEADER, backbone=f"timm:{name}")
    save_weights(path, build_network("squeezenet1_1", 2), header)
    with pytest.raises(WeightsError, match="unknown here") as error:
        load_weights(path)
    assert "\n" not in error.value.message


def test_a_header_is_read_without_timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    path = tmp_path / "a.safetensors"
    save_weights(path, build_network("squeezenet1_1", 2), HEADER)
    assert read_header(path).backbone == NAME
    with pytest.raises(ConfigError, match="timm, which is not installed") as error:
        load_weights(path)
    assert error.value.hint == "pip install 'frcnn-cli[timm]'"


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("ressnet10t", "unknown model of timm 'ressnet10t'", "did you mean 'resnet10t'"),
        (
            "resnet10t.c3",
            "unknown model of timm 'resnet10t.c3'",
            "known: resnet10t, resnet10t.c3_in1k",
        ),
        ("", "unknown model of timm ''", "known: "),
        ("hf-hub:a/b", "unknown model of timm 'hf-hub:a/b'", "known: "),
        ("vit_tiny_patch16_224", "does not take images of every size", "a convolutional model"),
    ],
)
def test_names_that_are_no_backbone(timm: Any, name: str, message: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        backbone_spec(f"timm:{name}")
    assert "\n" not in error.value.message
    assert hint in error.value.hint


def test_a_model_without_maps_of_stride_16(timm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm_models, "_strides", lambda *_: {0: 4, 1: 8, 2: 32})
    with pytest.raises(ConfigError, match="timm:resnet10t has no maps of stride 16"):
        backbone_spec(NAME)


def test_weights_that_cannot_be_downloaded(timm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_network(NAME, 2)

    def fail(*_: object, **__: object) -> None:
        raise OSError("no route\nto host")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(WeightsError, match="cannot download timm:resnet10t: no route") as error:
        start_from_imagenet(network, None, None)
    assert "\n" not in error.value.message
    assert "--init" in error.value.hint


def test_downloaded_weights(timm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    network, model = build_network(NAME, 2).eval(), random_model(timm, "resnet10t")
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: model)
    _, _, description = start_from_imagenet(network, None, None)
    assert description == "features from timm:resnet10t; fc6, fc7 random"
    with torch.no_grad():
        torch.testing.assert_close(network.features(IMAGES), maps_of(model, "resnet10t"))


@pytest.mark.slow  # an export of some seconds
def test_export(timm: Any, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    onnx = importlib.import_module("frcnn_cli.checkpoints.onnx")
    path = tmp_path / "a.safetensors"
    name = "timm:convnext_atto"  # its maps of odd sides are floored
    save_weights(path, build_network(name, 2), replace(HEADER, backbone=name))
    difference = onnx.export_onnx(path, tmp_path / "a.onnx")
    assert difference is not None
    assert difference <= 1e-4
    exported = onnx.Exported(*load_weights(path)).eval()
    assert onnx.compare(tmp_path / "a.onnx", exported, *onnx._example(33, 82, 20)) <= 1e-4


def test_random_layers_are_switched_off(timm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Dropout(0.5), timm.layers.DropPath(0.5))
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: model)
    ones = torch.ones(20, 5)
    assert torch.equal(timm_models._create(NAME).train()(ones), ones)
