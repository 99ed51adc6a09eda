from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from frcnn_cli.checkpoints import weights as checkpoint
from frcnn_cli.checkpoints.weights import (
    WeightsHeader,
    check_input_size,
    load_weights,
    save_weights,
)
from frcnn_cli.config import DetectConfig
from frcnn_cli.errors import WeightsError
from frcnn_cli.models import low_rank
from frcnn_cli.models.backbones import BACKBONES
from frcnn_cli.models.region_network import RegionNetwork
from frcnn_cli.models.score_calibration import ScoreCalibration
from frcnn_cli.structures import PixelStatistics
from small_network import CHANNELS, CLASSES, HIDDEN, add_small_backbone, outputs, small_network

HEADER = WeightsHeader(
    backbone="tiny",
    classes=CLASSES,
    pixels=PixelStatistics((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)),
    scale=60,
    max_size=100,
    provenance={"data": "synthetic", "history": [1, 2.5, None]},
)


@pytest.fixture(autouse=True)
def backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    add_small_backbone(monkeypatch)


@pytest.fixture
def network() -> RegionNetwork:
    return small_network()


@pytest.fixture
def saved(tmp_path: Path, network: RegionNetwork) -> Path:
    path = tmp_path / "weights" / "tiny.safetensors"
    save_weights(path, network, HEADER)
    return path


def store(
    path: Path, network: RegionNetwork, header: object, **tensors: torch.Tensor | None
) -> Path:
    state = {key: value.clone() for key, value in network.state_dict().items()}
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


def test_round_trip_keeps_every_tensor(saved: Path, network: RegionNetwork) -> None:
    loaded, header = load_weights(saved)
    assert header == HEADER
    assert not loaded.training
    assert loaded.state_dict().keys() == network.state_dict().keys()
    for key, tensor in network.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[key], tensor, rtol=0, atol=0)
    for left, right in zip(outputs(loaded), outputs(network), strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=0)


def test_feature_scale_is_kept(tmp_path: Path, network: RegionNetwork) -> None:
    network.feature_scale.fill_(0.125)
    save_weights(tmp_path / "a.safetensors", network, HEADER)
    loaded, _ = load_weights(tmp_path / "a.safetensors")
    assert loaded.feature_scale.item() == 0.125


def test_half_file_is_smaller_and_loads_as_float32(
    tmp_path: Path, saved: Path, network: RegionNetwork
) -> None:
    path = tmp_path / "half.safetensors"
    save_weights(path, network, HEADER, half=True)
    with safe_open(path, framework="pt") as file:
        assert {file.get_slice(key).get_dtype() for key in file.keys()} == {"F16"}  # noqa: SIM118
    assert path.stat().st_size < saved.stat().st_size
    loaded, header = load_weights(path)
    assert header == HEADER
    for key, tensor in loaded.state_dict().items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, network.state_dict()[key].half().float(), rtol=0, atol=0)


def test_saving_does_not_change_the_model(tmp_path: Path, network: RegionNetwork) -> None:
    before = outputs(network)
    save_weights(tmp_path / "a.safetensors", network, HEADER, half=True)
    assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32}
    for left, right in zip(outputs(network), before, strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=0)


@pytest.mark.parametrize("ranks", [{"fc6": 3}, {"fc7": 16}, {"fc6": 5, "fc7": 1}])
@pytest.mark.parametrize("half", [False, True])
def test_compressed_round_trip(
    tmp_path: Path, network: RegionNetwork, ranks: dict[str, int], half: bool
) -> None:
    for name, rank in ranks.items():
        layer = network.fc_layers[name]
        assert isinstance(layer, nn.Linear)
        network.fc_layers[name] = low_rank.truncate(layer, low_rank.singular_basis(layer), rank)
    path = tmp_path / "a.safetensors"
    save_weights(path, network, replace(HEADER, ranks=ranks), half)
    loaded, header = load_weights(path)
    assert header.ranks == ranks
    for name, rank in ranks.items():
        assert loaded.fc_layers[name][0].weight.shape[0] == rank
    tolerance = {"rtol": 2e-2, "atol": 2e-3} if half else {"rtol": 0, "atol": 0}
    for left, right in zip(outputs(loaded), outputs(network), strict=True):
        torch.testing.assert_close(left, right, **tolerance)


@pytest.mark.parametrize(
    "ranks", [{"fc6": 0}, {"fc6": -1}, {"fc6": 17}, {"fc7": 10**9}, {"fc9": 2}, {"": 2}]
)
def test_impossible_ranks(tmp_path: Path, network: RegionNetwork, ranks: dict) -> None:
    error = refused(store(tmp_path / "a.safetensors", network, header_with(ranks=ranks)))
    assert repr(next(iter(ranks))) in error.message


def test_ranks_that_the_tensors_do_not_have(tmp_path: Path, network: RegionNetwork) -> None:
    path = store(tmp_path / "a.safetensors", network, header_with(ranks={"fc6": 3}))
    assert "fc6" in refused(path).message


def with_prefilter(network: RegionNetwork, ranks: dict[str, int]) -> RegionNetwork:
    for name, rank in ranks.items():
        layer = network.fc_layers[name]
        assert isinstance(layer, nn.Linear)
        network.prefilter[name] = low_rank.truncate(layer, low_rank.singular_basis(layer), rank)
    return network


@pytest.mark.parametrize("half", [False, True])
def test_both_heads_round_trip(tmp_path: Path, network: RegionNetwork, half: bool) -> None:
    with_prefilter(network, {"fc6": 4})
    path = tmp_path / "a.safetensors"
    save_weights(path, network, replace(HEADER, prefilter={"fc6": 4}), half)
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["frcnn"])["format"] == "frcnn-3"
    loaded, header = load_weights(path)
    assert header.prefilter == {"fc6": 4}
    assert header.ranks == {}
    x = torch.rand(5, network.fc_layers["fc6"].in_features)
    tolerance = {"rtol": 2e-2, "atol": 2e-3} if half else {"rtol": 0, "atol": 0}
    torch.testing.assert_close(
        loaded.prefilter_head(x), network.eval().prefilter_head(x), **tolerance
    )
    assert not torch.equal(loaded.prefilter_head(x), loaded.box_head(x))


def test_a_prefilter_that_the_header_does_not_name_is_not_written(
    tmp_path: Path, network: RegionNetwork
) -> None:
    path = tmp_path / "a.safetensors"
    save_weights(path, with_prefilter(network, {"fc6": 4}), HEADER)
    loaded, header = load_weights(path)
    assert header.prefilter == {}
    assert not len(loaded.prefilter)


@pytest.mark.parametrize("ranks", [{"fc6": 0}, {"fc6": 17}, {"fc9": 2}, {"fc6": 3}])
def test_a_prefilter_that_the_tensors_do_not_have(
    tmp_path: Path, network: RegionNetwork, ranks: dict
) -> None:
    header = header_with(prefilter=ranks)
    refused(store(tmp_path / "a.safetensors", with_prefilter(network, {"fc6": 4}), header))


def old_header(**changes: object) -> dict:
    """A header as it was before detectors were named."""
    names = ("detector", "region_operator", "score_function", "prefilter")
    kept = {key: value for key, value in header_with().items() if key not in names}
    return {**kept, "format": "frcnn-1", **changes}


def test_files_of_the_first_format_load(tmp_path: Path, network: RegionNetwork) -> None:
    loaded, header = load_weights(store(tmp_path / "a.safetensors", network, old_header()))
    assert header == HEADER
    for left, right in zip(outputs(loaded), outputs(network), strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=0)


def test_files_of_the_second_format_load(tmp_path: Path, network: RegionNetwork) -> None:
    with_prefilter(network, {"fc6": 4})
    state = {key.replace("prefilter.", "screen."): v for key, v in network.state_dict().items()}
    path = tmp_path / "a.safetensors"
    header = old_header(format="frcnn-2", screen={"fc6": 4})
    save_file(state, path, {"frcnn": json.dumps(header)})
    loaded, header = load_weights(path)
    assert header == replace(HEADER, prefilter={"fc6": 4})
    x = torch.rand(5, network.fc_layers["fc6"].in_features)
    assert torch.equal(loaded.prefilter_head(x), network.prefilter_head(x))


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
    tmp_path: Path, network: RegionNetwork, changes: dict
) -> None:
    header = old_header(**changes)
    refused(store(tmp_path / "a.safetensors", network, header))


def test_file_without_header(tmp_path: Path, network: RegionNetwork) -> None:
    path = tmp_path / "a.safetensors"
    save_file(network.state_dict(), path)
    assert "no header" in refused(path).message
    save_file(network.state_dict(), path, {"format": "pt"})
    assert "no header" in refused(path).message


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_header_is_cut(tmp_path: Path, network: RegionNetwork, keep: float) -> None:
    text = json.dumps(header_with())
    path = store(tmp_path / "a.safetensors", network, text[: int(len(text) * keep)])
    assert "header that is damaged, or of a newer version" in refused(path).message


@pytest.mark.parametrize("field", list(checkpoint._to_json(HEADER)))
def test_header_lacks_a_field(tmp_path: Path, network: RegionNetwork, field: str) -> None:
    header = header_with()
    del header[field]
    path = store(tmp_path / "a.safetensors", network, header)
    if field in ("provenance", "prefilter"):
        assert getattr(load_weights(path)[1], field) == {}
    else:
        assert "header that is damaged, or of a newer version" in refused(path).message


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "frcnn-2"},
        {"format": None},
        {"extra": 1},
        {"classes": []},
        {"classes": None},
        {"classes": [str(number) for number in range(10_001)]},
        {"classes": [1, "a"]},
        {"classes": ["\ud800"]},
        {"classes": ["a\x1b[31m"]},
        {"classes": ["a\nerror: b"]},
        {"classes": ["a" * 1001]},
        {"pixel_mean": [1, 2]},
        {"pixel_mean": [1e300, 1, 1]},
        {"pixel_std": [1e-300, 1, 1]},
        {"scale": True},
        {"scale": 60.0},
        {"pixel_mean": "mean"},
        {"pixel_std": [1, 2, 3, 4]},
        {"pixel_std": [1, 0, 1]},
        {"pixel_std": [1, -1, 1]},
        {"pixel_std": [1, float("nan"), 1]},
        {"scale": 0},
        {"scale": 200, "max_size": 100},
        {"scale": "600"},
        {"max_size": 10**9},
        {"views": 60},
        {"views": ["60"]},
        {"views": [60, 101]},
        {"views": [0]},
        {"views": [60] * 21},
        {"calibration": None},
        {"calibration": [1.2, -1.8]},
        {"calibration": {"slope": 1.2}},
        {"calibration": {"slope": "1.2", "offset": 0}},
        {"calibration": {"slope": -1.2, "offset": 0}},
        {"calibration": {"slope": 1.2, "offset": float("inf")}},
        {"calibration": {"slope": 1.2, "offset": 0, "colour": 0}},
        {"ranks": [1]},
        {"ranks": {"fc6": "many"}},
        {"ranks": {"fc6": None}},
        {"class_agnostic": 1},
        {"warp": None},
        {"warp": [224, 16]},
        {"warp": {"side": 10**9}},
        {"warp": {"side": 401}},
        {"warp": {"side": "224", "context": 16}},
        {"warp": {"side": 224, "context": 112}},
        {"warp": {"side": 224, "colour": 0}},
    ],
    ids=str,
)
def test_header_says_something_else(tmp_path: Path, network: RegionNetwork, changes: dict) -> None:
    path = store(tmp_path / "a.safetensors", network, header_with(**changes))
    assert "header that is damaged, or of a newer version" in refused(path).message


def test_views_and_calibration_are_kept(tmp_path: Path, network: RegionNetwork) -> None:
    calibration = ScoreCalibration(slope=1.2, offset=-1.8)
    header = replace(HEADER, views=(60, 80), calibration=calibration)
    save_weights(tmp_path / "a.safetensors", network, header)
    assert load_weights(tmp_path / "a.safetensors")[1] == header


def test_names_of_classes_in_other_languages(tmp_path: Path, network: RegionNetwork) -> None:
    names = ["a" * 1000, "\u0928\u0940\u200d", "\U0001f469\u200d\U0001f4bb"]
    path = store(tmp_path / "a.safetensors", network, header_with(classes=names))
    assert load_weights(path)[1].classes == tuple(names)


def test_images_that_weights_make_very_large() -> None:
    large = replace(HEADER, scale=2049, max_size=2048 * 2)
    for header in (large, replace(large, scale=60, views=(60, 2049))):
        with pytest.raises(WeightsError, match="2049×4096 pixels") as error:
            check_input_size(header, DetectConfig())
        assert "--scales 2049 --max-size 4096" in error.value.hint
    with pytest.raises(WeightsError):
        check_input_size(replace(HEADER, max_size=10_000), DetectConfig(scales=(600,)))
    check_input_size(large, DetectConfig(scales=(2049,), max_size=4096))
    check_input_size(HEADER, DetectConfig(scales=(10_000,)))  # max_size is 100
    check_input_size(replace(HEADER, scale=1200, max_size=2000), DetectConfig())  # the paper's


@pytest.mark.slow
def test_a_hundred_thousand_tensors(tmp_path: Path, network: RegionNetwork) -> None:
    tensors = {f"t{number}": torch.zeros(1) for number in range(100_000)}
    assert (
        "does not fit"
        in refused(store(tmp_path / "a.safetensors", network, header_with(), **tensors)).message
    )


def test_a_pipe_is_no_weights_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.safetensors")
    for read in (load_weights, checkpoint.read_header):
        with pytest.raises(WeightsError, match="a pipe or a device"):
            read(tmp_path / "a.safetensors")


@pytest.mark.parametrize("text", ["null", "[]", "3", '"frcnn-1"', "{}", "{", "\0"])
def test_header_is_no_object(tmp_path: Path, network: RegionNetwork, text: str) -> None:
    assert (
        "header that is damaged, or of a newer version"
        in refused(store(tmp_path / "a.safetensors", network, text)).message
    )


@pytest.mark.parametrize("field", ["backbone", "region_operator", "score_function"])
def test_header_of_something_unknown(tmp_path: Path, network: RegionNetwork, field: str) -> None:
    path = store(tmp_path / "a.safetensors", network, header_with(**{field: "tinny"}))
    with pytest.raises(WeightsError, match="'tinny', unknown here") as error:
        load_weights(path)
    assert "known: " in error.value.hint


@pytest.mark.parametrize(
    ("tensors", "tensor"),
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
    tmp_path: Path, network: RegionNetwork, tensors: dict, tensor: str
) -> None:
    path = store(tmp_path / "a.safetensors", network, header_with(), **tensors)
    assert tensor in refused(path).message


def test_more_classes_than_tensors(tmp_path: Path, network: RegionNetwork) -> None:
    path = store(tmp_path / "a.safetensors", network, header_with(classes=["a", "b", "c", "d"]))
    assert "does not fit" in refused(path).message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("key", ["features.0.weight", "bbox_pred.bias", "feature_scale"])
def test_weights_that_are_not_finite(
    tmp_path: Path, network: RegionNetwork, key: str, value: float
) -> None:
    sound = store(tmp_path / "b.safetensors", network, header_with())
    before = sound.read_bytes()
    network.state_dict()[key].view(-1)[-1] = value
    path = store(tmp_path / "a.safetensors", network, header_with())
    assert "NaN or infinite" in refused(path).message
    with pytest.raises(WeightsError, match="NaN, infinite"):
        save_weights(sound, network, HEADER)
    assert sound.read_bytes() == before


def test_weights_too_large_for_half_precision(tmp_path: Path, network: RegionNetwork) -> None:
    network.state_dict()["bbox_pred.bias"][0] = 70_000
    save_weights(tmp_path / "a.safetensors", network, HEADER)
    with pytest.raises(WeightsError, match="too large for float16"):
        save_weights(tmp_path / "b.safetensors", network, HEADER, half=True)
    assert not (tmp_path / "b.safetensors").exists()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_floating_types_load(
    tmp_path: Path, network: RegionNetwork, dtype: torch.dtype
) -> None:
    weight = network.cls_score.weight.detach().to(dtype)
    path = store(tmp_path / "a.safetensors", network, header_with(), cls_score__weight=weight)
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
def test_hostile_headers(tmp_path: Path, network: RegionNetwork, change: dict) -> None:
    path = store(tmp_path / "a.safetensors", network, header_with(**change))
    with pytest.raises(WeightsError):
        load_weights(path)


def test_reading_draws_no_random_numbers(saved: Path) -> None:
    before = torch.get_rng_state()
    load_weights(saved)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_in_memory_before_is_not_drawn_again_for_ever(saved: Path, monkeypatch) -> None:
    """As ConvNeXt is built: trunc_normal_ of torch 2.14 draws until all is within bounds."""
    spec = BACKBONES["tiny"]

    def features() -> nn.Sequential:
        layers = spec.features()
        layers[0].weight.data.fill_(1e9)
        nn.init.trunc_normal_(layers[0].weight, std=0.02)
        return layers

    monkeypatch.setitem(BACKBONES, "tiny", replace(spec, features=features))
    monkeypatch.setattr(torch, "empty_like", lambda tensor: torch.full_like(tensor, 1e9))
    loading = threading.Thread(target=load_weights, args=(saved,), daemon=True)
    loading.start()
    loading.join(30)
    assert not loading.is_alive()


@pytest.mark.parametrize("value", [3e38, -3e38])
def test_a_sum_that_overflows_is_no_fault(
    tmp_path: Path, network: RegionNetwork, value: float
) -> None:
    with torch.no_grad():
        network.features[0].weight.fill_(value)
    path = tmp_path / "a.safetensors"
    save_weights(path, network, HEADER)
    assert (load_weights(path)[0].features[0].weight == value).all()


@pytest.mark.slow
def test_a_killed_save_leaves_the_old_file_or_the_new_one(tmp_path) -> None:
    """SIGKILL at different moments of writing over a good file."""
    target = tmp_path / "w.safetensors"
    script = (
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from frcnn_cli.checkpoints.weights import WeightsHeader, save_weights\n"
        "from frcnn_cli.models.detectors import build_network\n"
        "from frcnn_cli.structures import PixelStatistics\n"
        "pixels = PixelStatistics((0., 0., 0.), (1., 1., 1.))\n"
        "header = WeightsHeader(backbone='squeezenet1_1', classes=('a',), pixels=pixels,\n"
        "                       scale=100, max_size=200)\n"
        "network = build_network('squeezenet1_1', 1)\n"
        "print('ready', flush=True)\n"
        "while True: save_weights(Path(sys.argv[1]), network, header)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    for attempt in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(target)], stdout=subprocess.PIPE, env=environment
        )
        assert process.stdout is not None
        process.stdout.readline()
        while not target.exists():
            time.sleep(0.01)
        time.sleep(0.03 * attempt)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        load_weights(target)
