from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from frcnn_cli.checkpoints.onnx import (
    INPUTS,
    OUTPUTS,
    Exported,
    compare,
    export_onnx,
)
from frcnn_cli.checkpoints.weights import WeightsHeader, load_weights, save_weights
from frcnn_cli.errors import ConfigError, FrcnnError
from frcnn_cli.models.backbones import BACKBONES
from frcnn_cli.models.detectors import build_network
from frcnn_cli.models.region_operators import RoIMaxPool
from frcnn_cli.models.score_calibration import ScoreCalibration
from frcnn_cli.ops.roi_pool import roi_pool
from frcnn_cli.structures import PixelStatistics
from tiny import CLASSES, NAME, add_tiny_backbone

HEADER = WeightsHeader(
    backbone=NAME,
    classes=CLASSES,
    pixels=PixelStatistics((120.0, 110.0, 100.0), (50.0, 55.0, 60.0)),
    scale=96,
    max_size=160,
)


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    add_tiny_backbone(monkeypatch, tmp_path)
    torch.manual_seed(1)
    model = build_network(NAME, 3)
    torch.nn.init.normal_(model.cls_score.weight, std=0.5)
    torch.nn.init.normal_(model.bbox_pred.weight, std=0.1)
    model.feature_scale.fill_(0.5)
    path = tmp_path / "w.safetensors"
    save_weights(path, model, HEADER)
    return path


def assert_exported_alike(path: Path, target: Path) -> None:
    """Export weights; the outputs are the same at other image sizes and numbers of RoIs than those
    that the export traced."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from frcnn_cli.checkpoints import onnx

    export_onnx(path, target)
    network = Exported(*load_weights(path)).eval()
    for height, width, count in ((64, 90, 0), (33, 40, 1), (160, 231, 300)):
        difference = compare(target, network, *onnx._example(height, width, count))
        assert difference is not None
        assert difference <= 1e-4


def test_levels_are_enough_for_the_largest_image(weights) -> None:
    network = Exported(*load_weights(weights))
    features = torch.randn((1, 4, 10, 10), generator=torch.Generator().manual_seed(0))  # 160 / 16
    rois = torch.tensor([[0.0, 0.0, 160.0, 160.0], [0.0, 0.0, 16.0, 160.0]])
    numbered = torch.cat([torch.zeros((2, 1)), rois], dim=1)
    expected = roi_pool(features, numbered, (3, 3), 1 / 16).permute(0, 2, 3, 1)
    torch.testing.assert_close(network.pool(features, rois), expected.flatten(1), rtol=0, atol=0)


@pytest.mark.slow  # the shipped files below say it of larger networks
def test_onnxruntime_gives_the_same(weights, tmp_path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    target = tmp_path / "a.onnx"
    calibration = ScoreCalibration(slope=1.2, offset=-1.8)
    save_weights(weights, load_weights(weights)[0], replace(HEADER, calibration=calibration))
    assert export_onnx(weights, target) < 1e-4
    session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
    assert tuple(each.name for each in session.get_inputs()) == INPUTS
    assert tuple(each.name for each in session.get_outputs()) == OUTPUTS
    model, header = load_weights(weights)
    rng = np.random.default_rng(0)
    for height, width, count in ((96, 128, 40), (70, 160, 1), (33, 33, 7), (96, 96, 0)):
        image = rng.uniform(0, 255, (1, 3, height, width)).astype(np.float32)
        corners = np.sort(rng.uniform(0, 1, (count, 2, 2)), axis=1) * (width, height)
        rois = corners.reshape(-1, 4).astype(np.float32)
        probabilities, boxes = session.run(None, {"image": image, "rois": rois})
        mean = np.array(header.pixels.mean, np.float32).reshape(3, 1, 1)
        std = np.array(header.pixels.std, np.float32).reshape(3, 1, 1)
        numbered = torch.from_numpy(np.insert(rois, 0, 0, axis=1))
        with torch.inference_mode():
            output = model(torch.from_numpy((image - mean) / std), numbered)
        expected = output.class_logits.softmax(dim=1)
        expected[:, 1:] = calibration.calibrated(expected[:, 1:])
        assert boxes.shape == (count, 4, 4)
        np.testing.assert_allclose(probabilities, expected, atol=1e-4)
        network = Exported(model, header)
        with torch.inference_mode():
            ours = network(torch.from_numpy(image), torch.from_numpy(rois))[1]
        np.testing.assert_allclose(boxes, ours, atol=1e-2)


def test_boxes_are_those_of_the_box_coder(weights) -> None:
    from frcnn_cli.ops import box_coder
    from frcnn_cli.ops import boxes as box_ops

    model, header = load_weights(weights)
    image = torch.rand((1, 3, 96, 128), generator=torch.Generator().manual_seed(0)) * 255
    rois = torch.tensor([[0.0, 0.0, 60.0, 50.0], [100.0, 40.0, 128.0, 96.0]])
    network = Exported(model, header)
    with torch.inference_mode():
        _, boxes = network(image, rois)
        pixels = (image - network.mean) / network.std
        output = model(pixels, torch.cat([torch.zeros(2, 1), rois], dim=1))
    for label in range(4):
        decoded = box_coder.decode(rois.numpy(), output.box_deltas[:, label].numpy())
        expected = box_ops.clip(decoded, (96, 128))
        np.testing.assert_allclose(boxes[:, label], expected, rtol=1e-5, atol=1e-3)


def test_scores_of_classes_are_calibrated(weights) -> None:
    model, header = load_weights(weights)
    image = torch.rand((1, 3, 96, 128), generator=torch.Generator().manual_seed(0)) * 255
    rois = torch.tensor([[0.0, 0.0, 60.0, 50.0], [100.0, 40.0, 128.0, 96.0]])
    calibration = ScoreCalibration(slope=1.2, offset=-1.8)
    with torch.inference_mode():
        plain, boxes = Exported(model, header)(image, rois)
        scores, same = Exported(model, replace(header, calibration=calibration))(image, rois)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores[:, 0], plain[:, 0], rtol=0, atol=0)
    torch.testing.assert_close(scores[:, 1:], calibration.calibrated(plain[:, 1:]))
    torch.testing.assert_close(same, boxes)


@pytest.mark.parametrize(
    "name",
    [
        "squeezenet1_1-voc07",
        pytest.param("efficientnet_lite0-voc07", marks=pytest.mark.slow),
        pytest.param("vgg16-voc07", marks=pytest.mark.slow),
    ],
)
def test_the_shipped_files(name: str, tmp_path: Path) -> None:
    path = Path(__file__).parents[2] / "weights" / f"{name}.safetensors"
    assert_exported_alike(path, tmp_path / "a.onnx")


@pytest.mark.slow  # two exports of some ten seconds
def test_a_file_that_differs_is_not_kept(weights, tmp_path, monkeypatch) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from frcnn_cli.checkpoints import onnx

    target = tmp_path / "a.onnx"
    export_onnx(weights, target)
    model, header = load_weights(weights)
    model.cls_score.bias.data[1] += 1
    with pytest.raises(FrcnnError, match="onnxruntime differs"):
        compare(target, Exported(model, header), *onnx._example(96, 128, 5))
    monkeypatch.setattr(onnx, "TOLERANCE", -1.0)
    with pytest.raises(FrcnnError, match="onnxruntime differs"):
        export_onnx(weights, tmp_path / "b.onnx")
    assert {path.suffix for path in tmp_path.iterdir()} == {".pth", ".safetensors", ".onnx"}
    assert not (tmp_path / "b.onnx").exists()


def test_the_file_is_compared_with_the_operator_of_detection(weights, monkeypatch) -> None:
    """An operator whose form for ONNX differs from its own must not pass."""
    monkeypatch.setattr(
        RoIMaxPool, "for_export", lambda self, max_side: lambda maps, boxes: boxes.new_zeros(3, 144)
    )
    exported = Exported(*load_weights(weights)).eval()
    reference = Exported(*load_weights(weights), for_export=False).eval()
    image = torch.rand((1, 3, 96, 128), generator=torch.Generator().manual_seed(0)) * 255
    rois = torch.tensor([[0.0, 0, 60, 50], [100, 40, 128, 96], [5, 5, 9, 90]])
    with torch.inference_mode():
        assert (exported(image, rois)[0] - reference(image, rois)[0]).abs().max() > 1e-3


@pytest.mark.slow  # an export of some seconds
def test_an_operator_that_onnx_lacks_is_one_line(weights, tmp_path, monkeypatch) -> None:
    pytest.importorskip("onnxscript")

    def for_export(self, max_side):
        return lambda maps, boxes: maps.sum() * torch.linalg.eigvalsh(boxes.T @ boxes).sum()

    monkeypatch.setattr(RoIMaxPool, "for_export", for_export)
    with pytest.raises(FrcnnError, match="roi_max_pool on tiny cannot be exported") as error:
        export_onnx(weights, tmp_path / "a.onnx")
    assert "\n" not in error.value.message
    assert not (tmp_path / "a.onnx").exists()


@pytest.mark.parametrize("name", ["onnx", "onnxscript"])
def test_without_the_exporter(weights, tmp_path, monkeypatch, name) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=f"{name} is not installed"):
        export_onnx(weights, tmp_path / "a.onnx")


@pytest.mark.slow  # an export of some seconds each
@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random convolutions under a small random head."""
    spec = BACKBONES[name]
    small = dict.fromkeys(spec.fc_layers, 16)
    monkeypatch.setitem(BACKBONES, name, replace(spec, fc_layers=small))
    torch.manual_seed(1)
    network = build_network(name, 3)
    torch.nn.init.normal_(network.cls_score.weight, std=0.1)
    torch.nn.init.normal_(network.bbox_pred.weight, std=0.01)
    path = tmp_path / "w.safetensors"
    header = replace(HEADER, backbone=name, pixels=spec.pixels, scale=160, max_size=256)
    save_weights(path, network, header)
    assert_exported_alike(path, tmp_path / "a.onnx")
