"""EfficientNet-Lite (Tan and Le 2019; TensorFlow's Lite variant) as a backbone.

It has no squeeze-and-excite, and ReLU6 in the place of Swish. The batch norms are folded into the
convolutions. Stages 1 to 5 give maps of stride 16, stages 6 and 7 of stride 32; both are used: the
coarse map is enlarged to the size of the fine one.

B: images, C: channels, H×W: pixels or cells.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from ..ops import fused_conv
from ..ops.depthwise import depthwise_convolution
from .folding import FixedNorm, fold_state
from .stages import FineAndCoarse

_EPSILON = 1e-3  # of the batch norms
_STEM = 32  # channels


@dataclass(frozen=True)
class _Stage:
    blocks: int
    kernel: int
    stride: int  # of the first block
    expansion: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
FINE_STAGES = 5  # up to stride 16


def scaled_stages(width: float, depth: float) -> list[_Stage]:
    """The stages of a network whose channels and blocks are multiplied.

    The numbers of blocks of the first and the last stage stay.
    """
    stages = []
    for number, stage in enumerate(_STAGES):
        ends = number in (0, len(_STAGES) - 1)
        blocks = stage.blocks if ends else math.ceil(depth * stage.blocks)
        channels = _multiple_of_eight(width * stage.channels)
        stages.append(_Stage(blocks, stage.kernel, stage.stride, stage.expansion, channels))
    return stages


def _multiple_of_eight(channels: float) -> int:
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


class Convolution(nn.Conv2d):
    """A convolution padded as in TensorFlow ("same"), with a ReLU6 after it where `relu6` is set.

    The result has ceil(H / stride) rows. At stride 2 an even number of rows is padded by one less
    before the first row than after the last.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        *,
        groups: int = 1,
        relu6: bool,
    ) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups)
        self.relu6 = relu6

    def forward(self, x: Tensor) -> Tensor:
        """From [B, inputs, H, W] to [B, outputs, H', W']."""
        height, width = x.shape[2:]
        after, strided = self.kernel_size[0] // 2, self.stride != (1, 1)
        if self.relu6 and fused_conv.can_fuse(x, self.weight):
            # a row and a column of zeros in the weights allow as much padding before as after
            larger = (1 - width % 2, 0, 1 - height % 2, 0)
            weight = F.pad(self.weight, larger) if strided else self.weight
            return fused_conv.convolve(
                x, weight, self.bias, "relu6",
                stride=self.stride, padding=(after, after), groups=self.groups,
            )  # fmt: skip
        if strided:
            x = F.pad(x, (after - 1 + width % 2, after, after - 1 + height % 2, after))
        x = depthwise_convolution(self, x) if self.groups > 1 else super().forward(x)
        return F.relu6(x, inplace=True) if self.relu6 else x


class InvertedResidual(nn.Module):
    """1×1 convolution to many channels, depthwise convolution, 1×1 convolution to few (Sandler et
    al. 2018); the input is added where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        if expansion > 1:
            self.expand: nn.Module = Convolution(inputs, wide, 1, relu6=True)
        else:
            self.expand = nn.Identity()
        self.depthwise = Convolution(wide, wide, kernel, stride, groups=wide, relu6=True)
        self.project = Convolution(wide, outputs, 1, relu6=False)
        self.adds_input = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """From [B, inputs, H, W] to [B, outputs, H', W']."""
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return out + x if self.adds_input else out


def _blocks(stages: list[_Stage]) -> Iterator[list[nn.Module]]:
    """The blocks of each stage."""
    inputs = _STEM
    for stage in stages:
        blocks: list[nn.Module] = []
        for number in range(stage.blocks):
            stride = 1 if number else stage.stride
            blocks.append(
                InvertedResidual(inputs, stage.channels, stage.kernel, stride, stage.expansion)
            )
            inputs = stage.channels
        yield blocks


def efficientnet_lite(stages: list[_Stage]) -> nn.Sequential:
    """The convolutions: stem, the blocks of the fine stages, and the coarse stages."""
    blocks = list(_blocks(stages))
    fine = [block for stage in blocks[:FINE_STAGES] for block in stage]
    coarse = [block for stage in blocks[FINE_STAGES:] for block in stage]
    return nn.Sequential(Convolution(3, _STEM, 3, 2, relu6=True), *fine, FineAndCoarse(*coarse))


def channels_of(stages: list[_Stage]) -> int:
    """The channels of both maps together."""
    return stages[FINE_STAGES - 1].channels + stages[-1].channels


def layers_of(stages: list[_Stage]) -> dict[str, int]:
    """Names for groups of convolutions, with the first module of each; stages 6 and 7 are one."""
    layers, first = {"stem": 0}, 1
    for number, stage in enumerate(stages[:FINE_STAGES], start=1):
        layers[f"stage{number}"] = first
        first += stage.blocks
    return {**layers, f"stage{FINE_STAGES + 1}": first}


def from_imagenet(state: Mapping[str, Tensor], stages: list[_Stage]) -> dict[str, Tensor]:
    """Fold the batch norms of ImageNet weights, and name them as `efficientnet_lite` does.

    Args:
        state: a state dict with the names of lukemelas' EfficientNet-PyTorch.
    Returns:
        The weights of the convolutions, with "features." before each name. What is missing in
        `state` is missing here.
    """
    fine = sum(stage.blocks for stage in stages[:FINE_STAGES])
    total = sum(stage.blocks for stage in stages)
    sources = {"features.0": ("_conv_stem", "_bn0")}
    for number in range(total):
        place = f"{number + 1}" if number < fine else f"{fine + 1}.{number - fine}"
        for layer, conv, norm in (
            ("expand", "_expand_conv", "_bn0"),
            ("depthwise", "_depthwise_conv", "_bn1"),
            ("project", "_project_conv", "_bn2"),
        ):
            block = f"_blocks.{number}."
            sources[f"features.{place}.{layer}"] = (block + conv, block + norm)
    norms = [FixedNorm(norm, _EPSILON, conv) for conv, norm in sources.values()]
    folded = fold_state(state, norms)
    return {
        f"{name}.{part}": folded[f"{conv}.{part}"]
        for name, (conv, _) in sources.items()
        for part in ("weight", "bias")
        if f"{conv}.{part}" in folded
    }
