from __future__ import annotations

import pytest
import torch
from torch import nn

from frcnn_cli.errors import WeightsError
from frcnn_cli.models.backbones import BACKBONES
from frcnn_cli.models.detectors import build_network
from frcnn_cli.models.stages import FineAndCoarse, beside


@pytest.mark.parametrize(("height", "width"), [(4, 6), (5, 6), (5, 7), (1, 3)])
@pytest.mark.parametrize("rounds_up", [True, False])
def test_the_coarse_map_lies_over_the_fine_one(height: int, width: int, rounds_up: bool) -> None:
    rows, columns = ((side + rounds_up) // 2 or 1 for side in (height, width))
    fine, coarse = torch.randn(2, 3, height, width), torch.randn(2, 4, rows, columns)
    both = beside(fine, coarse)
    assert both.shape == (2, 7, height, width)
    assert torch.equal(both[:, :3], fine)
    for y in range(height):
        for x in range(width):
            cell = coarse[:, :, min(y // 2, rows - 1), min(x // 2, columns - 1)]
            assert torch.equal(both[:, 3:, y, x], cell)


def test_a_convolution_that_floors() -> None:
    layers = FineAndCoarse(nn.Conv2d(3, 2, 2, stride=2))
    with torch.no_grad():
        assert layers(torch.randn(1, 3, 5, 9)).shape == (1, 5, 5, 9)


def torchvision_model(name: str) -> nn.Module:
    """A model of torchvision with random weights and statistics."""
    from torchvision import models

    torch.manual_seed(2)
    model = getattr(models, name)()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
    return model.eval()


@pytest.mark.parametrize(
    ("name", "fine", "end"),
    [
        ("mobilenet_v3_large", 13, 16),
        ("convnext_tiny", 6, 8),
        ("resnet18", 7, 8),
        ("resnet50", 7, 8),
    ],
)
def test_the_maps_are_those_of_torchvisions_model(name: str, fine: int, end: int) -> None:
    model, spec = torchvision_model(name), BACKBONES[name]
    assert spec.from_imagenet is not None
    features = spec.features()
    state = spec.from_imagenet(model.state_dict())
    features.load_state_dict({key.removeprefix("features."): state[key] for key in state})
    images = torch.randn(1, 3, 75, 106)
    with torch.no_grad():
        layers = getattr(model, "features", None) or nn.Sequential(*model.children())
        first = layers[:fine](images)
        expected = beside(first, layers[fine:end](first))
        found = features.train()(images)  # nothing is random during training
    assert found.shape[1] == spec.channels
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


@pytest.mark.parametrize(
    ("name", "deeper"), [("resnet18", "resnet34"), ("convnext_tiny", "convnext_small")]
)
def test_weights_of_a_deeper_model_are_refused(name: str, deeper: str) -> None:
    from torchvision import models

    from frcnn_cli.checkpoints.pretrained import initialise

    with torch.device("meta"):
        state, network = getattr(models, deeper)().state_dict(), build_network(name, 2)
    with pytest.raises(WeightsError, match="weights of another model"):
        initialise(network, state)


def test_weights_without_a_norm_are_refused() -> None:
    state = torchvision_model("mobilenet_v3_large").state_dict()
    from frcnn_cli.checkpoints.pretrained import initialise

    network = build_network("mobilenet_v3_large", 2)
    initialise(network, state)
    del state["features.4.block.1.1.running_var"]
    with pytest.raises(WeightsError, match=r"features.4.block.1.0.weight is missing"):
        initialise(network, state)
