from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcnn_cli.checkpoints.onnx import export_onnx
from frcnn_cli.checkpoints.weights import WeightsHeader, load_weights, save_weights
from frcnn_cli.compression import cost
from frcnn_cli.compression.compress import compress
from frcnn_cli.config import CompressConfig, DetectConfig, TrainConfig, TrainRuntimeConfig
from frcnn_cli.data.sources import as_source
from frcnn_cli.data.voc import load_voc
from frcnn_cli.errors import ConfigError, WeightsError
from frcnn_cli.evaluation.evaluate import evaluate
from frcnn_cli.inference.detector import Detector
from frcnn_cli.inference.profile import profile
from frcnn_cli.models.backbones import BACKBONES, CAFFE_PIXELS, BackboneSpec, backbone_spec
from frcnn_cli.models.detectors import DETECTORS, DetectorSpec, build_network
from frcnn_cli.models.region_network import SCORE_FUNCTIONS
from frcnn_cli.models.region_operators import (
    REGION_OPERATORS,
    SPP_SIDES,
    RegionOperator,
    RoIMaxPool,
    spatial_pyramid,
)
from frcnn_cli.ops.warp import warp_regions
from frcnn_cli.training.initialisation import Initialisation
from frcnn_cli.training.train import train
from synthetic import CLASSES
from tiny import NAME, add_tiny_backbone

SPP = "spp"  # the detector that these tests add


def make_pyramid(backbone: BackboneSpec) -> RegionOperator:
    return spatial_pyramid(backbone, (3, 1))


@pytest.fixture(autouse=True)
def initial_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Adds the tiny backbone, and a detector with an operator and a score function of its own."""
    monkeypatch.setitem(REGION_OPERATORS, "pyramid", make_pyramid)
    monkeypatch.setitem(SCORE_FUNCTIONS, "margin", lambda logits: logits.float().sigmoid())
    monkeypatch.setitem(DETECTORS, SPP, DetectorSpec("pyramid", "margin"))
    return add_tiny_backbone(monkeypatch, tmp_path)


def random_rois(count: int, image_count: int, limit: float = 200.0) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    corners = (torch.rand((count, 2, 2), generator=generator) * limit).sort(dim=1).values
    image = torch.randint(image_count, (count, 1), generator=generator).float()
    return torch.cat([image, corners.reshape(count, 4)], dim=1)


@pytest.mark.parametrize("detector", [*DETECTORS, SPP])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_detector_is_built_with_every_backbone(detector: str, backbone: str) -> None:
    with torch.device("meta"):  # VGG16's weights are large
        network = build_network(backbone, 4, detector)
    spec = backbone_spec(backbone)
    width = spec.channels * network.region_operator.bins
    for name, outputs in spec.fc_layers.items():
        assert network.fc_layers[name].weight.shape == (outputs, width)
        width = outputs
    assert network.cls_score.weight.shape == (5, width)
    assert network.bbox_pred.weight.shape == (20, width)
    assert network.layer_names() == [*spec.layers, *spec.fc_layers, "cls_score", "bbox_pred"]
    assert network.score_function == DETECTORS[detector].score_function


@pytest.mark.parametrize("detector", [*DETECTORS, SPP])
def test_every_detector_maps_images_and_rois_to_outputs(detector: str) -> None:
    torch.manual_seed(0)
    network = build_network(NAME, 4, detector).eval()
    images, rois = torch.randn(2, 3, 96, 160), random_rois(7, 2)
    with torch.inference_mode():
        output = network(images, rois)
        maps = network.image_features(images)
        features = network.region_features(maps, rois)
        by_steps = network.predict(network.box_head(features))
        scores = network.scores(output.class_logits)
        none = network(images, rois[:0])
    assert output.class_logits.shape == scores.shape == (7, 5)
    assert output.box_deltas.shape == (7, 5, 4)
    assert none.class_logits.shape == (0, 5)
    assert features.shape == (7, 16 * network.region_operator.bins)
    assert torch.equal(by_steps.box_deltas, output.box_deltas)
    assert scores.dtype == torch.float32
    assert ((scores >= 0) & (scores <= 1)).all()


def header_of(detector: str) -> WeightsHeader:
    spec = DETECTORS[detector]
    return WeightsHeader(
        backbone=NAME,
        classes=CLASSES,
        pixels=CAFFE_PIXELS,
        scale=96,
        max_size=160,
        detector=detector,
        region_operator=spec.region_operator,
        score_function=spec.score_function,
        warp=spec.warp,
    )


@pytest.mark.parametrize("detector", [*DETECTORS, SPP])
def test_every_detector_is_read_from_its_file(tmp_path: Path, detector: str) -> None:
    header = header_of(detector)
    network = build_network(NAME, 3, detector).eval()
    save_weights(tmp_path / "a.safetensors", network, header)
    loaded, read = load_weights(tmp_path / "a.safetensors")
    assert read == header
    images, rois = torch.randn(1, 3, 96, 160), random_rois(5, 1)
    with torch.inference_mode():
        ours, theirs = network(images, rois), loaded(images, rois)
    assert torch.equal(ours.class_logits, theirs.class_logits)
    assert torch.equal(
        network.scores(ours.class_logits), SCORE_FUNCTIONS[header.score_function](ours.class_logits)
    )


def test_weights_of_a_detector_that_is_not_known(tmp_path, monkeypatch) -> None:
    test_every_detector_is_read_from_its_file(tmp_path, SPP)
    monkeypatch.delitem(REGION_OPERATORS, "pyramid")
    with pytest.raises(WeightsError, match="region operator 'pyramid', unknown here"):
        load_weights(tmp_path / "a.safetensors")


def test_an_unknown_detector_offers_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown detector 'fast_rcn'") as error:
        build_network(NAME, 3, "fast_rcn")
    assert "fast_rcnn" in error.value.hint


@pytest.mark.parametrize("detector", [*DETECTORS, SPP])
def test_every_detector_gives_the_same_features_in_chunks_and_for_export(detector: str) -> None:
    torch.manual_seed(0)
    network = build_network(NAME, 3, detector).eval()
    images, rois = torch.randn(1, 3, 96, 160), random_rois(40, 1, 96)
    with torch.inference_mode():
        maps = network.image_features(images)
        expected = network.region_features(maps, rois)
        pool = network.features_in_chunks(maps, 15)
        parts = [pool(part).clone() for part in rois.split(15)]
        exported = network.features_for_export(160)(maps, rois[:, 1:])
        chosen, inverse = network.distinct(torch.cat([rois, rois[:3]]))
        none = pool(rois[:0])
    torch.testing.assert_close(torch.cat(parts), expected)
    torch.testing.assert_close(exported, expected)
    torch.testing.assert_close(expected[chosen][inverse], torch.cat([expected, expected[:3]]))
    assert none.shape == (0, expected.shape[1])


def test_regions_that_are_warped_do_not_see_each_other() -> None:
    """What R-CNN is: the features of a region are those of an image that shows it alone."""
    torch.manual_seed(0)
    network = build_network(NAME, 3, "rcnn").eval()
    images, rois = torch.randn(2, 3, 96, 160), random_rois(6, 2, 96)
    pooled = []
    for roi in rois:
        crop = warp_regions(images, roi[None], 224, 16)
        maps = network.scale_features(network.features(crop))
        pooled.append(F.adaptive_max_pool2d(maps, 3).permute(0, 2, 3, 1).flatten(1))
    with torch.inference_mode():
        ours = network.region_features(network.image_features(images), rois)
    torch.testing.assert_close(ours, torch.cat(pooled))


@pytest.fixture(params=[*REGION_OPERATORS, "pyramid"])
def operator(request: pytest.FixtureRequest) -> RegionOperator:
    return REGION_OPERATORS[request.param](backbone_spec(NAME))


@pytest.fixture
def maps() -> Tensor:
    return torch.randn((2, 5, 13, 13), generator=torch.Generator().manual_seed(1))


class TestRegionOperator:
    """What every region operator promises."""

    def test_features_are_bins_of_all_channels(self, operator, maps) -> None:
        assert operator(maps, random_rois(9, 2)).shape == (9, 5 * operator.bins)
        assert operator(maps, random_rois(0, 2)).shape == (0, 5 * operator.bins)

    def test_gradients_reach_the_maps(self, operator, maps) -> None:
        maps.requires_grad_()
        operator(maps, random_rois(9, 2)).sum().backward()
        assert maps.grad.any()

    def test_features_of_distinct_rois_are_those_of_all(self, operator, maps) -> None:
        rois = random_rois(60, 2)
        rois = torch.cat([rois, rois + 0.01, rois[:5]])
        chosen, inverse = operator.distinct(rois)
        assert len(chosen) < len(rois)
        features = operator(maps, rois)
        assert torch.equal(operator(maps, rois[chosen])[inverse], features)

    def test_chunks_give_the_same_features(self, operator, maps) -> None:
        rois = random_rois(20, 2)
        pool = operator.in_chunks(maps, 8, torch.float32)
        parts = [pool(part).clone() for part in rois.split(8)]
        assert torch.equal(torch.cat(parts), operator(maps, rois))

    def test_the_exported_operator_gives_the_same_features(self, operator, maps) -> None:
        rois = random_rois(20, 1)
        exported = operator.for_export(208)(maps[:1], rois[:, 1:])
        torch.testing.assert_close(exported, operator(maps, rois))

    def test_weights_from_channels_first_are_reordered(self, operator) -> None:
        side = backbone_spec(NAME).pooled_size
        weight = 1 + torch.arange(2.0 * 5 * side**2).view(2, -1)
        reordered = operator.from_channels_first(weight)
        assert reordered.shape == (2, 5 * operator.bins)
        torch.testing.assert_close(reordered.sum(dim=1), weight.sum(dim=1))


@pytest.mark.parametrize("side", [1, 3, 6])
def test_a_pyramid_of_one_level_is_roi_max_pooling(maps: Tensor, side: int) -> None:
    backbone = replace(backbone_spec(NAME), pooled_size=side)
    pyramid, pool = spatial_pyramid(backbone, (side,)), RoIMaxPool(side, 16)
    rois = random_rois(30, 2)
    assert pyramid.bins == pool.bins
    assert torch.equal(pyramid(maps, rois), pool(maps, rois))
    for ours, theirs in zip(pyramid.distinct(rois), pool.distinct(rois), strict=True):
        assert torch.equal(ours, theirs)
    weight = torch.randn(4, 5 * side**2)
    assert torch.equal(pyramid.from_channels_first(weight), pool.from_channels_first(weight))


def test_the_pyramid_of_sppnet_has_50_bins() -> None:
    assert spatial_pyramid(backbone_spec("vgg16")).bins == 50


@pytest.mark.parametrize("cells", [1, 2, 3, 5, 6, 7, 11, 13])
def test_pyramid_pooling_is_adaptive_max_pooling_of_whole_cells(maps: Tensor, cells: int) -> None:
    """RoIs whose edges are on cells: torch pools the same cells to the same bins."""
    operator = spatial_pyramid(backbone_spec(NAME))
    for first in {0, 13 - cells}:
        corner = 16.0 * (first + cells - 1)  # the last cell belongs to the RoI
        rois = torch.tensor([[1.0, 16.0 * first, 0.0, corner, 16.0 * (cells - 1)]])
        part = maps[1, :, :cells, first : first + cells]
        expected = [
            F.adaptive_max_pool2d(part, side).permute(1, 2, 0).flatten() for side in SPP_SIDES
        ]
        assert torch.equal(operator(maps, rois)[0], torch.cat(expected))


@pytest.mark.parametrize("sides", [(3, 2), (6, 3, 2, 1), (2, 1)])
def test_weights_of_a_layer_are_those_of_the_finest_level(maps: Tensor, sides) -> None:
    """At 3×3 bins, as the layer was trained, its outputs stay; on other grids their scale does."""
    backbone = backbone_spec(NAME)
    pool, pyramid = RoIMaxPool(3, 16), spatial_pyramid(backbone, sides)
    weight, rois = torch.rand(4, 5 * 9), random_rois(8, 2)
    weight = weight.mean(dim=1, keepdim=True).expand(4, 45) if sides[0] != 3 else weight
    maps = torch.ones_like(maps) if sides[0] != 3 else maps
    expected = pool(maps, rois) @ pool.from_channels_first(weight).T
    ours = pyramid(maps, rois) @ pyramid.from_channels_first(weight).T
    torch.testing.assert_close(ours, expected)


def test_a_detector_is_added_by_an_entry(
    tmp_path: Path, initial_weights: Path, voc_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Train, load, detect, evaluate, compress and finetune, profile, resume."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(  # a new process would not know the detector
        cost, "measure_weights", lambda path, device: cost.measure_here(path, device, 1)
    )
    config = TrainConfig(
        detector=SPP, backbone=NAME, iterations=3, scales=(100,), max_size=160, rois_per_batch=16
    )
    images = load_voc(voc_folder, "voc", "train", ())
    runtime = TrainRuntimeConfig(device="cpu", workers=0)
    trained = train(
        config,
        images,
        folder=tmp_path / "run",
        initialisation=Initialisation(imagenet_weights=initial_weights),
        runtime=runtime,
        threads=1,
    )
    network, header = load_weights(trained.weights)
    assert (header.detector, header.region_operator) == (SPP, "pyramid")
    assert header.score_function == network.score_function == "margin"
    assert network.fc_layers["fc6"].in_features == 16 * (9 + 1)

    # after three iterations, every logit is about 0 and its sigmoid about one half
    detect = DetectConfig(score_threshold=0.4)
    detector = Detector.load(trained.weights, config=detect, device="cpu")
    photograph = voc_folder / "JPEGImages" / "000001.jpg"
    detections = detector(photograph).detections
    assert len(detections) > 0
    assert ((detections.scores > 0.4) & (detections.scores < 0.6)).all()
    assert 0 <= evaluate(detector, images, workers=1).mean_ap <= 1
    stages = profile(detector, [as_source(photograph)]).stages
    assert {"conv", "RoI pool", "fc6", "fc7", "heads", "NMS"} <= {each.name for each in stages}

    small = compress(
        trained.weights,
        CompressConfig(rank=8),
        calibrate=f"voc:{voc_folder}",
        curve=images,
        finetune=2,
        out=tmp_path / "small.safetensors",
        device="cpu",
        workers=1,
    )
    assert small.path is not None
    loaded, header = load_weights(small.path)
    assert (header.ranks, header.detector) == ({"fc6": 8, "fc7": 8}, SPP)
    assert (loaded.score_function, header.provenance["iterations"]) == ("margin", 2)
    assert loaded.region_operator == network.region_operator
    assert isinstance(loaded.fc_layers["fc6"], nn.Sequential)

    resumed = train(
        replace(config, iterations=5), images, resume=trained.folder, runtime=runtime, threads=1
    )
    assert (resumed.folder, resumed.iterations) == (trained.folder, 5)
    again, header = load_weights(resumed.weights)
    assert (header.detector, header.score_function) == (SPP, "margin")
    assert not torch.equal(again.cls_score.weight, network.cls_score.weight)


@pytest.mark.slow  # an export takes some ten seconds
@pytest.mark.parametrize("detector", DETECTORS)
def test_every_detector_is_exported(tmp_path: Path, detector: str) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    network = build_network(NAME, 3, detector)
    nn.init.normal_(network.cls_score.weight, std=0.5)
    save_weights(tmp_path / "a.safetensors", network, header_of(detector))
    difference = export_onnx(tmp_path / "a.safetensors", tmp_path / "a.onnx")
    assert difference is not None
    assert difference < 1e-4


def test_a_backbone_with_running_statistics_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def features() -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(3, 8, 3, stride=16), nn.BatchNorm2d(8))

    spec = replace(backbone_spec("squeezenet1_1"), name="normed", features=features)
    monkeypatch.setitem(BACKBONES, "normed", spec)
    with pytest.raises(ConfigError, match="batch normalisation with running statistics"):
        build_network("normed", 2)
