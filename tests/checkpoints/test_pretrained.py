from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from frcnn_cli.checkpoints import pretrained
from frcnn_cli.errors import WeightsError
from frcnn_cli.models.region_network import RegionNetwork
from frcnn_cli.ops.roi_pool import roi_pool
from small_network import (
    BINS,
    CHANNELS,
    HIDDEN,
    add_small_backbone,
    inputs,
    outputs,
    small_network,
)


@pytest.fixture(autouse=True)
def backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    add_small_backbone(monkeypatch)


@pytest.fixture
def network() -> RegionNetwork:
    return small_network()


def imagenet(**changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(9)
    shapes = {
        "features.0.weight": (CHANNELS, 3, 3, 3),
        "features.0.bias": (CHANNELS,),
        "classifier.0.weight": (HIDDEN, CHANNELS * BINS * BINS),
        "classifier.0.bias": (HIDDEN,),
        "classifier.3.weight": (HIDDEN, HIDDEN),
        "classifier.3.bias": (HIDDEN,),
        "classifier.6.weight": (1000, HIDDEN),
        "classifier.6.bias": (1000,),
    }
    state = {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}
    for key, value in changes.items():
        key = key.replace("__", ".")
        if value is None:
            del state[key]
        else:
            state[key] = value
    return state


@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a.safetensors"])
@pytest.mark.parametrize("wrap", [dict, OrderedDict])
def test_state_dict_is_read(tmp_path: Path, name: str, wrap: Callable) -> None:
    path = tmp_path / name
    if path.suffix == ".safetensors":
        save_file(imagenet(), path)
    else:
        torch.save(wrap(imagenet()), path)
    state = pretrained.load_state_dict(path)
    assert state.keys() == imagenet().keys()
    for key, tensor in imagenet().items():
        torch.testing.assert_close(state[key], tensor, rtol=0, atol=0)


class Hostile:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return (os.mkdir, (str(self.target),))


@pytest.mark.parametrize("writer", ["pickle", "torch", "torch-legacy"])
def test_pickled_code_is_refused_and_does_not_run(tmp_path: Path, writer: str) -> None:
    trap, path = tmp_path / "trap", tmp_path / "a.pth"
    state = {**imagenet(), "code": Hostile(trap)}
    if writer == "pickle":
        path.write_bytes(pickle.dumps({"code": Hostile(trap)}, protocol=2))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=writer == "torch")
    with pytest.raises(WeightsError, match=r"asks for posix\.mkdir") as error:
        pretrained.load_state_dict(path)
    assert "\n" not in error.value.message
    assert not trap.exists()


@pytest.mark.parametrize(
    "value",
    [
        [1, 2],
        torch.zeros(2),
        {"epoch": 3},
        {"a": torch.zeros(2, device="meta")},
    ],
    ids=str,
)
def test_something_else_than_tensors_by_name(tmp_path: Path, value: object) -> None:
    torch.save(value, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="something other than plain tensors"):
        pretrained.load_state_dict(tmp_path / "a.pth")


def test_a_checkpoint_of_training_is_told_by_its_parts(tmp_path: Path) -> None:
    state = {"a": torch.zeros(1)}
    torch.save({"epoch": 3, "model": state, "optimizer": {}}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="a state dict: epoch, model, optimizer") as error:
        pretrained.load_state_dict(tmp_path / "a.pth")
    assert error.value.hint == "save one part alone: torch.save(torch.load('a.pth')['model'], …)"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(tmp_path: Path, value: float) -> None:
    state = {"a": torch.tensor([1.0, value]), "count": torch.tensor(3)}
    torch.save(state, tmp_path / "a.pth")
    save_file(state, tmp_path / "a.safetensors")
    for name in ("a.pth", "a.safetensors"):
        with pytest.raises(WeightsError, match=f"{name} holds NaN or infinite weights"):
            pretrained.load_state_dict(tmp_path / name)


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"words", bytes(range(256)) * 4, b"PK\x03\x04" + b"\0" * 99]
)
def test_state_dict_from_other_bytes(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"cannot be read|it is no file of torch\.save") as error:
        pretrained.load_state_dict(path)
    assert "\n" not in error.value.message
    assert "opcode" not in error.value.message


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_state_dict_is_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(WeightsError, match="no weights file"):
        pretrained.load_state_dict(tmp_path / name)


def test_initialise_fills_features_and_both_layers(network: RegionNetwork) -> None:
    heads = network.cls_score.weight.clone(), network.bbox_pred.weight.clone()
    state = imagenet()
    assert pretrained.initialise(network, state) == ["fc6", "fc7"]
    for key, tensor in network.features.state_dict().items():
        torch.testing.assert_close(tensor, state[f"features.{key}"], rtol=0, atol=0)
    torch.testing.assert_close(network.fc_layers["fc7"].weight, state["classifier.3.weight"])
    torch.testing.assert_close(network.fc_layers["fc6"].bias, state["classifier.0.bias"])
    torch.testing.assert_close(network.cls_score.weight, heads[0], rtol=0, atol=0)
    torch.testing.assert_close(network.bbox_pred.weight, heads[1], rtol=0, atol=0)


def test_initialise_reorders_fc6_to_bins_first(network: RegionNetwork) -> None:
    state = imagenet()
    pretrained.initialise(network, state)
    images, rois = inputs()
    with torch.no_grad():
        maps = torch.relu(
            nn.functional.conv2d(
                images, state["features.0.weight"], state["features.0.bias"], 16, 1
            )
        )
        pooled = roi_pool(maps, rois, (BINS, BINS), 1 / 16)
        x = pooled.flatten(1)
        for name in ("classifier.0", "classifier.3"):
            x = nn.functional.linear(x, state[f"{name}.weight"], state[f"{name}.bias"]).relu()
        logits = nn.functional.linear(x, network.cls_score.weight, network.cls_score.bias)
        deltas = nn.functional.linear(x, network.bbox_pred.weight, network.bbox_pred.bias)
    assert logits.abs().max() > 1e-3
    output = outputs(network)
    torch.testing.assert_close(output[0], logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output[1].flatten(1), deltas, rtol=1e-4, atol=1e-5)
    assert not torch.equal(network.fc_layers["fc6"].weight, state["classifier.0.weight"])


@pytest.mark.parametrize(
    ("changes", "filled"),
    [
        ({"classifier__0__weight": None}, ["fc7"]),
        ({"classifier__0__bias": None}, ["fc7"]),
        ({"classifier__3__weight": torch.zeros(HIDDEN, 7)}, ["fc6"]),
        ({"classifier__0__weight": None, "classifier__3__weight": None}, []),
    ],
)
def test_layers_that_do_not_fit_stay_random(
    network: RegionNetwork, changes: dict, filled: list[str]
) -> None:
    before = {name: layer.weight.clone() for name, layer in network.fc_layers.items()}
    assert pretrained.initialise(network, imagenet(**changes)) == filled
    for name, weight in before.items():
        assert torch.equal(network.fc_layers[name].weight, weight) == (name not in filled)


def test_initialise_copies_and_does_not_share(network: RegionNetwork) -> None:
    state = imagenet()
    pretrained.initialise(network, state)
    state["features.0.weight"].zero_()
    state["classifier.3.weight"].zero_()
    assert network.features[0].weight.abs().sum() > 0
    assert network.fc_layers["fc7"].weight.abs().sum() > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features__0__weight": None}, "features.0.weight is missing"),
        ({"features__0__bias": None}, "features.0.bias is missing"),
        ({"features__0__weight": torch.zeros(4, 3, 3, 3)}, "features.0.weight is of shape"),
        ({"features__0__bias": torch.zeros(CHANNELS, 1)}, "features.0.bias is of shape"),
    ],
)
def test_weights_of_another_model_name_the_tensor(
    network: RegionNetwork, changes: dict, message: str
) -> None:
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    with pytest.raises(WeightsError) as error:
        pretrained.initialise(network, imagenet(**changes))
    assert message in error.value.message
    assert "tiny" in error.value.hint
    for key, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, before[key], rtol=0, atol=0)
