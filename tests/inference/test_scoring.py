from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from frcnn_cli.compression.compressor import Compressor
from frcnn_cli.config import CompressConfig
from frcnn_cli.data.images import decode
from frcnn_cli.errors import ConfigError, FrcnnError
from frcnn_cli.inference import scoring
from frcnn_cli.inference.detector import Detector
from frcnn_cli.inference.result import Failure, Result
from frcnn_cli.models.region_network import RegionNetwork
from frcnn_cli.runtime import device
from tiny import tiny_detector

THRESHOLD = 0.3
WANTED = torch.tensor([False, True, False, True])


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Detector:
    return tiny_detector(monkeypatch, tmp_path)


@pytest.fixture
def model(detector: Detector) -> RegionNetwork:
    return detector.network


@pytest.fixture
def pictures(voc_folder: Path) -> list[Path]:
    return sorted((voc_folder / "JPEGImages").glob("*.jpg"))


def noise(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of two images, and RoIs in them."""
    generator = torch.Generator().manual_seed(3)
    features = torch.rand(2, 16, 12, 15, generator=generator) * 3
    corners = torch.rand(count, 2, 2, generator=generator).sort(dim=1).values
    boxes = (corners * torch.tensor([240.0, 190.0])).reshape(count, 4)
    return features, torch.cat([(torch.arange(count) % 2)[:, None].float(), boxes], dim=1)


def add_prefilter(detector: Detector, rank: int) -> Detector:
    """Both heads in one network."""
    compressor = Compressor(detector.network, detector.header, None)
    reports = compressor.report(compressor.choose_ranks(CompressConfig(rank=rank)))
    header = compressor.apply(reports, keep_full=True)
    return Detector(detector.network, header, detector.proposals, detector.config, "cpu")


@pytest.mark.parametrize("count", [0, 1, 4, 5, 40])
@pytest.mark.parametrize("chunk", [1, 4, 100])
@torch.inference_mode()
def test_only_possible_detections_are_scored(model, monkeypatch, count, chunk) -> None:
    monkeypatch.setattr(scoring, "_FULL_RANK_CHUNK", chunk)
    features, rois = noise(count)
    found = scoring.score_rois(model, features, rois, WANTED, THRESHOLD, False)
    output = model.heads(model.region_features(features, rois))
    scores = output.class_logits.softmax(dim=1)
    kept = [row for row in range(count) if scores[row, WANTED].max() > THRESHOLD]
    assert found.index.tolist() == kept
    if count == 40:
        assert 0 < len(kept) < count
    torch.testing.assert_close(found.output.class_logits, output.class_logits[kept])
    torch.testing.assert_close(found.output.box_deltas, output.box_deltas[kept])


@torch.inference_mode()
def test_the_full_head_scores_the_rois_that_the_prefilter_keeps(detector) -> None:
    both = add_prefilter(detector, 3)
    features, rois = noise(60)
    found = scoring.score_rois(both.network, features, rois, WANTED, THRESHOLD, True)
    pooled = both.network.region_features(features, rois)
    low = scoring.PREFILTER_FACTOR * THRESHOLD
    rough = both.network.cls_score(both.network.prefilter_head(pooled)).softmax(dim=1)
    exact = both.network.cls_score(both.network.box_head(pooled)).softmax(dim=1)
    kept = [
        row
        for row in range(60)
        if rough[row, WANTED].max() > low and exact[row, WANTED].max() > THRESHOLD
    ]
    assert found.index.tolist() == kept
    torch.testing.assert_close(found.output.class_logits.softmax(dim=1), exact[kept])


@torch.inference_mode()
def test_a_prefilter_that_keeps_nothing(detector) -> None:
    both = add_prefilter(detector, 3)
    torch.nn.init.zeros_(both.network.prefilter["fc7"][1].weight)
    torch.nn.init.zeros_(both.network.prefilter["fc7"][1].bias)  # equal scores of 1/4 without it
    both.network.cls_score.bias.copy_(torch.tensor([9.0, 0, 0, 0]))
    found = scoring.score_rois(both.network, *noise(20), WANTED, THRESHOLD, True)
    assert len(found.index) == len(found.output.class_logits) == len(found.output.box_deltas) == 0


def test_the_cascade_can_be_left_out(detector, pictures) -> None:
    exact = detector(pictures[0]).detections
    both = add_prefilter(detector, 3)
    assert both.cascade
    config = replace(both.config, cascade=False)
    without = Detector(both.network, both.header, both.proposals, config, "cpu")
    assert not without.cascade
    found = without(pictures[0]).detections
    np.testing.assert_array_equal(found.boxes, exact.boxes)
    np.testing.assert_array_equal(found.scores, exact.scores)
    few = both(pictures[0]).detections
    assert 0 < len(few) <= len(exact)
    assert not detector.cascade


def test_pictures_in_passes_give_the_same(detector, pictures, tmp_path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    a, b = pictures[:2]
    sources = [a, a, a, broken, a, b, b, a]
    alone = list(detector.run(sources))
    sizes, infer = [], detector.launch
    detector.launch = lambda images: sizes.append(len(images)) or infer(images)
    together = list(detector.run(sources, batch=2))
    assert decode(a.read_bytes(), "").shape != decode(b.read_bytes(), "").shape
    assert sizes == [2, 2, 2, 1]
    assert [type(each) for each in together] == [
        Failure if s is broken else Result for s in sources
    ]
    for one, other in zip(alone, together, strict=True):
        assert one.name == other.name
        if isinstance(one, Result):
            np.testing.assert_allclose(one.detections.boxes, other.detections.boxes, atol=1e-2)
            np.testing.assert_allclose(one.detections.scores, other.detections.scores, atol=1e-5)


def test_bfloat16_gives_nearly_the_same_and_leaves_the_network_alone(detector, pictures) -> None:
    exact = detector(pictures[0]).detections
    config = replace(detector.config, precision="bf16")
    rough = Detector(detector.network, detector.header, detector.proposals, config, "cpu")
    assert rough.network.features[0].weight.dtype == torch.bfloat16
    assert rough.network.feature_scale.dtype == torch.float32
    assert detector.network.features[0].weight.dtype == torch.float32
    found = rough(pictures[0]).detections
    assert len(found) > 3
    assert abs(len(found) - len(exact)) <= 0.2 * len(exact)
    np.testing.assert_allclose(found.scores[:3], exact.scores[:3], atol=0.03)


def test_precision_by_name(monkeypatch) -> None:
    cpu = torch.device("cpu")
    assert device.pick_precision("fp32", cpu) == torch.float32
    assert device.pick_precision("bf16", cpu) == torch.bfloat16
    assert device.pick_precision("fp16", torch.device("cuda")) == torch.float16
    for able, wanted in (
        ({}, torch.float32),
        ({"avx512_f": True}, torch.float32),
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: able)
        assert device.pick_precision("auto", cpu) == wanted
    for capability, wanted in (((7, 5), torch.float32), ((8, 0), torch.bfloat16)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: c)
        assert device.pick_precision("auto", torch.device("cuda")) == wanted


@pytest.mark.parametrize("name", ["fp16", "int8", ""])
def test_precision_that_is_not_available(name) -> None:
    with pytest.raises(ConfigError):
        device.pick_precision(name, torch.device("cpu"))


@pytest.mark.parametrize("layer", ["cls_score", "bbox_pred"])
def test_outputs_that_are_not_finite_are_not_taken_for_nothing(detector, pictures, layer) -> None:
    """Such as those of weights that are finite and too large."""
    with torch.no_grad():
        getattr(detector.network, layer).weight.fill_(3e38)
    with pytest.raises(FrcnnError, match="not finite"):
        list(detector.run(pictures[:1]))
