from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from frcnn_cli.checkpoints.weights import WeightsHeader, load_weights, save_weights
from frcnn_cli.compression.calibration import Calibration, calibrate
from frcnn_cli.compression.compressor import Compressor, Report
from frcnn_cli.compression.cost import HeadTimer, measure
from frcnn_cli.compression.distillation import STEPS
from frcnn_cli.config import CompressConfig
from frcnn_cli.data import images
from frcnn_cli.errors import DataError, WeightsError
from frcnn_cli.inference.detector import Detector
from frcnn_cli.models.backbones import CAFFE_PIXELS
from frcnn_cli.models.detectors import build_network
from frcnn_cli.models.flops import head_flops
from frcnn_cli.models.region_network import RegionNetwork
from frcnn_cli.runtime.paths import DEFAULT_WEIGHTS, find_weights
from tiny import NAME, add_tiny_backbone, tiny_detector

# fc6 is 32×144 and fc7 24×32: break-even ranks 26.2 and 13.7
HEADER = WeightsHeader(
    backbone=NAME, classes=("a", "b"), pixels=CAFFE_PIXELS, scale=100, max_size=200
)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RegionNetwork:
    add_tiny_backbone(monkeypatch, tmp_path)
    torch.manual_seed(2)
    return build_network(NAME, 2).eval()


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Detector:
    return tiny_detector(monkeypatch, tmp_path)


@pytest.fixture
def pictures(voc_folder: Path) -> list[Path]:
    return sorted((voc_folder / "JPEGImages").glob("*.jpg"))


def calibrated(detector: Detector, pictures: list[Path]) -> Calibration:
    return calibrate(detector, pictures, "pictures", 1, lambda: None)


def compress(
    model: RegionNetwork, config: CompressConfig, calibration: Calibration | None = None
) -> tuple[WeightsHeader, Report]:
    compressor = Compressor(model, HEADER, calibration)
    report = compressor.report(compressor.choose(config))
    return compressor.apply(report), report


@pytest.mark.parametrize(
    ("rank", "kept"), [(5, {"fc6": 5, "fc7": 5}), (20, {"fc6": 20}), (13, {"fc6": 13, "fc7": 13})]
)
def test_layers_shrink_where_that_saves_weights(model, rank, kept) -> None:
    header, report = compress(model, CompressConfig(rank=rank))
    assert header.ranks == kept
    assert report.method == "plain"
    assert report.divergence == {}
    assert [layer.name for layer in report.layers] == ["fc6", "fc7", "cls_score", "bbox_pred"]
    for layer in report.layers:
        outputs, inputs = layer.shape
        assert layer.before == inputs * outputs
        assert layer.output_error == {}
        if layer.name in kept:
            assert layer.after == rank * (inputs + outputs) < layer.before
        else:
            assert layer.rank is layer.weight_error is None
            assert layer.after == layer.before


def test_the_error_of_the_weights_is_the_tail_of_the_singular_values(model) -> None:
    values = torch.linalg.svdvals(model.fc_layers["fc6"].weight.double()).square()
    _, report = compress(model, CompressConfig(rank=7))
    expected = (values[7:].sum() / values.sum()).item()
    assert report.layers[0].weight_error == pytest.approx(expected, rel=1e-6)


def test_error_falls_with_the_rank(model) -> None:
    x = torch.rand(50, 144)
    exact = model.heads(x).class_logits
    errors = []
    for rank in (2, 8, 24):
        torch.manual_seed(2)
        other = build_network(NAME, 2).eval()
        compress(other, CompressConfig(rank=rank))
        errors.append((other.heads(x).class_logits - exact).norm().item())
    assert errors[0] > errors[1] > errors[2] > 0


def test_reloaded_from_disk_it_answers_the_same(model, tmp_path) -> None:
    header, _ = compress(model, CompressConfig(rank=8))
    save_weights(tmp_path / "w.safetensors", model, header)
    again, read = load_weights(tmp_path / "w.safetensors")
    assert read.ranks == header.ranks
    x = torch.rand(7, 144)
    assert torch.equal(model.heads(x).class_logits, again.heads(x).class_logits)
    assert torch.equal(model.heads(x).box_deltas, again.heads(x).box_deltas)


def test_compressed_weights_are_not_compressed_again(model) -> None:
    header, _ = compress(model, CompressConfig(rank=8))
    with pytest.raises(WeightsError, match="compressed already"):
        Compressor(model, header, None)


def test_damaged_weights_are_not_compressed(model) -> None:
    with torch.no_grad():
        model.fc_layers["fc7"].weight[0, 0] = float("nan")
    with pytest.raises(WeightsError, match="NaN or infinite"):
        Compressor(model, HEADER, None)


@torch.inference_mode()
def test_calibration_sees_what_the_layers_do(detector, pictures) -> None:
    found = calibrated(detector, pictures)
    assert found.images == len(pictures)
    # the second image judges, then every fifth
    rows = {True: [], False: []}
    for index, path in enumerate(pictures):
        content = path.read_bytes()
        prepared = detector.preprocess(content, images.decode(content, str(path)))
        pooled, _ = detector.region_features(prepared)
        assert len(pooled) <= 512  # so all of them are taken
        rows[index == 1 or index % 5 == 4].append(pooled)
    layer, second = detector.network.fc_layers["fc6"], detector.network.fc_layers["fc7"]
    y = (torch.cat(rows[False]) @ layer.weight.T).detach().double()
    assert found.moments["fc6"].count == len(y)
    torch.testing.assert_close(found.moments["fc6"].mean, y.mean(0), rtol=1e-4, atol=1e-5)
    z = (y.float() + layer.bias).relu() @ second.weight.T
    torch.testing.assert_close(
        found.moments["fc7"].mean, z.detach().double().mean(0), rtol=1e-4, atol=1e-5
    )
    for kept, judges in ((found.rois, False), (found.held_out, True)):
        assert len(kept) == sum(min(256, len(pooled)) for pooled in rows[judges])
        first = layer(rows[judges][0])
        chosen = torch.linspace(0, len(first) - 1, min(256, len(first))).long()
        expected = first[chosen].half()
        torch.testing.assert_close(kept[: len(expected)], expected, rtol=1e-2, atol=1e-3)


def test_unreadable_photographs_are_passed_over(detector, pictures, tmp_path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    found = calibrated(detector, [broken, *pictures[:3]])
    assert found.images == 3
    with pytest.raises(DataError, match="fewer than two images"):
        calibrated(detector, [broken, pictures[0]])


def test_the_method_is_the_one_with_the_nearer_answers(detector, pictures) -> None:
    calibration = calibrated(detector, pictures)
    header, report = compress(detector.network, CompressConfig(rank=6), calibration)
    assert report.divergence.keys() == {"plain", "aware"}
    assert report.divergence["aware"] < report.divergence["plain"]
    assert report.method == "aware"
    written = header.provenance["compression"]
    assert written["calibration"] == f"{len(pictures)} images of pictures"
    assert written["method"] == "activation-aware, distilled"
    assert written["divergence"] == report.divergence
    assert written["layers"]["fc6"]["output_error"] == report.layers[0].output_error


def test_the_truncated_svd_is_taken_where_it_is_nearer(detector, pictures, monkeypatch) -> None:
    compressor = Compressor(detector.network, detector.header, calibrated(detector, pictures))
    ranks = {"fc6": 6, "fc7": 4}
    aware = compressor.head("aware", ranks)
    monkeypatch.setattr(compressor, "_divergence", lambda head: 0.2 if head is aware else 0.1)
    report = compressor.report(ranks)
    assert report.method == "plain"
    plain = compressor.head("plain", ranks)
    header = compressor.apply(report)
    assert header.provenance["compression"]["method"] == "truncated SVD"
    second = detector.network.fc_layers["fc7"]
    assert torch.equal(second[0].weight, plain.fc_layers["fc7"][0].weight)


def test_pictures_of_nothing_calibrate_nothing(detector, tmp_path) -> None:
    for index in range(4):
        Image.new("RGB", (120, 90), (90, 90, 90)).save(tmp_path / f"{index}.png")
    with pytest.raises(DataError, match="nothing to see on the images"):
        calibrated(detector, sorted(tmp_path.glob("*.png")))


def test_outputs_that_half_precision_cannot_hold(detector, pictures) -> None:
    with torch.no_grad():
        detector.network.fc_layers["fc6"].weight.mul_(1e6)
    with pytest.raises(WeightsError, match="too large for float16"):
        calibrated(detector, pictures)


def test_a_layer_of_zeros(model) -> None:
    with torch.no_grad():
        model.fc_layers["fc7"].weight.zero_()
    _, report = compress(model, CompressConfig(rank=5))
    assert report.layers[1].weight_error == 0


def test_a_small_head_that_stood_beside_is_gone(model) -> None:
    compressor = Compressor(model, HEADER, None)
    header = compressor.apply(compressor.report({"fc6": 4, "fc7": 3}), keep_full=True)
    compressor = Compressor(model, header, None)
    header = compressor.apply(compressor.report({"fc6": 5, "fc7": None}))
    assert (header.ranks, header.prefilter, len(model.prefilter)) == ({"fc6": 5}, {}, 0)


@pytest.mark.parametrize("ranks", [{"fc6": 6, "fc7": 4}, {"fc6": None, "fc7": 4}, {"fc6": 6}])
def test_a_head_answers_as_the_network_that_comes_of_it(detector, pictures, ranks) -> None:
    compressor = Compressor(detector.network, detector.header, calibrated(detector, pictures))
    ranks = {"fc6": None, "fc7": None, **ranks}
    pooled = torch.rand(50, 144)
    first = detector.network.fc_layers["fc6"](pooled)
    expected = compressor.head("aware", ranks).heads(first)
    whole = {name: layer for name, layer in compressor.layers.items() if ranks[name] is None}
    before = {name: layer.weight.clone() for name, layer in compressor.layers.items()}
    compressor.apply(compressor.report(ranks, "aware"))
    found = detector.network.heads(pooled)
    torch.testing.assert_close(found.class_logits, expected.class_logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.box_deltas, expected.box_deltas, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(layer.weight, before[n]) for n, layer in compressor.layers.items())
    assert all(detector.network.fc_layers[name] is layer for name, layer in whole.items())


def test_distilling_brings_the_answers_nearer_and_is_done_once(detector, pictures) -> None:
    calibration = calibrated(detector, pictures)
    compressor = Compressor(detector.network, detector.header, calibration)
    ranks, steps = {"fc6": 4, "fc7": 3}, []
    head = compressor.head("aware", ranks, lambda: steps.append(1))
    assert len(steps) == STEPS
    assert compressor.head("aware", dict(ranks), lambda: steps.append(1)) is head
    assert len(steps) == STEPS
    start = compressor._truncated(compressor.bases["aware"], ranks)
    assert compressor._divergence(head) < compressor._divergence(start)
    again = Compressor(detector.network, detector.header, calibration).head("aware", ranks)
    for one, other in zip(head.fc_layers.parameters(), again.fc_layers.parameters(), strict=True):
        assert torch.equal(one, other)


def test_what_is_learnt_by_heart_is_not_taken(detector, pictures) -> None:
    """RoIs whose answers say nothing of those held out: the truncation stays as it was."""
    calibration = calibrated(detector, pictures)
    few = replace(calibration, rois=torch.full_like(calibration.rois[:1], 30))
    compressor = Compressor(detector.network, detector.header, few)
    ranks = {"fc6": 12, "fc7": 9}
    start = compressor._truncated(compressor.bases["aware"], ranks)
    head = compressor.head("aware", ranks)
    for one, other in zip(head.fc_layers.parameters(), start.fc_layers.parameters(), strict=True):
        assert torch.equal(one, other)


def test_what_is_reported_is_what_the_compressed_layers_do(detector, pictures) -> None:
    only = calibrate(detector, pictures[:2], "two", 1, lambda: None)
    content = pictures[1].read_bytes()  # the one that was held out
    pooled, _ = detector.region_features(detector.preprocess(content, images.decode(content, "")))
    pooled = pooled[torch.linspace(0, len(pooled) - 1, min(len(pooled), 256)).long()]
    whole = dict(detector.network.fc_layers.items())
    _, report = compress(detector.network, CompressConfig(rank=6), only)
    with torch.inference_mode():
        x = pooled
        for layer in report.layers[:2]:
            exact, close = whole[layer.name](x), detector.network.fc_layers[layer.name](x)
            measured = (exact - close).square().sum() / (exact - exact.mean(0)).square().sum()
            assert layer.output_error[report.method] == pytest.approx(measured.item(), rel=1e-2)
            x = exact.relu()


def test_flops_count_a_multiply_add_twice(model) -> None:
    whole = 2 * (32 * 144 + 24 * 32 + 3 * 24 + 12 * 24)
    assert head_flops(model) == whole
    compress(model, CompressConfig(rank=5))
    assert head_flops(model) == 2 * (5 * 176 + 5 * 56 + 3 * 24 + 12 * 24)


def test_timer_takes_whole_and_small_layers(model) -> None:
    timer = HeadTimer(model, torch.device("cpu"))
    assert timer({"fc6": None, "fc7": 5}) > 0


def test_measured_in_a_process_of_its_own() -> None:
    weights = find_weights(DEFAULT_WEIGHTS)
    cost = measure(weights, "cpu")
    assert cost.bytes == weights.stat().st_size
    model, _ = load_weights(weights)
    assert cost.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert cost.milliseconds > 1
    assert 100e6 < cost.peak_bytes < 8e9


@pytest.mark.slow
def test_a_killed_compression_leaves_the_old_file_or_the_new_one(tmp_path) -> None:
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
        "model = build_network('squeezenet1_1', 1)\n"
        "print('ready', flush=True)\n"
        "while True: save_weights(Path(sys.argv[1]), model, header)\n"
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
