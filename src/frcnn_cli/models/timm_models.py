"""Models of timm as image networks: `timm:resnet18`.

timm is imported when one of them is used. Only the names that it lists itself are accepted, never
addresses of files or of a hub, and only `imagenet_state` downloads anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError, FrcnnError, WeightsError, reason, unknown_name
from ..structures import PixelStatistics
from .folding import fold_norms
from .stages import ConvertedModel, beside, convert

PREFIX = "timm:"
STRIDE = 16  # input pixels per cell of the maps that are used
_FROZEN_STRIDE = 4  # stages with maps up to this stride are not trained by default
_NAME = re.compile(r"timm:\w{1,100}(\.\w{1,100})?", re.ASCII)  # a dot before the name of weights
_EXAMPLE = (64, 64)
_ODD_EXAMPLE = (75, 106)  # pixels; photographs have any sides
_HINT = "choose a convolutional model of timm, such as timm:resnet18"


@dataclass(frozen=True)
class TimmModel:
    """The convolutions of one of timm's models, with what describes them."""

    converted: ConvertedModel  # of the model as part of a `_Maps`
    channels: int
    layers: Mapping[str, int]  # name of a stage -> its first module in the convolutions
    first_trained: str  # one of `layers`
    pixels: PixelStatistics

    def from_imagenet(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `ConvertedModel`; `state` has timm's names."""
        return self.converted.from_imagenet({f"model.{key}": state[key] for key in state})


def is_timm_name(name: str) -> bool:
    """Whether a name has the form of one of timm's models; timm is not asked if there is one."""
    return _NAME.fullmatch(name) is not None


def timm_model(name: str) -> TimmModel:
    """Build the convolutions of a model, with random weights.

    The maps of stride 16 are used, beside those of stride 32 where the model has some. Where the
    model is a chain of modules, the chain is divided into stages, each up to one of its maps.

    Args:
        name: "timm:" and a name that timm lists.
    Raises:
        ConfigError: timm is not installed, lists no such model, or the model gives no such maps.
    """
    model = _create(name)
    try:
        return _described(name, model)
    except FrcnnError:
        raise
    except Exception as error:  # whatever one of a thousand models does with such an input
        raise _unfit(name, f"does not take images of every size: {reason(error)}") from None


def imagenet_state(name: str) -> dict[str, Tensor]:
    """The state dict of a model with ImageNet weights, which timm downloads unless it has them.

    Raises:
        ConfigError: see `timm_model`.
        WeightsError: there are none, or they cannot be downloaded.
    """
    timm = _timm()
    if not timm.is_model_pretrained(name.removeprefix(PREFIX)):
        raise WeightsError(
            f"timm has no weights of {name}", "give a file with --init, or --init random"
        )
    try:
        model = timm.create_model(name.removeprefix(PREFIX), pretrained=True)
    except Exception as error:  # of the hub's many types
        raise WeightsError(
            f"cannot download {name}: {reason(error)}", "give a file with --init, or --init random"
        ) from None
    return dict(model.state_dict())


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise ConfigError(
            f"timm's models need {error.name}, which is not installed",
            "pip install 'frcnn-cli[timm]'",
        ) from None
    return timm


def _create(name: str) -> nn.Module:
    """A model of timm with random weights, without classifier and dropout."""
    timm, bare = _timm(), name.removeprefix(PREFIX)
    architecture = bare.partition(".")[0]
    if not is_timm_name(name) or not timm.is_model(architecture):
        raise unknown_name("model of timm", bare, timm.list_models())
    weights = timm.list_pretrained(f"{architecture}.*")
    if architecture != bare and bare not in weights:
        raise unknown_name("model of timm", bare, [architecture, *weights])
    try:
        model: nn.Module = timm.create_model(bare, num_classes=0)
    except Exception as error:
        raise _unfit(name, f"cannot be built: {reason(error)}") from None
    for module in model.modules():  # random numbers that no seed determines
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        if hasattr(module, "drop_prob"):
            setattr(module, "drop_prob", 0.0)  # noqa: B010
    return model


def _unfit(name: str, why: str) -> ConfigError:
    return ConfigError(f"{name} {why}", _HINT)


class _Maps(nn.Module):
    """Maps of a model's intermediate layers."""

    def __init__(self, model: nn.Module, indices: Sequence[int] | None = None) -> None:
        super().__init__()
        self.model = model
        self.indices = indices

    def maps(self, images: Tensor) -> list[Tensor]:
        """The maps [B, C, H, W] of the layers in `indices`, or of all."""
        maps: list[Tensor] = self.model.forward_intermediates(  # type: ignore[operator]
            images, indices=self.indices, intermediates_only=True, stop_early=True
        )
        return maps

    def forward(self, images: Tensor) -> Tensor:
        """The last map of `indices`, enlarged and put beside the first where there are two."""
        maps = self.maps(images)
        return beside(maps[0], maps[-1]) if len(maps) > 1 else maps[0]


def _described(name: str, model: nn.Module) -> TimmModel:
    example = torch.zeros(1, 3, *_EXAMPLE)
    strides = _strides(name, model, example)
    fine = max((index for index, stride in strides.items() if stride == STRIDE), default=None)
    if fine is None:
        raise _unfit(name, f"has no maps of stride {STRIDE}")
    coarse = max((index for index, stride in strides.items() if stride == 2 * STRIDE), default=fine)
    indices = [fine, coarse] if coarse > fine else [fine]
    model.prune_intermediate_layers(indices, prune_norm=True)  # type: ignore[operator]
    maps = _Maps(model, indices)
    norms = fold_norms(maps, example)
    chain = _chain(maps, example, coarse)
    if chain is None:
        converted = convert(maps, norms, [maps], [])
        layers, first_trained = {"features": 0}, "features"
    else:
        end = chain.ends[fine]
        converted = convert(maps, norms, chain.modules[:end], _with_weights(chain.modules[end:]))
        layers = _stages(chain, indices)
        trained = {f"stage{i + 1}" for i, stride in strides.items() if stride > _FROZEN_STRIDE}
        first_trained = next(stage for stage in layers if stage in trained)
    mean, std = (
        tuple(255 * value for value in model.pretrained_cfg[key])  # type: ignore[index]
        for key in ("mean", "std")
    )
    return TimmModel(
        converted=converted,
        channels=_channels(name, converted.features),
        layers=layers,
        first_trained=first_trained,
        pixels=PixelStatistics(mean, std),
    )


@torch.no_grad()
def _strides(name: str, model: nn.Module, example: Tensor) -> dict[int, int]:
    """The strides of a model's maps, by their index."""
    if not hasattr(model, "forward_intermediates"):
        raise _unfit(name, "gives no maps of its intermediate layers")
    maps = _Maps(model.eval()).maps(example)
    sides = {index: tuple(each.shape[2:]) for index, each in enumerate(maps)}
    return {
        index: _EXAMPLE[0] // height
        for index, (height, width) in sides.items()
        if height == width and _EXAMPLE[0] % height == 0
    }


@torch.no_grad()
def _channels(name: str, features: nn.Sequential) -> int:
    """The channels of the maps of an image whose sides are no multiples of the stride."""
    maps = features.eval()(torch.zeros(1, 3, *_ODD_EXAMPLE))
    for cells, pixels in zip(maps.shape[2:], _ODD_EXAMPLE, strict=True):
        if cells not in (pixels // STRIDE, -(-pixels // STRIDE)):
            raise _unfit(name, f"makes {cells} cells of {pixels} pixels, which is not {STRIDE}")
    return int(maps.shape[1])


@dataclass(frozen=True)
class _Chain:
    """Modules each of which takes what the one before it gives, and nothing else."""

    modules: Sequence[nn.Module]
    ends: Mapping[int, int]  # index of a map -> number of modules up to it


@torch.no_grad()
def _chain(maps: _Maps, example: Tensor, last: int) -> _Chain | None:
    """The modules that a model is a chain of, up to its map `last`; None where it is none."""
    calls: list[tuple[nn.Module, tuple[Any, ...], Any, Any]] = []
    with ExitStack() as stack:
        for child in _children(maps.model):
            hook = child.register_forward_hook(lambda *call: calls.append(call), with_kwargs=True)
            stack.callback(hook.remove)
        found = dict(enumerate(_Maps(maps.model, [*range(last + 1)]).maps(example)))
    x = example
    for _, inputs, options, output in calls:
        if options or len(inputs) != 1 or inputs[0] is not x:
            return None
        x = output
    modules = [module for module, *_ in calls]
    ends = {
        index: number
        for index, each in found.items()
        for number, (*_, output) in enumerate(calls, start=1)
        if output is each  # the last of them: modules that change it in place give it too
    }
    if len(set(modules)) < len(modules) or not ends.keys() >= {*(maps.indices or ()), last}:
        return None
    return _Chain(modules[: ends[last]], ends)


def _children(model: nn.Module) -> Iterator[nn.Module]:
    """The modules of a model; those inside its sequences and lists in the place of these."""
    for child in model.children():
        if type(child) in (nn.Sequential, nn.ModuleList):
            yield from child.children()
        else:
            yield child


def _with_weights(modules: Sequence[nn.Module]) -> Sequence[nn.Module]:
    """Modules that only pool, as VGG's last, say nothing new: they are left out."""
    return modules if any(True for module in modules for _ in module.parameters()) else ()


def _stages(chain: _Chain, indices: Sequence[int]) -> dict[str, int]:
    """The first module with weights of each stage; stage N ends with the map of index N - 1.

    Args:
        indices: of the map of stride 16, and of the one that is put beside it, if there is one.
    """
    layers, start = {}, 0
    for index in (*range(indices[0] + 1), *indices[1:]):
        end = chain.ends.get(index, start)
        for position in range(start, end):
            if any(True for _ in chain.modules[position].parameters()):
                layers[f"stage{index + 1}"] = position
                break
        start = end
    return layers
