from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from frcnn_cli.bench import bench as bench_module
from frcnn_cli.bench.bench import Bench, bench
from frcnn_cli.bench.chart import PARTS, shares, stage_chart
from frcnn_cli.bench.detection import DetectionTime, detection_flops, time_detection
from frcnn_cli.bench.methods import (
    LEVERS,
    METHODS,
    PAPER_SPEEDUPS,
    EveryRoI,
    make_detector,
    make_network,
)
from frcnn_cli.bench.photographs import Photograph, photographs
from frcnn_cli.bench.quality import measure_quality
from frcnn_cli.bench.training import WAYS, TrainingTime
from frcnn_cli.checkpoints.weights import save_weights
from frcnn_cli.cli.app import app
from frcnn_cli.config import BenchConfig, DetectConfig
from frcnn_cli.data.registry import open_dataset
from frcnn_cli.errors import ConfigError
from frcnn_cli.evaluation.evaluate import evaluate
from frcnn_cli.inference.detector import Detector
from frcnn_cli.models.backbones import BACKBONES
from frcnn_cli.models.detectors import DETECTORS, build_network
from frcnn_cli.proposers.cache import ProposalSource
from frcnn_cli.proposers.registry import selective_search
from tiny import CLASSES, NAME, add_tiny_backbone


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    add_tiny_backbone(monkeypatch, tmp_path)


def picture(count: int = 30) -> Photograph:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 200, (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(30, 100, (count, 2))], axis=1)
    boxes = np.concatenate([boxes, boxes[:5]]).astype(np.float32)  # some are equal
    return Photograph("noise", rng.integers(0, 255, (300, 400, 3), dtype=np.uint8), boxes)


def detector_of(name: str, tmp_path: Path) -> Detector:
    source = ProposalSource(selective_search(), tmp_path)
    return make_detector(METHODS[name], NAME, source, "fp32", "cpu")


def test_the_rows_name_what_exists() -> None:
    assert {method.detector for method in METHODS.values()} == set(DETECTORS)
    assert {way.detector for way in WAYS.values()} == set(DETECTORS)
    for before, after in LEVERS.values():
        assert {before, after} <= METHODS.keys()
    assert PAPER_SPEEDUPS.keys() <= BACKBONES.keys()
    assert all(numbers.keys() <= METHODS.keys() for numbers in PAPER_SPEEDUPS.values())


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_what_its_row_says(name: str) -> None:
    network, method = make_network(METHODS[name], NAME), METHODS[name]
    assert (network.warp is None) == (method.detector != "rcnn")
    assert isinstance(network.region_operator, EveryRoI) != method.distinct
    assert set(network.low_rank_layers()) == set(method.ranks)


def test_every_roi_goes_through_the_layers_only_where_asked(tmp_path: Path) -> None:
    rois = torch.tensor([[0.0, 1, 1, 90, 90], [0, 1, 1, 90, 90], [0, 1, 1, 200, 90]])
    for name, count in (("fast_rcnn", 3), ("distinct", 2)):
        chosen, inverse = detector_of(name, tmp_path).network.distinct(rois)
        assert len(chosen) == count
        assert torch.equal(rois[chosen][inverse], rois)


def test_operations_of_an_image(tmp_path: Path) -> None:
    """By hand: the tiny backbone on 300×400 pixels at scale 600, and its 35 boxes."""
    first, second = 2 * 8 * 3 * 9 * 150 * 200, 2 * 16 * 8 * 9 * 38 * 50
    head = 2 * (144 * 32 + 32 * 24 + 24 * 21 * 5)
    fast = detector_of("fast_rcnn", tmp_path)
    assert detection_flops(fast, METHODS["fast_rcnn"], picture()) == first + second + 35 * head
    crop = 2 * 8 * 3 * 9 * 56**2 + 2 * 16 * 8 * 9 * 14**2
    rcnn = detector_of("rcnn", tmp_path)
    # the same region is never cut out twice
    assert detection_flops(rcnn, METHODS["rcnn"], picture()) == 30 * (crop + head)


@pytest.mark.slow
def test_regions_that_were_not_measured_are_extrapolated(tmp_path: Path, monkeypatch) -> None:
    seen = []
    original = Detector.detect

    def detect(self, image):
        seen.append(len(image.rois))
        return original(self, image)

    monkeypatch.setattr(Detector, "detect", detect)
    detectors = {name: detector_of(name, tmp_path) for name in ("rcnn", "fast_rcnn")}
    times = time_detection(detectors, [picture()], regions=7, repeats=2)
    assert seen == [7, 35] * 3
    assert times["rcnn"].extrapolated
    assert not times["fast_rcnn"].extrapolated
    whole = time_detection(detectors, [picture()], regions=35, repeats=1)
    assert not whole["rcnn"].extrapolated
    assert times["rcnn"].stages["conv"] == pytest.approx(whole["rcnn"].stages["conv"], rel=2)
    for time in times.values():
        assert time.seconds > 0
        assert {"conv", "RoI pool", "fc6", "heads", "NMS"} <= time.stages.keys()


def made_up() -> Bench:
    detection = {
        name: DetectionTime(
            seconds=10 / number,
            stages={"conv": 6 / number, "fc6": 1 / number, "NMS": 3 / number},
            flops=900 / number,
            extrapolated=name == "rcnn",
        )
        for number, name in enumerate(METHODS, start=1)
    }
    training = {
        name: TrainingTime(float(number), False) for number, name in enumerate(WAYS, start=1)
    }
    return Bench(
        config=BenchConfig(backbone="vgg16"),
        images=("noise",),
        proposals=35,
        device="cpu",
        auto_precision="float32",
        detection=detection,
        training=training,
    )


def test_speed_ups_are_over_rcnn() -> None:
    result = made_up()
    assert result.speedup("rcnn") == 1
    assert result.speedup("fast_rcnn") == pytest.approx(4)
    assert result.flop_ratio("fast_rcnn") == pytest.approx(4)
    assert result.paper("fast_rcnn") == 146
    assert result.paper("ours") is None
    assert result.lever("equal RoIs once") == pytest.approx(6 / 4)
    assert result.training_speedup("one_roi") == pytest.approx(1 / 2)
    steps = [result.lever(name) for name in LEVERS]
    assert np.prod(steps) == pytest.approx(result.speedup("shipped_ranks"))


def test_the_chart_shows_every_method_and_all_of_its_time() -> None:
    assert shares({"conv": 6, "fc6": 1, "NMS": 3}) == {
        "conv": 0.6, "fc6": 0.1, "fc7": 0, "RoI pooling, warping": 0, "other": 0.3,
    }  # fmt: skip
    svg = stage_chart(made_up())
    root = ElementTree.fromstring(svg)
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert {method.title for method in METHODS.values()} <= set(texts)
    assert set(PARTS) <= set(texts)
    assert "≈ 10.00 s, 1×" in texts
    assert texts.count("60%") == len(METHODS)


def test_photographs_without_scikit_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ConfigError, match="scikit-image, which is not installed"):
        photographs(1, 10)


def test_an_unknown_backbone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown backbone 'alexnett'"):
        bench(BenchConfig(backbone="alexnett"), tmp_path)


def saved(name: str, tmp_path: Path) -> Path:
    detector = detector_of("fast_rcnn", tmp_path)
    header = replace(detector.header, classes=CLASSES, scale=240, max_size=400)
    path = tmp_path / f"{name}.safetensors"
    save_weights(path, build_network(NAME, len(CLASSES)), header)
    return path


def test_the_map_of_trained_weights_is_that_of_eval(tmp_path: Path, voc_folder: Path) -> None:
    files = [saved("first", tmp_path), saved("second", tmp_path)]
    images = open_dataset(f"voc:{voc_folder}", None, "val").limited(3)
    source = ProposalSource(selective_search(), tmp_path)
    qualities = measure_quality(files, images, source, "cpu")
    assert [each.weights for each in qualities] == ["first", "second"]
    assert {(each.detector, each.backbone) for each in qualities} == {("fast_rcnn", NAME)}
    for path, each in zip(files, qualities, strict=True):
        detector = Detector.load(path, source, DetectConfig(), "cpu")
        assert each.mean_ap == evaluate(detector, images).mean_ap
        assert each.seconds > 0


def test_the_command_compares_trained_weights(
    tmp_path: Path, voc_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved("mine", tmp_path)
    timed = made_up()
    monkeypatch.setattr(bench_module, "bench", lambda *_: timed)
    arguments = ["bench", "--weights", str(path), "--dataset", f"voc:{voc_folder}", "--limit", "2"]
    table = CliRunner().invoke(app, arguments)
    assert table.exit_code == 0, table.output
    assert "mine" in table.stdout
    assert "2 images of" in table.stdout
    answer = json.loads(CliRunner().invoke(app, [*arguments, "--json", "--quiet"]).stdout)
    assert answer["weights"][0]["weights"] == "mine"
    assert json.loads(CliRunner().invoke(app, ["bench", "--json"]).stdout)["weights"] == []
    refused = CliRunner().invoke(app, ["bench", "--dataset", "voc", "--limit", "2"])
    assert refused.exit_code == 1
    assert "--dataset and --limit are for --weights" in refused.stderr


@pytest.mark.slow
def test_the_command_measures_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("skimage")
    monkeypatch.setattr(bench_module, "photographs", lambda count, boxes: [picture()] * count)
    svg = tmp_path / "chart.svg"
    arguments = f"bench --backbone {NAME} --images 1 --repeats 1 --regions 8 --json --svg {svg}"
    result = CliRunner().invoke(app, arguments.split())
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["detection"].keys() == METHODS.keys()
    assert answer["training"].keys() == WAYS.keys()
    assert answer["detection"]["rcnn"]["extrapolated"]
    assert not answer["detection"]["fast_rcnn"]["extrapolated"]
    assert answer["training"]["one_roi"]["extrapolated"]
    assert all(each["seconds"] > 0 for each in answer["training"].values())
    assert svg.exists()
    refused = CliRunner().invoke(app, arguments.split())
    assert "exists already" in str(refused.exception) + refused.output
    arguments += " --overwrite"
    table = CliRunner().invoke(app, arguments.replace("--json", "--no-training").split())
    assert table.exit_code == 0, table.output
    assert "≈" in table.stdout
    assert "each step: shared convolutions" in table.stdout
