"""Image networks whose last layers halve the map once more, made of other libraries' models.

B: images, C: channels, H×W: pixels or cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..ops.depthwise import speed_up
from .folding import FixedNorm, fold_state


class FineAndCoarse(nn.Sequential):
    """Layers that halve the map; their result is enlarged and put beside the map that came in."""

    def forward(self, x: Tensor) -> Tensor:
        """From [B, C, H, W] to [B, C + C', H, W]."""
        return beside(x, super().forward(x))  # type: ignore[no-untyped-call]


def beside(fine: Tensor, coarse: Tensor) -> Tensor:
    """Put a map enlarged beside one of twice its size.

    Args:
        fine: [B, C, H, W]. coarse: [B, C', H / 2, W / 2], the sides rounded up or down; where they
            are rounded down, the last row or column is repeated.
    Returns:
        [B, C + C', H, W].
    """
    height, width = fine.shape[2:]
    # a file for ONNX is for all sizes, so it repeats the last row before it cuts off what is left
    always = torch.compiler.is_exporting()
    for dim, side in ((2, height), (3, width)):
        if always or 2 * coarse.shape[dim] < side:
            coarse = torch.cat([coarse, coarse.narrow(dim, coarse.shape[dim] - 1, 1)], dim=dim)
    coarse = F.interpolate(coarse, scale_factor=2.0, mode="nearest")
    return torch.cat([fine, coarse[:, :, :height, :width]], dim=1)


@dataclass(frozen=True)
class ConvertedModel:
    """The convolutions of another library's model, with fixed batch norms."""

    features: nn.Sequential
    names: Mapping[str, str]  # name of each tensor of `features` -> its name in the model
    norms: Sequence[FixedNorm]  # of the model as it was
    known: frozenset[str]  # names of all weights and biases in the model

    def from_imagenet(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of `features`, with "features." before each name.

        Args:
            state: the model's state dict, as its library has it. What is missing there is missing
                in the result.
        """
        folded = fold_state(state, self.norms)
        return {
            f"features.{own}": folded[theirs]
            for own, theirs in self.names.items()
            if theirs in folded
        }


def convert(
    model: nn.Module,
    norms: Sequence[FixedNorm],
    fine: Iterable[nn.Module],
    coarse: Sequence[nn.Module],
) -> ConvertedModel:
    """Make convolutions of some modules of a model.

    Args:
        model: after `fold_norms`. norms: what that returned.
        fine: the modules up to the map of the usual stride, in order; coarse: those after it, up to
            the map of twice the stride; may be empty.
    """
    features = nn.Sequential(*fine, *([FineAndCoarse(*coarse)] if coarse else []))
    speed_up(features)
    theirs = {id(tensor): name for name, tensor in model.state_dict(keep_vars=True).items()}
    own = features.state_dict(keep_vars=True)
    names = {name: theirs[id(own[name])] for name in own}
    return ConvertedModel(features, names, norms, frozenset(theirs.values()))
