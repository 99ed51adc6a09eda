"""Batch norms with fixed statistics: folded into the convolution before them, or frozen.

Batches of two images are too small for batch normalisation to go on during training, and a
convolution that contains the norm after it is quicker.

B: images, C: channels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from ..errors import ConfigError

_FROZEN_KINDS = ("FrozenBatchNorm2d", "FrozenBatchNormAct2d")  # of torchvision and of timm


@dataclass(frozen=True)
class FixedNorm:
    """A batch norm that is folded into a convolution or frozen, by the names in its model."""

    name: str
    epsilon: float
    convolution: str | None  # that contains it; None: it is frozen
    is_affine: bool = True  # it has a gain and a bias


class FrozenNorm(nn.Sequential):
    """A batch norm with fixed statistics: a factor and a term for each channel.

    Args:
        after: what follows inside the norm, as the activation of timm's.
    """

    def __init__(self, channels: int, after: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, module in after.items():
            self.add_module(name, module)
        self.weight: Tensor
        self.bias: Tensor
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Scale and shift [B, C, ...]."""
        shape = (-1, *[1] * (x.dim() - 2))
        x = x * self.weight.view(shape) + self.bias.view(shape)
        return super().forward(x)  # type: ignore[no-untyped-call]


def fold_norms(model: nn.Module, example: Tensor) -> list[FixedNorm]:
    """Replace the batch norms of a model, in place; it computes what it does in evaluation.

    A norm is folded into a convolution if it takes that one's output and nothing else does. Other
    norms are frozen.

    Args:
        example: an input of the model, which is run on it once.
    Returns:
        What was done, for `fold_state`.
    Raises:
        ConfigError: a norm has no fixed statistics.
    """
    norms = _fixed_norms(model, example)
    state = fold_state(model.state_dict(), norms)
    for norm in norms:
        old = model.get_submodule(norm.name)
        after = {name: getattr(old, name) for name in ("drop", "act") if hasattr(old, name)}
        channels = len(state[f"{norm.convolution or norm.name}.bias"])
        if norm.convolution is None:
            new: nn.Module = FrozenNorm(channels, after)
        else:
            new = nn.Sequential()  # which gives back its input where nothing is in it
            for name, module in after.items():
                new.add_module(name, module)
            convolution = model.get_submodule(norm.convolution)
            convolution.bias = nn.Parameter(torch.empty(channels))
        model.set_submodule(norm.name, new)
    model.load_state_dict(state)
    return norms


def fold_state(state: Mapping[str, Tensor], norms: Sequence[FixedNorm]) -> dict[str, Tensor]:
    """The weights of a model whose batch norms `fold_norms` has replaced.

    Args:
        state: the state dict of the model as it was. The weights that belong to a norm are missing
            in the result where a part of it is missing or of another shape.
    """
    folded = dict(state)
    for norm in norms:
        values = _factor_and_term(folded, norm)
        if norm.convolution is None:
            if values is not None:
                folded[f"{norm.name}.weight"], folded[f"{norm.name}.bias"] = values
            continue
        weight = folded.pop(f"{norm.convolution}.weight", None)
        bias = folded.pop(f"{norm.convolution}.bias", None)
        if weight is None or weight.dim() != 4 or values is None:
            continue
        if values[0].shape != weight.shape[:1]:
            continue
        factor, term = values
        if bias is not None:
            term = term + bias * factor
        folded[f"{norm.convolution}.weight"] = weight.float() * factor[:, None, None, None]
        folded[f"{norm.convolution}.bias"] = term
    return folded


def _factor_and_term(state: dict[str, Tensor], norm: FixedNorm) -> tuple[Tensor, Tensor] | None:
    """What a norm multiplies each channel by and adds to it; its tensors are taken from `state`.

    Returns:
        Two tensors [C]; None where a part of the norm is missing or of another shape.
    """
    names = ("running_mean", "running_var", "weight", "bias", "num_batches_tracked")
    mean, variance, gain, bias, _ = (state.pop(f"{norm.name}.{name}", None) for name in names)
    if mean is None or variance is None:
        return None
    if not norm.is_affine:
        gain, bias = torch.ones_like(mean), torch.zeros_like(mean)
    if gain is None or bias is None or not mean.shape == variance.shape == gain.shape == bias.shape:
        return None
    factor = gain.float() / (variance.float() + norm.epsilon).sqrt()
    return factor, bias.float() - mean.float() * factor


def _fixed_norms(model: nn.Module, example: Tensor) -> list[FixedNorm]:
    """The batch norms of a model, each with the convolution that it can be folded into."""
    norms = {name: module for name, module in model.named_modules() if _is_batch_norm(module)}
    for name, norm in norms.items():
        if norm.running_mean is None:
            raise ConfigError(
                f"the batch norm {name} has no fixed statistics", "choose another network"
            )
    uses = _Uses(norms)
    training = model.training
    with torch.no_grad(), uses.recorded():
        model.eval()(example)
    model.train(training)
    convolutions = {
        id(module.weight): name
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d)
    }
    return [
        FixedNorm(
            name, norm.eps, convolutions.get(uses.weight_before(name)), norm.weight is not None
        )
        for name, norm in norms.items()
    ]


def _is_batch_norm(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm) or type(module).__name__ in _FROZEN_KINDS


class _Uses(TorchFunctionMode):
    """Records what happens to the outputs of convolutions while a model runs.

    Tensors are told apart by their identity, so all outputs are kept until the end.
    """

    def __init__(self, norms: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self._norms = norms
        self._inside: str | None = None  # the norm that runs now
        self._outputs: dict[int, tuple[Tensor, Tensor]] = {}  # with the weights that made each
        self._made: Counter[int] = Counter()  # outputs by the identity of the weights
        self._used: set[int] = set()  # outputs that others than norms take
        self._inputs: dict[str, list[int]] = {name: [] for name in norms}  # of the norms

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Record in this block."""
        with ExitStack() as stack:
            for name, norm in self._norms.items():
                before = norm.register_forward_pre_hook(partial(self._enter, name))
                stack.callback(before.remove)
                stack.callback(norm.register_forward_hook(self._leave).remove)
            stack.enter_context(self)
            yield

    def _enter(self, name: str, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._inside = name
        self._inputs[name].append(id(inputs[0]))

    def _leave(self, *_: object) -> None:
        self._inside = None

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if self._inside is None:
            self._used |= self._outputs.keys() & {id(leaf) for leaf in tree_leaves((args, kwargs))}
        result = function(*args, **(kwargs or {}))
        if function is torch.conv2d:
            self._outputs[id(result)] = (result, args[1])
            self._made[id(args[1])] += 1
        return result

    def weight_before(self, norm: str) -> int:
        """The identity of the weights whose only output only that norm takes; 0 without."""
        inputs = self._inputs[norm]
        takers = sum(each.count(inputs[0]) for each in self._inputs.values()) if inputs else 0
        if len(inputs) != 1 or takers != 1 or inputs[0] not in self._outputs.keys() - self._used:
            return 0
        weight = id(self._outputs[inputs[0]][1])
        return weight if self._made[weight] == 1 else 0
