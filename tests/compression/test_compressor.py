from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from frcnn_cli.checkpoints.weights import WeightsHeader, load_weights, save_weights
from frcnn_cli.compression.calibration import Calibration, calibrate
from frcnn_cli.compression.compressor import Compressor, check_compressible
from frcnn_cli.compression.distillation import STEPS
from frcnn_cli.compression.report import CompressionReport
from frcnn_cli.config import CompressConfig
from frcnn_cli.data import images
from frcnn_cli.errors import ConfigError, WeightsError
from frcnn_cli.models.backbones import CAFFE_PIXELS
from frcnn_cli.models.detectors import build_network
from frcnn_cli.models.region_network import RegionNetwork
from frcnn_cli.models.score_calibration import ScoreCalibration
from tiny import NAME

HEADER = WeightsHeader(
    backbone=NAME,
    classes=("a", "b"),
    pixels=CAFFE_PIXELS,
    scale=100,
    max_size=200,
    calibration=ScoreCalibration(slope=1.2, offset=-1.8),
)


def compress(
    network: RegionNetwork, config: CompressConfig, calibration: Calibration | None = None
) -> tuple[WeightsHeader, CompressionReport]:
    compressor = Compressor(network, HEADER, calibration)
    report = compressor.report(compressor.choose_ranks(config))
    return compressor.apply(report), report


@pytest.mark.parametrize(
    ("rank", "kept"), [(5, {"fc6": 5, "fc7": 5}), (20, {"fc6": 20}), (13, {"fc6": 13, "fc7": 13})]
)
def test_layers_shrink_where_that_saves_weights(network, rank, kept) -> None:
    header, report = compress(network, CompressConfig(rank=rank))
    assert header.ranks == kept
    assert header.calibration == HEADER.calibration
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


def test_the_error_of_the_weights_is_the_tail_of_the_singular_values(network) -> None:
    values = torch.linalg.svdvals(network.fc_layers["fc6"].weight.double()).square()
    _, report = compress(network, CompressConfig(rank=7))
    expected = (values[7:].sum() / values.sum()).item()
    assert report.layers[0].weight_error == pytest.approx(expected, rel=1e-6)


def test_error_falls_with_the_rank(network) -> None:
    x = torch.rand(50, 144)
    exact = network.heads(x).class_logits
    errors = []
    for rank in (2, 8, 24):
        torch.manual_seed(2)
        other = build_network(NAME, 2).eval()
        compress(other, CompressConfig(rank=rank))
        errors.append((other.heads(x).class_logits - exact).norm().item())
    assert errors[0] > errors[1] > errors[2] > 0


def test_reloaded_from_disk_it_gives_the_same_outputs(network, tmp_path) -> None:
    header, _ = compress(network, CompressConfig(rank=8))
    save_weights(tmp_path / "w.safetensors", network, header)
    again, read = load_weights(tmp_path / "w.safetensors")
    assert read.ranks == header.ranks
    x = torch.rand(7, 144)
    assert torch.equal(network.heads(x).class_logits, again.heads(x).class_logits)
    assert torch.equal(network.heads(x).box_deltas, again.heads(x).box_deltas)


def test_compressed_weights_are_not_compressed_again(network) -> None:
    header, _ = compress(network, CompressConfig(rank=8))
    with pytest.raises(WeightsError, match="compressed already"):
        Compressor(network, header, None)


def test_damaged_weights_are_not_compressed(network) -> None:
    with torch.no_grad():
        network.fc_layers["fc7"].weight[0, 0] = float("nan")
    with pytest.raises(WeightsError, match="NaN or infinite"):
        Compressor(network, HEADER, None)


def test_the_method_is_the_one_with_the_lower_divergence(
    detector, photographs, calibration
) -> None:
    header, report = compress(detector.network, CompressConfig(rank=6), calibration)
    assert report.divergence.keys() == {"plain", "aware"}
    assert report.divergence["aware"] < report.divergence["plain"]
    assert report.method == "aware"
    written = header.provenance["compression"]
    assert written["calibration"] == f"{len(photographs)} images of photographs"
    assert written["method"] == "activation-aware, distilled"
    assert written["divergence"] == report.divergence
    assert written["layers"]["fc6"]["output_error"] == report.layers[0].output_error


def test_the_truncated_svd_is_used_where_its_divergence_is_lower(
    detector, monkeypatch, calibration
) -> None:
    compressor = Compressor(detector.network, detector.header, calibration)
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


def test_a_layer_of_zeros(network) -> None:
    with torch.no_grad():
        network.fc_layers["fc7"].weight.zero_()
    _, report = compress(network, CompressConfig(rank=5))
    assert report.layers[1].weight_error == 0


def test_an_earlier_prefilter_is_removed(network) -> None:
    compressor = Compressor(network, HEADER, None)
    header = compressor.apply(compressor.report({"fc6": 4, "fc7": 3}), keep_full=True)
    compressor = Compressor(network, header, None)
    header = compressor.apply(compressor.report({"fc6": 5, "fc7": None}))
    assert (header.ranks, header.prefilter, len(network.prefilter)) == ({"fc6": 5}, {}, 0)


@pytest.mark.parametrize("ranks", [{"fc6": 6, "fc7": 4}, {"fc6": None, "fc7": 4}, {"fc6": 6}])
def test_a_head_gives_the_outputs_of_the_network_that_is_made_of_it(
    detector, ranks, calibration
) -> None:
    compressor = Compressor(detector.network, detector.header, calibration)
    ranks = {"fc6": None, "fc7": None, **ranks}
    features = torch.rand(50, 144)
    first = detector.network.fc_layers["fc6"](features)
    expected = compressor.head("aware", ranks).heads(first)
    full = {name: layer for name, layer in compressor.layers.items() if ranks[name] is None}
    before = {name: layer.weight.clone() for name, layer in compressor.layers.items()}
    compressor.apply(compressor.report(ranks, "aware"))
    output = detector.network.heads(features)
    torch.testing.assert_close(output.class_logits, expected.class_logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.box_deltas, expected.box_deltas, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(layer.weight, before[n]) for n, layer in compressor.layers.items())
    assert all(detector.network.fc_layers[name] is layer for name, layer in full.items())


def test_distilling_lowers_the_divergence_and_is_done_once(detector, calibration) -> None:
    compressor = Compressor(detector.network, detector.header, calibration)
    ranks, steps = {"fc6": 4, "fc7": 3}, []
    head = compressor.head("aware", ranks, lambda: steps.append(1))
    assert len(steps) == STEPS
    assert compressor.head("aware", dict(ranks), lambda: steps.append(1)) is head
    assert len(steps) == STEPS
    start = compressor._truncated_head(compressor.bases["aware"], ranks)
    assert compressor._divergence(head) < compressor._divergence(start)
    again = Compressor(detector.network, detector.header, calibration).head("aware", ranks)
    for one, other in zip(head.fc_layers.parameters(), again.fc_layers.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_distilled_head_that_overfits_is_not_used(detector, calibration) -> None:
    """Distilled on RoIs that are unlike those held out: the truncated head stays."""
    few = replace(calibration, rois=torch.full_like(calibration.rois[:1], 30))
    compressor = Compressor(detector.network, detector.header, few)
    ranks = {"fc6": 12, "fc7": 9}
    start = compressor._truncated_head(compressor.bases["aware"], ranks)
    head = compressor.head("aware", ranks)
    for one, other in zip(head.fc_layers.parameters(), start.fc_layers.parameters(), strict=True):
        assert torch.equal(one, other)


def test_output_errors_are_those_of_the_compressed_layers(detector, photographs) -> None:
    only = calibrate(detector, photographs[:2], source="two", workers=1, on_image=lambda: None)
    content = photographs[1].read_bytes()  # the one that was held out
    features, _ = detector.region_features(detector.preprocess(content, images.decode(content, "")))
    features = features[torch.linspace(0, len(features) - 1, min(len(features), 256)).long()]
    full = dict(detector.network.fc_layers.items())
    _, report = compress(detector.network, CompressConfig(rank=6), only)
    with torch.inference_mode():
        x = features
        for layer in report.layers[:2]:
            exact, close = full[layer.name](x), detector.network.fc_layers[layer.name](x)
            measured = (exact - close).square().sum() / (exact - exact.mean(0)).square().sum()
            assert layer.output_error[report.method] == pytest.approx(measured.item(), rel=1e-2)
            x = exact.relu()


def test_flops_count_a_multiply_add_twice(network) -> None:
    full = 2 * (32 * 144 + 24 * 32 + 3 * 24 + 12 * 24)
    assert network.head_flops() == full
    compress(network, CompressConfig(rank=5))
    assert network.head_flops() == 2 * (5 * 176 + 5 * 56 + 3 * 24 + 12 * 24)


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        (CompressConfig(rank=0), ConfigError, "rank 0 is out of range"),
        (CompressConfig(rank=30), WeightsError, "no layer would become smaller"),
        (CompressConfig(ranks={"fc8": 4}), ConfigError, "unknown layer 'fc8'"),
    ],
)
def test_errors_that_are_found_before_calibration(network, config, error, message) -> None:
    with pytest.raises(error, match=message):
        check_compressible(network, HEADER, config)
    check_compressible(network, HEADER, CompressConfig(params=0.2))  # not known yet
