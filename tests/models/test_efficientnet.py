"""EfficientNet-Lite against convolutions and batch norms that are not folded, padded as TensorFlow
pads."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from frcnn_cli.errors import WeightsError
from frcnn_cli.models import efficientnet
from frcnn_cli.models.backbones import BACKBONES

# (kernel, stride, expansion, inputs, outputs) of each block of Lite0, from table 1 of the paper
LITE0 = [
    (3, 1, 1, 32, 16),
    (3, 2, 6, 16, 24), (3, 1, 6, 24, 24),
    (5, 2, 6, 24, 40), (5, 1, 6, 40, 40),
    (3, 2, 6, 40, 80), (3, 1, 6, 80, 80), (3, 1, 6, 80, 80),
    (5, 1, 6, 80, 112), (5, 1, 6, 112, 112), (5, 1, 6, 112, 112),
    (5, 2, 6, 112, 192), (5, 1, 6, 192, 192), (5, 1, 6, 192, 192), (5, 1, 6, 192, 192),
    (3, 1, 6, 192, 320),
]  # fmt: skip
FINE_BLOCKS = 11


def random_state() -> dict[str, Tensor]:
    """ImageNet weights that are not: random ones by the names of their file."""
    generator = torch.Generator().manual_seed(1)
    state: dict[str, Tensor] = {}

    def add(conv: str, norm: str, outputs: int, inputs: int, kernel: int) -> None:
        shape = (outputs, inputs, kernel, kernel)
        spread = (2 / (inputs * kernel**2)) ** 0.5
        state[f"{conv}.weight"] = spread * torch.randn(shape, generator=generator)
        state[f"{norm}.weight"] = torch.rand(outputs, generator=generator) + 0.5
        state[f"{norm}.bias"] = torch.rand(outputs, generator=generator) - 0.3
        state[f"{norm}.running_mean"] = torch.rand(outputs, generator=generator) - 0.5
        state[f"{norm}.running_var"] = torch.rand(outputs, generator=generator) + 0.5

    add("_conv_stem", "_bn0", 32, 3, 3)
    for number, (kernel, _, expansion, inputs, outputs) in enumerate(LITE0):
        block, wide = f"_blocks.{number}.", inputs * expansion
        if expansion > 1:
            add(block + "_expand_conv", block + "_bn0", wide, inputs, 1)
        add(block + "_depthwise_conv", block + "_bn1", wide, 1, kernel)
        add(block + "_project_conv", block + "_bn2", outputs, wide, 1)
    return state


def convolve(
    x: Tensor, state: Mapping[str, Tensor], conv: str, norm: str, stride: int = 1, groups: int = 1
) -> Tensor:
    """A convolution with TensorFlow's padding "same", and a batch norm."""
    weight = state[f"{conv}.weight"]
    pads = []
    for size in (x.shape[3], x.shape[2]):
        total = max((math.ceil(size / stride) - 1) * stride + weight.shape[2] - size, 0)
        pads += [total // 2, total - total // 2]
    x = F.conv2d(F.pad(x, pads), weight, stride=stride, groups=groups)
    keys = ("running_mean", "running_var", "weight", "bias")
    return F.batch_norm(x, *(state[f"{norm}.{key}"] for key in keys), eps=1e-3)


def reference(images: Tensor, state: Mapping[str, Tensor]) -> Tensor:
    x = convolve(images, state, "_conv_stem", "_bn0", stride=2).clamp(0, 6)
    fine = x
    for number, (_, stride, expansion, inputs, outputs) in enumerate(LITE0):
        block, wide, before = f"_blocks.{number}.", inputs * expansion, x
        if expansion > 1:
            x = convolve(x, state, block + "_expand_conv", block + "_bn0").clamp(0, 6)
        x = convolve(x, state, block + "_depthwise_conv", block + "_bn1", stride, wide).clamp(0, 6)
        x = convolve(x, state, block + "_project_conv", block + "_bn2")
        if stride == 1 and inputs == outputs:
            x = x + before
        if number == FINE_BLOCKS - 1:
            fine = x
    coarse = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    return torch.cat([fine, coarse[:, :, : fine.shape[2], : fine.shape[3]]], dim=1)


@pytest.mark.parametrize("size", [(64, 96), (70, 85), (33, 47)])
def test_the_folded_network_gives_what_batch_norms_give(size) -> None:
    spec = BACKBONES["efficientnet_lite0"]
    state = random_state()
    assert spec.from_imagenet is not None
    folded = spec.from_imagenet(state)
    features = spec.features()
    features.load_state_dict({name.removeprefix("features."): t for name, t in folded.items()})
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(2))
    expected = reference(images, state)
    with torch.no_grad():
        found = features(images)
    assert found.shape == (2, spec.channels, *(math.ceil(side / 16) for side in size))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


def test_the_larger_network_has_the_channels_of_its_paper() -> None:
    stages = efficientnet.scaled_stages(1.1, 1.2)
    assert [stage.channels for stage in stages] == [16, 24, 48, 88, 120, 208, 352]
    assert [stage.blocks for stage in stages] == [1, 3, 3, 4, 4, 5, 1]


def test_layers_name_the_first_block_of_each_stage() -> None:
    spec = BACKBONES["efficientnet_lite0"]
    features = spec.features()
    assert spec.layers == {
        "stem": 0, "stage1": 1, "stage2": 2, "stage3": 4, "stage4": 6, "stage5": 9, "stage6": 12,
    }  # fmt: skip
    assert isinstance(features[12], efficientnet.FineAndCoarse)
    assert len(features) == 13


def test_weights_without_some_norms_are_refused() -> None:
    from frcnn_cli.checkpoints.pretrained import initialise
    from frcnn_cli.models.detectors import build_network

    spec = BACKBONES["efficientnet_lite0"]
    state = random_state()
    del state["_blocks.3._bn1.running_var"]
    assert spec.from_imagenet is not None
    with pytest.raises(WeightsError, match=r"features.4.depthwise.weight is missing"):
        initialise(build_network("efficientnet_lite0", 2), state)
