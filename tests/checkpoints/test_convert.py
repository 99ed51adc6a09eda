from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import reference
from caffe_format import network
from frcnn_cli.checkpoints import convert
from frcnn_cli.checkpoints.convert import VOC_CLASSES, import_weights
from frcnn_cli.checkpoints.pretrained import initialise, load_state_dict
from frcnn_cli.checkpoints.weights import load_weights
from frcnn_cli.data.collate import collate, preprocess
from frcnn_cli.data.transforms import Normalizer
from frcnn_cli.errors import ConfigError, WeightsError
from frcnn_cli.models import backbones
from frcnn_cli.models.backbones import CAFFE_PIXELS
from frcnn_cli.models.detectors import build_network
from frcnn_cli.models.region_network import RegionNetwork
from tiny import CLASSES, NAME, _features

BINS, CHANNELS, SIZES = 3, 16, (32, 24)
WIDTH = CHANNELS * BINS**2


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = backbones.BackboneSpec(
        name=NAME,
        features=_features,
        channels=CHANNELS,
        stride=16,
        pooled_size=BINS,
        fc_layers=dict(zip(("fc6", "fc7"), SIZES, strict=True)),
        layers={"conv1": 0},
        first_trained="conv1",
        pixels=CAFFE_PIXELS,
        imagenet_weights=None,
        classifier_layers=("classifier.0", "classifier.3"),
    )
    monkeypatch.setitem(backbones.BACKBONES, NAME, spec)
    monkeypatch.setitem(convert.CAFFE_CONVOLUTIONS, NAME, ("conv_a", "conv_b"))


def caffe_layers(classes: int = 3, rank: int = 0) -> dict[str, list[np.ndarray]]:
    """As Caffe has them: conv_a reads BGR, fc6 reads channel by channel."""
    rng = np.random.default_rng(5)

    def make(*shape: int) -> list[np.ndarray]:
        scale = 1 / np.sqrt(np.prod(shape[1:]))
        return [rng.normal(size=shape) * scale, rng.normal(size=shape[0]) * 0.1]

    layers = {"conv_a": make(8, 3, 3, 3), "conv_b": make(CHANNELS, 8, 3, 3)}
    if rank:
        layers |= {"fc6_L": make(rank, WIDTH)[:1], "fc6_U": make(SIZES[0], rank)}
    else:
        layers["fc6"] = make(SIZES[0], WIDTH)
    layers |= {"fc7": make(SIZES[1], SIZES[0]), "cls_score": make(classes + 1, SIZES[1])}
    return layers | {"bbox_pred": make(4 * (classes + 1), SIZES[1])}


def write(path: Path, layers: dict[str, list[np.ndarray]], old: bool = False) -> Path:
    path.write_bytes(network(layers, old))
    return path


def import_file(file: Path, target: Path, backbone=None, classes=CLASSES, pixels=None):
    return import_weights(
        file,
        target,
        backbone_name=backbone,
        classes=classes,
        pixels=pixels,
        scale=100,
        max_size=160,
    )


def as_caffe(layers, image: np.ndarray, rois: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What Caffe computes: BGR minus the means, pooling in its order, boxes from 0."""
    tensors = {name: [torch.tensor(b).float() for b in blobs] for name, blobs in layers.items()}
    bgr = image[:, :, ::-1].astype(np.float32) - np.array(
        [102.9801, 115.9465, 122.7717], np.float32
    )
    x = torch.from_numpy(bgr.transpose(2, 0, 1).copy())[None]
    for name in ("conv_a", "conv_b"):
        x = torch.nn.functional.conv2d(x, *tensors[name], stride=4, padding=1).relu()
    numbered = np.insert(rois, 0, 0, axis=1)
    pooled = reference.roi_max_pool(x.numpy(), numbered, (BINS, BINS), 1 / 16)
    y = torch.from_numpy(pooled).flatten(1)
    if "fc6_L" in tensors:
        y = torch.nn.functional.linear(y, tensors["fc6_L"][0])
        y = torch.nn.functional.linear(y, *tensors["fc6_U"]).relu()
    else:
        y = torch.nn.functional.linear(y, *tensors["fc6"]).relu()
    y = torch.nn.functional.linear(y, *tensors["fc7"]).relu()
    return tuple(torch.nn.functional.linear(y, *tensors[n]).numpy() for n in convert.OUTPUT_LAYERS)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("rank", [0, 5])
def test_a_caffe_model_gives_what_caffe_gives(tmp_path, old, rank) -> None:
    layers = caffe_layers(rank=rank)
    got = import_file(write(tmp_path / "a.caffemodel", layers, old), tmp_path / "a.safetensors")
    assert got.backbone == NAME
    model, header = load_weights(tmp_path / "a.safetensors")
    assert header == got.header
    assert header.ranks == ({"fc6": 5} if rank else {})
    assert header.pixels == CAFFE_PIXELS
    assert header.geometry == "caffe"
    assert model.ends_are_inside
    assert (header.classes, header.scale, header.max_size) == (CLASSES, 100, 160)
    rng = np.random.default_rng(2)
    image = rng.integers(0, 256, (100, 140, 3), dtype=np.uint8)
    rois = np.array([[0, 0, 139, 99], [20, 10, 90, 70], [64, 33, 65, 34], [100, 50, 139, 99]])
    rois = rois.astype(np.float32)
    batch = collate([preprocess(image, rois, 100, 160)])
    normalize = Normalizer(CAFFE_PIXELS, model.device)
    with torch.inference_mode():
        output = model(normalize(batch.images, batch.sizes), batch.rois)
    scores, deltas = as_caffe(layers, image, rois)
    assert np.abs(scores).max() > 1
    np.testing.assert_allclose(output.class_logits, scores, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(output.box_deltas.flatten(1), deltas, rtol=1e-3, atol=1e-3)


def test_voc_classes_are_taken_for_twenty(tmp_path) -> None:
    file = write(tmp_path / "a.caffemodel", caffe_layers(20))
    assert import_file(file, tmp_path / "a.safetensors", classes=()).header.classes == VOC_CLASSES
    assert tuple(sorted(VOC_CLASSES)) == VOC_CLASSES
    assert len(VOC_CLASSES) == 20


def test_the_number_of_classes_must_fit(tmp_path) -> None:
    file = write(tmp_path / "a.caffemodel", caffe_layers())
    with pytest.raises(
        ConfigError, match="of 3 classes and the background, expected 20 classes"
    ) as error:
        import_file(file, tmp_path / "a.safetensors", classes=())
    assert "--classes" in error.value.hint
    assert not (tmp_path / "a.safetensors").exists()


def test_imagenet_weights_become_a_file_to_start_from(tmp_path) -> None:
    layers = {k: v for k, v in caffe_layers().items() if k not in convert.OUTPUT_LAYERS}
    layers["fc8"] = [np.ones((1000, SIZES[1])), np.ones(1000)]
    target = tmp_path / "a.safetensors"
    assert import_file(write(tmp_path / "a.caffemodel", layers), target).header is None
    state = load_state_dict(target)
    first = layers["conv_a"][0].astype(np.float32)
    np.testing.assert_array_equal(state["features.0.weight"], first[:, ::-1])
    np.testing.assert_array_equal(state["classifier.0.weight"], layers["fc6"][0].astype(np.float32))
    assert initialise(build_network(NAME, 3), state) == ["fc6", "fc7"]
    with pytest.raises(WeightsError):
        load_weights(target)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"conv_b": None}, "is not a"),
        ({"conv_a": [np.ones((8, 3, 5, 5)), np.ones(8)]}, "conv_a is of shape"),
        ({"conv_a": [np.ones((8, 3, 3, 3))]}, "conv_a has no bias"),
        ({"fc6": [np.ones((32, 7)), np.ones(32)]}, "fc6 is of shape"),
        ({"fc7": None}, "fc_layers.fc7.weight is missing"),
        ({"bbox_pred": None}, "bbox_pred.weight is missing"),
        ({"bbox_pred": [np.ones((12, 24)), np.ones(12)]}, "bbox_pred.weight is of shape (12, 24)"),
    ],
    ids=str,
)
def test_caffe_models_that_do_not_fit(tmp_path, change, words) -> None:
    layers = {k: v for k, v in {**caffe_layers(), **change}.items() if v is not None}
    with pytest.raises(WeightsError) as error:
        import_file(write(tmp_path / "a.caffemodel", layers), tmp_path / "a.safetensors")
    assert words in error.value.message
    assert "\n" not in error.value.message
    assert {path.name for path in tmp_path.iterdir()} == {"a.caffemodel"}


def test_pixels_of_a_caffe_model_are_caffes(tmp_path) -> None:
    file = write(tmp_path / "a.caffemodel", caffe_layers())
    with pytest.raises(ConfigError, match="expects Caffe's pixels"):
        import_file(file, tmp_path / "a.safetensors", pixels="torchvision")


def state_dict(names: str) -> tuple[RegionNetwork, dict[str, torch.Tensor]]:
    """A model, and its tensors under our names or those of torchvision."""
    torch.manual_seed(4)
    model = build_network(NAME, 3).eval()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    if names == "torchvision":
        del state["feature_scale"]
        for ours, theirs in (("fc6", "classifier.0"), ("fc7", "classifier.3")):
            for part in ("weight", "bias"):
                state[f"{theirs}.{part}"] = state.pop(f"fc_layers.{ours}.{part}")
        by_bin = state["classifier.0.weight"].view(-1, BINS, BINS, CHANNELS)
        state["classifier.0.weight"] = by_bin.permute(0, 3, 1, 2).flatten(1).contiguous()
    return model, state


@pytest.mark.parametrize("names", ["ours", "torchvision"])
def test_state_dicts(tmp_path, names) -> None:
    model, state = state_dict(names)
    torch.save(state, tmp_path / "a.pth")
    header = import_file(
        tmp_path / "a.pth", tmp_path / "a.safetensors", pixels="torchvision"
    ).header
    assert header.pixels.std[0] == pytest.approx(58.395)
    loaded, _ = load_weights(tmp_path / "a.safetensors")
    for key, tensor in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[key], tensor, rtol=0, atol=0)


def test_a_state_dict_of_imagenet_weights(tmp_path) -> None:
    _, state = state_dict("torchvision")
    kept = {
        key: value for key, value in state.items() if key.split(".")[0] not in convert.OUTPUT_LAYERS
    }
    torch.save(kept, tmp_path / "a.pth")
    assert import_file(tmp_path / "a.pth", tmp_path / "a.safetensors").header is None
    assert load_file(tmp_path / "a.safetensors").keys() == kept.keys()


def test_a_state_dict_that_fits_nothing(tmp_path) -> None:
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="fits no backbone"):
        import_file(tmp_path / "a.pth", tmp_path / "a.safetensors")


def test_torchvisions_own_names_are_recognised() -> None:
    from torchvision.models import resnet18, squeezenet1_1

    for build, name in ((squeezenet1_1, "squeezenet1_1"), (resnet18, "resnet18")):
        with torch.device("meta"):
            state = build().state_dict()
        assert convert._fitting_backbone(Path("a.pth"), state) == name
