from __future__ import annotations

from pathlib import Path

import pytest
import torch

from frcnn_cli.config import CompressConfig
from frcnn_cli.engine.checkpoint import WeightsHeader, load_weights, save_weights
from frcnn_cli.engine.compress import compress
from frcnn_cli.errors import WeightsError
from frcnn_cli.models.backbones import CAFFE_MEAN, CAFFE_STD
from frcnn_cli.models.fast_rcnn import FastRCNN, build
from tiny import NAME, add_tiny_backbone

# fc6 is 32×144 and fc7 24×32: break-even ranks 26.2 and 13.7
HEADER = WeightsHeader(NAME, ("a", "b"), CAFFE_MEAN, CAFFE_STD, 100, 200)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FastRCNN:
    add_tiny_backbone(monkeypatch, tmp_path)
    torch.manual_seed(2)
    return build(NAME, 2).eval()


@pytest.mark.parametrize(
    ("rank", "kept"), [(5, {"fc6": 5, "fc7": 5}), (20, {"fc6": 20}), (13, {"fc6": 13, "fc7": 13})]
)
def test_layers_shrink_where_that_saves_weights(model, rank, kept) -> None:
    header, reports = compress(model, HEADER, CompressConfig(rank))
    assert header.ranks == kept
    for report in reports:
        outputs, inputs = report.shape
        assert report.before == inputs * outputs
        if report.name in kept:
            assert report.after == rank * (inputs + outputs) < report.before
        else:
            assert report.rank is None
            assert report.after == report.before


def test_error_falls_with_the_rank(model, tmp_path) -> None:
    x = torch.rand(50, 144)
    exact = model.heads(x).class_logits
    errors = []
    for rank in (2, 8, 24):
        torch.manual_seed(2)
        other = build(NAME, 2).eval()
        compress(other, HEADER, CompressConfig(rank))
        errors.append((other.heads(x).class_logits - exact).norm().item())
    assert errors[0] > errors[1] > errors[2] > 0


def test_reloaded_from_disk_it_answers_the_same(model, tmp_path) -> None:
    header, _ = compress(model, HEADER, CompressConfig(8))
    save_weights(tmp_path / "w.safetensors", model, header)
    again, read = load_weights(tmp_path / "w.safetensors")
    assert read == header
    x = torch.rand(7, 144)
    assert torch.equal(model.heads(x).class_logits, again.heads(x).class_logits)
    assert torch.equal(model.heads(x).box_deltas, again.heads(x).box_deltas)


def test_nothing_to_shrink_is_an_error(model) -> None:
    with pytest.raises(WeightsError, match="rank 27 makes no layer smaller"):
        compress(model, HEADER, CompressConfig(27))


def test_compressed_weights_are_not_compressed_again(model) -> None:
    header, _ = compress(model, HEADER, CompressConfig(8))
    with pytest.raises(WeightsError, match="compressed already"):
        compress(model, header, CompressConfig(4))
