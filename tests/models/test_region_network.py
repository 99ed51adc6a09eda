from __future__ import annotations

import pytest
import torch
from torch import nn

from frcnn_cli.errors import ConfigError
from frcnn_cli.models.backbones import BACKBONES, backbone_spec
from frcnn_cli.models.detectors import build_network
from frcnn_cli.models.region_network import ImageDropout

ROIS = torch.tensor([[0.0, 0, 0, 95, 63], [1, 16, 16, 80, 60], [1, 0, 0, 4, 4]])


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_spec_describes_its_features(name: str) -> None:
    spec = backbone_spec(name)
    features = spec.features().eval()
    with torch.no_grad():
        out = features(torch.rand(1, 3, 256, 320))
    assert out.shape[1] == spec.channels
    for cells, pixels in zip(out.shape[2:], (256, 320), strict=True):
        assert abs(cells - pixels / spec.stride) <= 1.5
    assert list(spec.layers.values()) == sorted(spec.layers.values())
    assert 0 <= spec.layers[spec.first_trained] < len(features)
    for first in spec.layers.values():  # each name stands for a module with weights
        assert any(parameter.requires_grad for parameter in features[first].parameters())
    assert len(spec.classifier_layers) <= len(spec.fc_layers)


@pytest.mark.parametrize("name", ["squeezenet1_1", "alexnet", "vgg16"])
def test_features_are_torchvisions(name: str) -> None:
    torchvision = pytest.importorskip("torchvision")
    theirs = getattr(torchvision.models, name)().features
    if name != "squeezenet1_1":
        theirs = theirs[:-1]  # the last pooling gives way to RoI pooling
    ours = backbone_spec(name).features()
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(1, 3, 100, 130)
    with torch.no_grad():
        assert torch.equal(ours.eval()(x), theirs.eval()(x))


def test_forward_scores_every_roi() -> None:
    model = build_network("squeezenet1_1", 5).eval()
    with torch.no_grad():
        out = model(torch.rand(2, 3, 96, 128), ROIS)
        none = model(torch.rand(2, 3, 96, 128), ROIS[:0])
    assert out.class_logits.shape == (3, 6)
    assert out.box_deltas.shape == (3, 6, 4)
    assert none.class_logits.shape == (0, 6)


def test_initial_heads_follow_the_paper() -> None:
    torch.manual_seed(0)
    model = build_network("squeezenet1_1", 20)
    assert model.cls_score.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert model.bbox_pred.weight.std().item() == pytest.approx(0.001, rel=0.05)
    assert not model.cls_score.bias.any()
    assert not model.bbox_pred.bias.any()


def test_feature_scale_gives_unit_features() -> None:
    torch.manual_seed(0)
    model = build_network("squeezenet1_1", 2)
    images = torch.rand(1, 3, 96, 128) * 200 - 100
    model.fit_feature_scale(images)
    with torch.no_grad():
        scaled = model.features(images) * model.feature_scale
    assert scaled.square().mean().sqrt().item() == pytest.approx(1, rel=1e-3)


def test_dropout_only_while_training() -> None:
    torch.manual_seed(0)
    model = build_network("squeezenet1_1", 2)
    x = torch.rand(3, 512 * 36)
    model.train()
    assert torch.equal(model.heads(x).class_logits, model.heads(x).class_logits)
    model.dropout.p = 0.5
    model.dropout.reseed([7], [3], x.device)
    assert not torch.equal(model.heads(x).class_logits, model.heads(x).class_logits)
    model.eval()
    assert torch.equal(model.heads(x).class_logits, model.heads(x).class_logits)


def test_dropout_of_an_image_is_the_same_in_any_batch() -> None:
    dropout = ImageDropout().train()
    dropout.p = 0.5
    x = torch.rand(50, 400) + 1
    dropout.reseed([3, 8], [20, 30], x.device)
    first, second = dropout(x), dropout(x)
    dropout.reseed([8], [30], x.device)
    assert torch.equal(dropout(x[20:]), first[20:])
    assert torch.equal(dropout(x[20:]), second[20:])
    assert not torch.equal(first, second)
    kept = first > 0
    assert torch.equal(first[kept], 2 * x[kept])
    assert kept.float().mean().item() == pytest.approx(0.5, abs=0.02)


def test_frozen_layers_take_no_gradient() -> None:
    with torch.device("meta"):  # VGG16's weights are large
        model = build_network("vgg16", 2)
    model.freeze_before(None)
    convolutions = [module for module in model.features if isinstance(module, nn.Conv2d)]
    frozen = [not module.weight.requires_grad for module in convolutions]
    assert frozen == [True] * 4 + [False] * 9  # conv1_x and conv2_x


@pytest.mark.parametrize("first", build_network("squeezenet1_1", 2).layer_names())
def test_training_can_start_from_any_layer(first: str) -> None:
    model = build_network("squeezenet1_1", 2)
    model.freeze_before(first)
    learning = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    start = f"features.{backbone_spec('squeezenet1_1').layers.get(first)}."
    assert learning[0].startswith((start, first, f"fc_layers.{first}"))
    assert frozen + learning == [name for name, _ in model.named_parameters()]


def test_unknown_layer_offers_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown layer 'fire5'") as error:
        build_network("squeezenet1_1", 2).freeze_before("fire5")
    assert "fc6" in error.value.hint


def test_unknown_backbone_offers_the_nearest() -> None:
    with pytest.raises(ConfigError) as error:
        backbone_spec("vgg61")
    assert "vgg16" in error.value.hint
