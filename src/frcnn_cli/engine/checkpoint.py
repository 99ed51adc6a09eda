"""Weights on disk: safetensors, with all that is needed to use them in the header.

The tensors of a file are believed only where they fit the network that its header describes;
nothing is unpickled.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..config import MAX_SIDE
from ..errors import FrcnnError, WeightsError, reason
from ..models import fast_rcnn, low_rank
from ..models.backbones import BACKBONES, Backbone, backbone
from ..models.fast_rcnn import FastRCNN

FORMAT = "frcnn-1"
BOTH_HEADS = "frcnn-2"  # the same with the layers of `screen`, which programs before it do not know
_KEY = "frcnn"  # of the header in the file's metadata
_MAX_CLASSES = 10_000


@dataclass(frozen=True)
class WeightsHeader:
    """What a weights file says of itself."""

    backbone: str
    classes: tuple[str, ...]  # K names, label 1 first
    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[float, float, float]
    scale: int  # pixels of the shorter side in training
    max_size: int  # pixels of the longer side at most
    ranks: dict[str, int] = field(default_factory=dict)  # of the compressed layers
    provenance: dict[str, object] = field(default_factory=dict)  # data, recipe, history: for people
    screen: dict[str, int] = field(default_factory=dict)  # ranks of the head that chooses RoIs


def save_weights(path: Path, model: FastRCNN, header: WeightsHeader, half: bool = False) -> None:
    """Write a weights file; it replaces `path` only when it is complete.

    Args:
        half: float16 tensors instead of float32.
    Raises:
        WeightsError: a weight is not finite in that precision.
        FrcnnError: see `write_atomically`.
    """
    dtype = torch.float16 if half else torch.float32
    tensors = {
        key: tensor.to(dtype).contiguous()
        for key, tensor in model.state_dict().items()
        if header.screen or not key.startswith("screen.")
    }
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        kind = "float16" if half else "float32"
        raise WeightsError(f"a weight is NaN, infinite or too large for {kind}", "train again")
    described = {"format": BOTH_HEADS, **asdict(header)}
    if not header.screen:
        described["format"] = FORMAT
        del described["screen"]
    metadata = {_KEY: json.dumps(described)}
    write_atomically(path, lambda part: save_file(tensors, part, metadata))


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a file beside `path`, then put it in its place.

    Raises:
        FrcnnError: the disk is full or the folder cannot be written to; `path` is as it was.
    """
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name[:40]}.", suffix=".part"
        )
        os.close(handle)
        part = Path(name)
        write(part)
        part.chmod(0o644)
        os.replace(part, path)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise FrcnnError(f"cannot write {path}: {error}", "check the space on the disk") from None
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def load_weights(path: Path) -> tuple[FastRCNN, WeightsHeader]:
    """Build the network that a file describes and fill it.

    Raises:
        WeightsError: not such a file, damaged, or its tensors are not those of its header.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            header = _parse_header(path, metadata.get(_KEY, ""))
            with _Unfilled():
                model = _skeleton(header)
            keys = file.keys()
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in keys}
            _check_shapes(path, model, shapes)
            # copies: the network outlives the file, which may be cut short meanwhile
            tensors = {key: file.get_tensor(key).to(torch.float32, copy=True) for key in shapes}
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is not a weights file that can be read: {error}",
            "expected a .safetensors file written by frcnn train or frcnn compress",
        ) from None
    model.load_state_dict(tensors, assign=True)
    if not all(map(_finite, tensors.values())):
        raise WeightsError(f"{path} holds NaN or infinite weights", "train again")
    return model.eval(), header


def _finite(tensor: Tensor) -> bool:
    """Whether all elements are; a finite sum, which is ten times quicker to find, says so."""
    return bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all())


def read_header(path: Path) -> WeightsHeader:
    """What a weights file says of itself; its tensors are not looked at.

    Raises:
        WeightsError: not such a file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return _parse_header(path, (file.metadata() or {}).get(_KEY, ""))
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is not a weights file that can be read: {reason(error)}",
            "expected a .safetensors file",
        ) from None


def _parse_header(path: Path, text: str) -> WeightsHeader:
    hint = "expected a .safetensors file written by frcnn train or frcnn compress"
    try:
        data = json.loads(text)
        wanted = BOTH_HEADS if data.get("screen") else FORMAT
        if data.pop("format") != wanted or not isinstance(data["classes"], list):
            raise ValueError("another format")
        data["screen"] = {str(layer): int(rank) for layer, rank in data.get("screen", {}).items()}
        data["classes"] = tuple(data["classes"])
        data["pixel_mean"] = tuple(float(value) for value in data["pixel_mean"])
        data["pixel_std"] = tuple(float(value) for value in data["pixel_std"])
        data["ranks"] = {str(layer): int(rank) for layer, rank in data["ranks"].items()}
        header = WeightsHeader(**data)
        if header.backbone not in BACKBONES:
            known = f"known: {', '.join(BACKBONES)}"
            raise WeightsError(f"{path} is for a backbone {header.backbone!r}, unknown here", known)
        sane = (
            1 <= len(set(header.classes)) == len(header.classes) <= _MAX_CLASSES
            and all(isinstance(name, str) for name in header.classes)
            and len(header.pixel_mean) == len(header.pixel_std) == 3
            and all(math.isfinite(value) for value in header.pixel_mean)
            and all(0 < value < math.inf for value in header.pixel_std)
            and isinstance(header.scale, int)
            and isinstance(header.max_size, int)
            and 1 <= header.scale <= header.max_size <= MAX_SIDE
            and isinstance(header.provenance, dict)
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        sane = False
    if not sane:
        raise WeightsError(f"{path} has no header of frcnn: weights of another program?", hint)
    return header


class _Unfilled(TorchFunctionMode):
    """Layers made under it are not given random weights, which take longer than reading a file."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = kwargs or {}
        init = nn.init
        if function in (init.kaiming_uniform_, init.uniform_, init.normal_, Tensor.normal_):
            return given["tensor"] if "tensor" in given else args[0]
        return function(*args, **given)


def _skeleton(header: WeightsHeader) -> FastRCNN:
    """The network that a header describes, not filled yet."""
    model = fast_rcnn.build(header.backbone, len(header.classes))
    make_low_rank(model, header.ranks)
    add_screen(model, header.screen)
    return model


def make_low_rank(model: FastRCNN, ranks: Mapping[str, int]) -> None:
    """Give layers the shape of these ranks; their weights are still to be filled in.

    Raises:
        WeightsError: the network has no such layer, or it cannot have the rank.
    """
    model.fc_layers.update(_low_rank_layers(model, ranks))


def add_screen(model: FastRCNN, ranks: Mapping[str, int]) -> None:
    """Give a network layers of these ranks beside its own; their weights are to be filled in.

    Raises:
        WeightsError: see `make_low_rank`.
    """
    model.screen.update(_low_rank_layers(model, ranks))


def _low_rank_layers(model: FastRCNN, ranks: Mapping[str, int]) -> dict[str, nn.Module]:
    layers: dict[str, nn.Module] = {}
    for name, rank in ranks.items():
        layer = dict(model.fc_layers.items()).get(name)
        if not isinstance(layer, nn.Linear) or not 1 <= rank <= min(layer.weight.shape):
            raise WeightsError(
                f"the header asks for rank {rank} of a layer {name!r} that cannot have it",
                "the file is damaged: train or compress again",
            )
        layers[name] = low_rank.low_rank_layer(layer.in_features, layer.out_features, rank)
    return layers


def _check_shapes(path: Path, model: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> None:
    wanted = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    for key in wanted.keys() | shapes.keys():
        if wanted.get(key) != shapes.get(key):
            raise WeightsError(
                f"{path} does not fit its own header: {key} should be {wanted.get(key)}, "
                f"is {shapes.get(key)}",
                "the file is damaged or was changed: train or compress again",
            )


def load_state_dict(path: Path) -> dict[str, Tensor]:
    """A bare state dict: .safetensors, or a .pth read with weights_only.

    Raises:
        WeightsError: it is neither, or holds anything but tensors.
    """
    hint = "expected a state dict of tensors, as torchvision saves it"
    if not path.is_file():
        raise WeightsError(f"no weights file {path}", "check the path")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                if _KEY in (file.metadata() or {}):
                    raise WeightsError(f"{path} is a trained detector, not ImageNet weights", hint)
                keys = file.keys()
                return {key: file.get_tensor(key) for key in keys}
        state = torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except Exception as error:  # torch.load raises a dozen kinds for a damaged or hostile file
        raise WeightsError(f"{path} cannot be read: {reason(error)}", hint) from None
    named = isinstance(state, dict) and all(isinstance(key, str) for key in state)
    if not named or not all(map(_plain, state.values())):
        raise WeightsError(f"{path} holds something else than plain tensors by name", hint)
    return state


def _plain(value: object) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
        and not value.is_complex()
    )


def bins_first(weight: Tensor, row: Backbone) -> Tensor:
    """Weights of fc6 [U, C * P * P] that read channel by channel, reordered to (P, P, C)."""
    bins = row.pooled_size
    by_bin = weight.view(-1, row.channels, bins, bins).permute(0, 2, 3, 1)
    return by_bin.reshape(weight.shape)


def initialise(model: FastRCNN, state: Mapping[str, Tensor], backbone_name: str) -> list[str]:
    """Copy ImageNet weights into a new network.

    The features must all be there. fc6, fc7 are taken from the classifier where the row names its
    layers and the file has them in the right size; fc6 is reordered from channel by channel to
    bin by bin.

    Returns:
        The names of the fully connected layers that were filled.
    Raises:
        WeightsError: a tensor of the features is missing or of another shape.
    """
    row = backbone(backbone_name)
    own = model.features.state_dict()
    given = {key: state.get(row.prefix + key) for key in own}
    for key, tensor in own.items():
        value = given[key]
        if value is None or value.shape != tensor.shape:
            found = "missing" if value is None else f"of shape {tuple(value.shape)}"
            raise WeightsError(
                f"weights of another model: {row.prefix}{key} is {found}, "
                f"{backbone_name} needs {tuple(tensor.shape)}",
                f"give ImageNet weights of {backbone_name}",
            )
    model.features.load_state_dict(given)
    filled = []
    for name, source in zip(model.fc_layers, row.classifier, strict=False):
        weight, bias = state.get(f"{source}.weight"), state.get(f"{source}.bias")
        layer = model.fc_layers[name]
        assert isinstance(layer, nn.Linear)
        shapes = [None if value is None else value.shape for value in (weight, bias)]
        if weight is None or bias is None or shapes != [layer.weight.shape, layer.bias.shape]:
            continue
        if name == "fc6":
            weight = bins_first(weight, row)
        with torch.no_grad():
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
        filled.append(name)
    return filled
