from __future__ import annotations

import json
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from frcnn_cli.checkpoints import pretrained
from frcnn_cli.checkpoints import weights as checkpoint
from frcnn_cli.checkpoints.weights import WeightsHeader, load_weights, save_weights
from frcnn_cli.errors import FrcnnError, WeightsError
from frcnn_cli.models import backbones, low_rank
from frcnn_cli.models.detectors import build_network
from frcnn_cli.models.region_network import RegionNetwork
from frcnn_cli.ops.roi_pool import roi_pool
from frcnn_cli.structures import PixelStatistics

CHANNELS, BINS, HIDDEN = 8, 2, 16
HEADER = WeightsHeader(
    backbone="tiny",
    classes=("ball", "box", "tile"),
    pixels=PixelStatistics((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)),
    scale=60,
    max_size=100,
    provenance={"data": "synthetic", "history": [1, 2.5, None]},
)


def features() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, CHANNELS, 3, stride=16, padding=1), nn.ReLU())


@pytest.fixture(autouse=True)
def tiny_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = backbones.BackboneSpec(
        name="tiny",
        features=features,
        channels=CHANNELS,
        stride=16,
        pooled_size=BINS,
        fc_layers={"fc6": HIDDEN, "fc7": HIDDEN},
        layers={"conv1": 0},
        first_trained="conv1",
        pixels=PixelStatistics((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        imagenet_weights=None,
        classifier_layers=("classifier.0", "classifier.3"),
    )
    monkeypatch.setitem(backbones.BACKBONES, "tiny", spec)


@pytest.fixture
def model() -> RegionNetwork:
    torch.manual_seed(3)
    return build_network("tiny", 3).eval()


@pytest.fixture
def saved(tmp_path: Path, model: RegionNetwork) -> Path:
    path = tmp_path / "weights" / "tiny.safetensors"
    save_weights(path, model, HEADER)
    return path


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.randn((2, 3, 96, 128), generator=torch.Generator().manual_seed(1))
    rois = torch.tensor(
        [[0, 0, 0, 127, 95], [0, 20, 10, 90, 70], [1, 5, 40, 60, 95], [1, 64, 0, 128, 60]]
    )
    return images, rois.float()


def answer(model: RegionNetwork) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        output = model.eval()(*inputs())
    return output.class_logits, output.box_deltas


def store(path: Path, model: RegionNetwork, header: object, **tensors: torch.Tensor | None) -> Path:
    state = {key: value.clone() for key, value in model.state_dict().items()}
    for key, value in tensors.items():
        key = key.replace("__", ".")
        if value is None:
            del state[key]
        else:
            state[key] = value
    text = header if isinstance(header, str) else json.dumps(header)
    save_file(state, path, {"frcnn": text})
    return path


def header_with(**changes: object) -> dict:
    return {**checkpoint._to_json(HEADER), **changes}


def refused(path: Path) -> WeightsError:
    with pytest.raises(WeightsError) as error:
        load_weights(path)
    assert "\n" not in error.value.message
    assert error.value.hint
    return error.value


def test_round_trip_keeps_every_tensor(saved: Path, model: RegionNetwork) -> None:
    loaded, header = load_weights(saved)
    assert header == HEADER
    assert not loaded.training
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for key, tensor in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[key], tensor, rtol=0, atol=0)
    for left, right in zip(answer(loaded), answer(model), strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=0)


def test_feature_scale_is_kept(tmp_path: Path, model: RegionNetwork) -> None:
    model.feature_scale.fill_(0.125)
    save_weights(tmp_path / "a.safetensors", model, HEADER)
    loaded, _ = load_weights(tmp_path / "a.safetensors")
    assert loaded.feature_scale.item() == 0.125


def test_half_file_is_smaller_and_loads_as_float32(
    tmp_path: Path, saved: Path, model: RegionNetwork
) -> None:
    path = tmp_path / "half.safetensors"
    save_weights(path, model, HEADER, half=True)
    with safe_open(path, framework="pt") as file:
        assert {file.get_slice(key).get_dtype() for key in file.keys()} == {"F16"}  # noqa: SIM118
    assert path.stat().st_size < saved.stat().st_size
    loaded, header = load_weights(path)
    assert header == HEADER
    for key, tensor in loaded.state_dict().items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, model.state_dict()[key].half().float(), rtol=0, atol=0)


def test_saving_does_not_change_the_model(tmp_path: Path, model: RegionNetwork) -> None:
    before = answer(model)
    save_weights(tmp_path / "a.safetensors", model, HEADER, half=True)
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
    for left, right in zip(answer(model), before, strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=0)


@pytest.mark.parametrize("ranks", [{"fc6": 3}, {"fc7": 16}, {"fc6": 5, "fc7": 1}])
@pytest.mark.parametrize("half", [False, True])
def test_compressed_round_trip(
    tmp_path: Path, model: RegionNetwork, ranks: dict[str, int], half: bool
) -> None:
    for name, rank in ranks.items():
        layer = model.fc_layers[name]
        assert isinstance(layer, nn.Linear)
        model.fc_layers[name] = low_rank.truncate(layer, low_rank.singular_basis(layer), rank)
    path = tmp_path / "a.safetensors"
    save_weights(path, model, replace(HEADER, ranks=ranks), half)
    loaded, header = load_weights(path)
    assert header.ranks == ranks
    for name, rank in ranks.items():
        assert loaded.fc_layers[name][0].weight.shape[0] == rank
    tolerance = {"rtol": 2e-2, "atol": 2e-3} if half else {"rtol": 0, "atol": 0}
    for left, right in zip(answer(loaded), answer(model), strict=True):
        torch.testing.assert_close(left, right, **tolerance)


@pytest.mark.parametrize(
    "ranks", [{"fc6": 0}, {"fc6": -1}, {"fc6": 17}, {"fc7": 10**9}, {"fc9": 2}, {"": 2}]
)
def test_impossible_ranks(tmp_path: Path, model: RegionNetwork, ranks: dict) -> None:
    error = refused(store(tmp_path / "a.safetensors", model, header_with(ranks=ranks)))
    assert repr(next(iter(ranks))) in error.message


def test_ranks_that_the_tensors_do_not_have(tmp_path: Path, model: RegionNetwork) -> None:
    path = store(tmp_path / "a.safetensors", model, header_with(ranks={"fc6": 3}))
    assert "fc6" in refused(path).message


def with_prefilter(model: RegionNetwork, ranks: dict[str, int]) -> RegionNetwork:
    for name, rank in ranks.items():
        layer = model.fc_layers[name]
        assert isinstance(layer, nn.Linear)
        model.prefilter[name] = low_rank.truncate(layer, low_rank.singular_basis(layer), rank)
    return model


@pytest.mark.parametrize("half", [False, True])
def test_both_heads_round_trip(tmp_path: Path, model: RegionNetwork, half: bool) -> None:
    with_prefilter(model, {"fc6": 4})
    path = tmp_path / "a.safetensors"
    save_weights(path, model, replace(HEADER, prefilter={"fc6": 4}), half)
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["frcnn"])["format"] == "frcnn-3"
    loaded, header = load_weights(path)
    assert header.prefilter == {"fc6": 4}
    assert header.ranks == {}
    x = torch.rand(5, model.fc_layers["fc6"].in_features)
    tolerance = {"rtol": 2e-2, "atol": 2e-3} if half else {"rtol": 0, "atol": 0}
    torch.testing.assert_close(
        loaded.prefilter_head(x), model.eval().prefilter_head(x), **tolerance
    )
    assert not torch.equal(loaded.prefilter_head(x), loaded.box_head(x))


def test_a_screen_that_the_header_does_not_name_is_not_written(
    tmp_path: Path, model: RegionNetwork
) -> None:
    path = tmp_path / "a.safetensors"
    save_weights(path, with_prefilter(model, {"fc6": 4}), HEADER)
    loaded, header = load_weights(path)
    assert header.prefilter == {}
    assert not len(loaded.prefilter)


@pytest.mark.parametrize("ranks", [{"fc6": 0}, {"fc6": 17}, {"fc9": 2}, {"fc6": 3}])
def test_a_prefilter_that_the_tensors_do_not_have(
    tmp_path: Path, model: RegionNetwork, ranks: dict
) -> None:
    header = header_with(prefilter=ranks)
    refused(store(tmp_path / "a.safetensors", with_prefilter(model, {"fc6": 4}), header))


def old_header(**changes: object) -> dict:
    """A header as it was before detectors were named."""
    names = ("detector", "region_operator", "score_function", "prefilter")
    kept = {key: value for key, value in header_with().items() if key not in names}
    return {**kept, "format": "frcnn-1", **changes}


def test_files_of_the_first_format_load(tmp_path: Path, model: RegionNetwork) -> None:
    loaded, header = load_weights(store(tmp_path / "a.safetensors", model, old_header()))
    assert header == HEADER
    for left, right in zip(answer(loaded), answer(model), strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=0)


def test_files_of_the_second_format_load(tmp_path: Path, model: RegionNetwork) -> None:
    with_prefilter(model, {"fc6": 4})
    state = {key.replace("prefilter.", "screen."): v for key, v in model.state_dict().items()}
    path = tmp_path / "a.safetensors"
    header = old_header(format="frcnn-2", screen={"fc6": 4})
    save_file(state, path, {"frcnn": json.dumps(header)})
    loaded, header = load_weights(path)
    assert header == replace(HEADER, prefilter={"fc6": 4})
    x = torch.rand(5, model.fc_layers["fc6"].in_features)
    assert torch.equal(loaded.prefilter_head(x), model.prefilter_head(x))


@pytest.mark.parametrize(
    "changes",
    [
        {"screen": {"fc6": 4}},
        {"screen": None},
        {"format": "frcnn-2"},
        {"format": "frcnn-3"},
    ],
    ids=str,
)
def test_old_formats_hold_what_they_held(
    tmp_path: Path, model: RegionNetwork, changes: dict
) -> None:
    header = old_header(**changes)
    refused(store(tmp_path / "a.safetensors", model, header))


def test_file_without_header(tmp_path: Path, model: RegionNetwork) -> None:
    path = tmp_path / "a.safetensors"
    save_file(model.state_dict(), path)
    assert "no header" in refused(path).message
    save_file(model.state_dict(), path, {"format": "pt"})
    assert "no header" in refused(path).message


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_header_is_cut(tmp_path: Path, model: RegionNetwork, keep: float) -> None:
    text = json.dumps(header_with())
    path = store(tmp_path / "a.safetensors", model, text[: int(len(text) * keep)])
    assert "no header" in refused(path).message


@pytest.mark.parametrize("field", list(checkpoint._to_json(HEADER)))
def test_header_lacks_a_field(tmp_path: Path, model: RegionNetwork, field: str) -> None:
    header = header_with()
    del header[field]
    path = store(tmp_path / "a.safetensors", model, header)
    if field in ("provenance", "prefilter"):
        assert getattr(load_weights(path)[1], field) == {}
    else:
        assert "no header" in refused(path).message


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "frcnn-2"},
        {"format": None},
        {"extra": 1},
        {"classes": []},
        {"classes": None},
        {"classes": [str(number) for number in range(10_001)]},
        {"pixel_mean": [1, 2]},
        {"pixel_mean": "mean"},
        {"pixel_std": [1, 2, 3, 4]},
        {"pixel_std": [1, 0, 1]},
        {"pixel_std": [1, -1, 1]},
        {"pixel_std": [1, float("nan"), 1]},
        {"scale": 0},
        {"scale": 200, "max_size": 100},
        {"scale": "600"},
        {"max_size": 10**9},
        {"ranks": [1]},
        {"ranks": {"fc6": "many"}},
        {"ranks": {"fc6": None}},
    ],
    ids=str,
)
def test_header_says_something_else(tmp_path: Path, model: RegionNetwork, changes: dict) -> None:
    path = store(tmp_path / "a.safetensors", model, header_with(**changes))
    assert "no header" in refused(path).message


@pytest.mark.parametrize("text", ["null", "[]", "3", '"frcnn-1"', "{}", "{", "\0"])
def test_header_is_no_object(tmp_path: Path, model: RegionNetwork, text: str) -> None:
    assert "no header" in refused(store(tmp_path / "a.safetensors", model, text)).message


@pytest.mark.parametrize("field", ["backbone", "region_operator", "score_function"])
def test_header_of_something_unknown(tmp_path: Path, model: RegionNetwork, field: str) -> None:
    path = store(tmp_path / "a.safetensors", model, header_with(**{field: "tinny"}))
    with pytest.raises(WeightsError, match="'tinny', unknown here") as error:
        load_weights(path)
    assert "known: " in error.value.hint


@pytest.mark.parametrize(
    ("tensors", "named"),
    [
        ({"cls_score__weight": torch.zeros(5, HIDDEN)}, "cls_score.weight"),
        ({"cls_score__bias": torch.zeros(4, 1)}, "cls_score.bias"),
        ({"fc_layers__fc6__weight": torch.zeros(HIDDEN, 31)}, "fc_layers.fc6.weight"),
        ({"features__0__weight": torch.zeros(3, CHANNELS, 3, 3)}, "features.0.weight"),
        ({"bbox_pred__weight": None}, "bbox_pred.weight"),
        ({"feature_scale": None}, "feature_scale"),
        ({"fc_layers__fc8__weight": torch.zeros(2, 2)}, "fc_layers.fc8.weight"),
        ({"surprise": torch.zeros(())}, "surprise"),
    ],
)
def test_tensors_that_do_not_fit(
    tmp_path: Path, model: RegionNetwork, tensors: dict, named: str
) -> None:
    path = store(tmp_path / "a.safetensors", model, header_with(), **tensors)
    assert named in refused(path).message


def test_more_classes_than_tensors(tmp_path: Path, model: RegionNetwork) -> None:
    path = store(tmp_path / "a.safetensors", model, header_with(classes=["a", "b", "c", "d"]))
    assert "does not fit" in refused(path).message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("key", ["features.0.weight", "bbox_pred.bias", "feature_scale"])
def test_weights_that_are_not_finite(
    tmp_path: Path, model: RegionNetwork, key: str, value: float
) -> None:
    sound = store(tmp_path / "b.safetensors", model, header_with())
    before = sound.read_bytes()
    model.state_dict()[key].view(-1)[-1] = value
    path = store(tmp_path / "a.safetensors", model, header_with())
    assert "NaN or infinite" in refused(path).message
    with pytest.raises(WeightsError, match="NaN, infinite"):
        save_weights(sound, model, HEADER)
    assert sound.read_bytes() == before


def test_weights_too_large_for_half_precision(tmp_path: Path, model: RegionNetwork) -> None:
    model.state_dict()["bbox_pred.bias"][0] = 70_000
    save_weights(tmp_path / "a.safetensors", model, HEADER)
    with pytest.raises(WeightsError, match="too large for float16"):
        save_weights(tmp_path / "b.safetensors", model, HEADER, half=True)
    assert not (tmp_path / "b.safetensors").exists()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_floating_types_load(
    tmp_path: Path, model: RegionNetwork, dtype: torch.dtype
) -> None:
    weight = model.cls_score.weight.detach().to(dtype)
    path = store(tmp_path / "a.safetensors", model, header_with(), cls_score__weight=weight)
    loaded, _ = load_weights(path)
    torch.testing.assert_close(loaded.cls_score.weight, weight.float(), rtol=0, atol=0)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0", bytes(range(256)) * 8, b"\xff" * 64, b"\0" * 4096, b"PK\x03\x04 zip", b"words\n"],
    ids=["empty", "byte", "bytes", "ones", "zeros", "zip", "text"],
)
def test_bytes_that_are_no_weights(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    assert str(path) in refused(path).message


@pytest.mark.parametrize("keep", [4, 8, 50, 300, 2000, -1])
def test_cut_file(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    assert str(saved) in refused(saved).message


def test_missing_file(tmp_path: Path) -> None:
    assert str(tmp_path / "absent") in refused(tmp_path / "absent").message


def test_folder_is_no_weights_file(tmp_path: Path) -> None:
    assert str(tmp_path) in refused(tmp_path).message


def test_save_makes_the_folder_and_leaves_nothing_else(saved: Path) -> None:
    assert [path.name for path in saved.parent.iterdir()] == ["tiny.safetensors"]


def test_written_file_can_be_read_by_others(saved: Path) -> None:
    assert saved.stat().st_mode & 0o777 == 0o644


def test_write_atomically_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    for content in (b"old", b"new"):
        checkpoint.write_atomically(path, lambda part, content=content: part.write_bytes(content))
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_half_written_file_is_beside_its_place(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    seen = []

    def write(part: Path) -> None:
        part.write_bytes(b"new")
        seen.append((part.parent, part != path, path.read_bytes()))

    checkpoint.write_atomically(path, write)
    assert seen == [(tmp_path, True, b"old")]
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), RuntimeError("bad")])
def test_failed_write_leaves_the_old_file(tmp_path: Path, failure: Exception) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write(part: Path) -> None:
        part.write_bytes(b"half of")
        raise failure

    with pytest.raises(FrcnnError, match="cannot write") as error:
        checkpoint.write_atomically(path, write)
    assert str(path) in error.value.message
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write(part: Path) -> None:
        part.write_bytes(b"half of")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checkpoint.write_atomically(path, write)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_write_where_a_folder_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    with pytest.raises(FrcnnError, match="cannot write"):
        checkpoint.write_atomically(tmp_path / "file" / "a", lambda part: part.write_bytes(b""))


def test_write_over_a_folder(tmp_path: Path) -> None:
    (tmp_path / "taken" / "inside").mkdir(parents=True)
    with pytest.raises(FrcnnError, match="cannot write"):
        checkpoint.write_atomically(tmp_path / "taken", lambda part: part.write_bytes(b"x"))
    assert os.listdir(tmp_path) == ["taken"]


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
    with pytest.raises(WeightsError, match="cannot be read") as error:
        pretrained.load_state_dict(path)
    assert "\n" not in error.value.message
    assert not trap.exists()


@pytest.mark.parametrize(
    "value",
    [
        [1, 2],
        torch.zeros(2),
        {"epoch": 3},
        {"state_dict": {"a": torch.zeros(1)}},
        {"a": torch.zeros(2, device="meta")},
    ],
    ids=str,
)
def test_something_else_than_tensors_by_name(tmp_path: Path, value: object) -> None:
    torch.save(value, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="something else"):
        pretrained.load_state_dict(tmp_path / "a.pth")


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"words", bytes(range(256)) * 4, b"PK\x03\x04" + b"\0" * 99]
)
def test_state_dict_from_other_bytes(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="cannot be read") as error:
        pretrained.load_state_dict(path)
    assert "\n" not in error.value.message


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_state_dict_is_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(WeightsError, match="no weights file"):
        pretrained.load_state_dict(tmp_path / name)


def test_initialise_fills_features_and_both_layers(model: RegionNetwork) -> None:
    heads = model.cls_score.weight.clone(), model.bbox_pred.weight.clone()
    state = imagenet()
    assert pretrained.initialise(model, state) == ["fc6", "fc7"]
    for key, tensor in model.features.state_dict().items():
        torch.testing.assert_close(tensor, state[f"features.{key}"], rtol=0, atol=0)
    torch.testing.assert_close(model.fc_layers["fc7"].weight, state["classifier.3.weight"])
    torch.testing.assert_close(model.fc_layers["fc6"].bias, state["classifier.0.bias"])
    torch.testing.assert_close(model.cls_score.weight, heads[0], rtol=0, atol=0)
    torch.testing.assert_close(model.bbox_pred.weight, heads[1], rtol=0, atol=0)


def test_initialise_reorders_fc6_to_bins_first(model: RegionNetwork) -> None:
    state = imagenet()
    pretrained.initialise(model, state)
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
        logits = nn.functional.linear(x, model.cls_score.weight, model.cls_score.bias)
        deltas = nn.functional.linear(x, model.bbox_pred.weight, model.bbox_pred.bias)
    assert logits.abs().max() > 1e-3
    found = answer(model)
    torch.testing.assert_close(found[0], logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[1].flatten(1), deltas, rtol=1e-4, atol=1e-5)
    assert not torch.equal(model.fc_layers["fc6"].weight, state["classifier.0.weight"])


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
    model: RegionNetwork, changes: dict, filled: list[str]
) -> None:
    before = {name: layer.weight.clone() for name, layer in model.fc_layers.items()}
    assert pretrained.initialise(model, imagenet(**changes)) == filled
    for name, weight in before.items():
        assert torch.equal(model.fc_layers[name].weight, weight) == (name not in filled)


def test_initialise_copies_and_does_not_share(model: RegionNetwork) -> None:
    state = imagenet()
    pretrained.initialise(model, state)
    state["features.0.weight"].zero_()
    state["classifier.3.weight"].zero_()
    assert model.features[0].weight.abs().sum() > 0
    assert model.fc_layers["fc7"].weight.abs().sum() > 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"features__0__weight": None}, "features.0.weight is missing"),
        ({"features__0__bias": None}, "features.0.bias is missing"),
        ({"features__0__weight": torch.zeros(4, 3, 3, 3)}, "features.0.weight is of shape"),
        ({"features__0__bias": torch.zeros(CHANNELS, 1)}, "features.0.bias is of shape"),
    ],
)
def test_weights_of_another_model_name_the_tensor(
    model: RegionNetwork, changes: dict, words: str
) -> None:
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with pytest.raises(WeightsError) as error:
        pretrained.initialise(model, imagenet(**changes))
    assert words in error.value.message
    assert "tiny" in error.value.hint
    for key, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[key], rtol=0, atol=0)


@pytest.mark.parametrize(
    "change",
    [
        {"backbone": []},
        {"ranks": {"fc6": float("inf")}},
        {"pixel_mean": [10**400, 0, 0]},
        {"pixel_mean": [float("nan"), 0, 0]},
        {"pixel_std": [float("inf"), 1, 1]},
        {"scale": 60.5},
        {"classes": "abc"},
        {"classes": ["a", "a", "b"]},
        {"classes": [1, 2, 3]},
        {"provenance": []},
    ],
    ids=str,
)
def test_hostile_headers(tmp_path: Path, model: RegionNetwork, change: dict) -> None:
    path = store(tmp_path / "a.safetensors", model, header_with(**change))
    with pytest.raises(WeightsError):
        load_weights(path)


def test_reading_draws_no_random_numbers(saved: Path) -> None:
    before = torch.get_rng_state()
    load_weights(saved)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("value", [3e38, -3e38])
def test_a_sum_that_overflows_is_no_fault(
    tmp_path: Path, model: RegionNetwork, value: float
) -> None:
    with torch.no_grad():
        model.features[0].weight.fill_(value)
    path = tmp_path / "a.safetensors"
    save_weights(path, model, HEADER)
    assert (load_weights(path)[0].features[0].weight == value).all()
