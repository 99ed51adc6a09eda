"""Converting weights of other programs: Girshick's Caffe models, and state dicts of torch.

Both are brought to torchvision's names first: `features.0.weight`, `classifier.0.weight`, with
`cls_score` and `bbox_pred` beside them where the file holds a detector. Caffe differs in this:

- the channels of an image are blue, green, red, so those of the first convolution are reversed;
- fc6 reads the RoI features channel by channel, as torchvision's does; ours reads them in the order
  of the region operator;
- boxes start at 0 as ours do, but end at their last pixel where ours end behind it, and max pooling
  rounds up: the header of the weights file says so, with the geometry "caffe".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import ConfigError, WeightsError
from ..models.backbones import BACKBONES, backbone_spec
from ..models.detectors import build_network
from ..models.region_network import RegionNetwork
from ..runtime.files import write_atomically
from ..structures import unfit_class_name
from .caffe import Blob, read_caffemodel
from .pretrained import PIXELS, initialise, load_state_dict
from .weights import WeightsHeader, save_weights

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
CAFFE_CONVOLUTIONS: dict[str, tuple[str, ...]] = {
    "vgg16": (
        "conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3", "conv4_1",
        "conv4_2", "conv4_3", "conv5_1", "conv5_2", "conv5_3",
    ),
    "vgg_cnn_m_1024": ("conv1", "conv2", "conv3", "conv4", "conv5"),
}  # fmt: skip
OUTPUT_LAYERS = ("cls_score", "bbox_pred")

State = dict[str, Tensor]


@dataclass(frozen=True)
class ConvertedWeights:
    """What was read from a file of another program and written as a weights file."""

    backbone: str  # key of BACKBONES
    header: WeightsHeader | None  # None: ImageNet weights, to initialise a training run with


def import_weights(
    file: Path,
    target: Path,
    *,
    backbone_name: str | None,
    classes: Sequence[str],
    pixels: str | None,
    scale: int,
    max_size: int,
) -> ConvertedWeights:
    """Convert weights of another program to a weights file.

    Args:
        file: .caffemodel, or a state dict in .pth or .safetensors.
        backbone_name: None for the backbone that the tensors fit.
        classes: K names; empty for VOC's 20.
        pixels: key of PIXELS; None for Caffe's.
        scale, max_size: shorter side and longest side of the network's input, pixels.
    Raises:
        WeightsError: the file cannot be read, or fits no backbone.
        ConfigError: the file has another number of classes.
    """
    is_caffe = file.suffix == ".caffemodel"
    if is_caffe and pixels not in (None, "caffe"):
        raise ConfigError("a .caffemodel expects Caffe's pixels", "leave --pixels out")
    if is_caffe:
        backbone_name, state = _from_caffe(file, read_caffemodel(file), backbone_name)
    else:
        state = load_state_dict(file)
        backbone_name = backbone_name or _fitting_backbone(file, state)
    if not any(f"{layer}.weight" in state for layer in OUTPUT_LAYERS):
        _save_imagenet_weights(target, backbone_name, state)
        return ConvertedWeights(backbone_name, None)
    classes = tuple(classes) or VOC_CLASSES
    if unfit_class_name(classes) is not None:
        raise ConfigError("a name in --classes cannot be used", "expected short names in UTF-8")
    network, ranks = _build_detector(file, backbone_name, state, len(classes))
    header = WeightsHeader(
        backbone=backbone_name,
        classes=classes,
        pixels=PIXELS[pixels or "caffe"],
        scale=scale,
        max_size=max_size,
        ranks=ranks,
        geometry="caffe" if is_caffe else "torch",
        provenance={"imported from": file.name},
    )
    save_weights(target, network, header)
    return ConvertedWeights(backbone_name, header)


def _save_imagenet_weights(target: Path, backbone_name: str, state: State) -> None:
    initialise(build_network(backbone_name, 1), state)  # raises an error if they do not fit
    tensors = {key: value.contiguous().clone() for key, value in state.items()}
    write_atomically(target, lambda part: save_file(tensors, part))


def _fitting_backbone(file: Path, state: Mapping[str, Tensor]) -> str:
    """The name of the backbone whose convolutions a state dict holds."""
    for name, spec in BACKBONES.items():
        with torch.device("meta"):
            expected = spec.features().state_dict()
            converted = spec.from_imagenet(state) if spec.from_imagenet else {}
        given = {**state, **converted}
        shapes = {
            key: given[f"features.{key}"].shape for key in expected if f"features.{key}" in given
        }
        if shapes == {key: value.shape for key, value in expected.items()}:
            return name
    raise WeightsError(
        f"{file} fits no backbone", f"known, with torchvision's names: {', '.join(BACKBONES)}"
    )


def _from_caffe(
    file: Path, layers: Mapping[str, Sequence[Blob]], backbone_name: str | None
) -> tuple[str, State]:
    """The backbone of a Caffe model, and its tensors by torchvision's names, for RGB images."""
    names = [backbone_name] if backbone_name else list(CAFFE_CONVOLUTIONS)
    fitting = [name for name in names if {*CAFFE_CONVOLUTIONS.get(name, ("",))} <= set(layers)]
    if not fitting:
        raise WeightsError(
            f"{file} is not a {' or '.join(names)}: it has the layers {', '.join(layers):.200}",
            f"Caffe models of {' and '.join(CAFFE_CONVOLUTIONS)} can be imported",
        )
    name, spec = fitting[0], backbone_spec(fitting[0])
    state: State = {}
    with torch.device("meta"):
        features = spec.features()
    convolutions = [key for key, each in features.named_modules() if isinstance(each, nn.Conv2d)]

    def copy(source: str, target: str, shape: Sequence[int], bias: bool = True) -> None:
        state.update(_convert_layer(file, source, layers[source], target, shape, bias))

    for caffe_name, key in zip(CAFFE_CONVOLUTIONS[name], convolutions, strict=True):
        copy(caffe_name, f"features.{key}", features.get_parameter(f"{key}.weight").shape)
    first = f"features.{convolutions[0]}.weight"
    state[first] = state[first].flip(1)  # from BGR
    width = spec.channels * spec.pooled_size**2
    for (fc, size), key in zip(spec.fc_layers.items(), spec.classifier_layers, strict=True):
        if f"{fc}_L" in layers and f"{fc}_U" in layers:
            rank = math.prod(layers[f"{fc}_L"][0].shape) // width
            copy(f"{fc}_L", f"{key}.0", (rank, width), bias=False)
            copy(f"{fc}_U", f"{key}.1", (size, rank))
        elif fc in layers:
            copy(fc, key, (size, width))
        width = size
    for layer, outputs_per_class in zip(OUTPUT_LAYERS, (1, 4), strict=True):
        if layer in layers:
            size = math.prod(layers[layer][0].shape)
            outputs = size // width // outputs_per_class * outputs_per_class
            copy(layer, layer, (outputs, width))
    return name, state


def _convert_layer(
    file: Path, source: str, blobs: Sequence[Blob], target: str, shape: Sequence[int], bias: bool
) -> State:
    """Weight and bias of a layer of Caffe; old files have extra dimensions of size 1."""
    if bias and len(blobs) < 2:
        raise WeightsError(f"{file}: {source} has no bias", "the file is damaged or cut off")
    tensors: State = {}
    shapes = {"weight": tuple(shape), "bias": tuple(shape[:1])}
    for (part, expected), blob in zip(shapes.items(), blobs, strict=False):
        if tuple(d for d in blob.shape if d != 1) != tuple(d for d in expected if d != 1):
            raise WeightsError(
                f"{file}: {source} is of shape {blob.shape}, expected {expected}",
                f"Caffe models of {' and '.join(CAFFE_CONVOLUTIONS)} can be imported",
            )
        tensors[f"{target}.{part}"] = torch.from_numpy(blob.reshape(expected))
    return tensors


def _build_detector(
    file: Path, name: str, state: State, class_count: int
) -> tuple[RegionNetwork, dict[str, int]]:
    """The network of a state with output layers, and the ranks of its compressed layers."""
    score = state.get("cls_score.weight")
    if score is None or score.ndim != 2 or len(score) != class_count + 1:
        count = "no class" if score is None else f"{len(score) - 1} classes and the background"
        raise ConfigError(
            f"{file} has scores of {count}, expected {class_count} classes and the background",
            "name its classes with --classes",
        )
    network = build_network(name, class_count)
    renamed = _rename(state, network)
    ranks = {
        fc: len(renamed[f"fc_layers.{fc}.0.weight"])
        for fc in network.fc_layers
        if f"fc_layers.{fc}.0.weight" in renamed
    }
    network.set_ranks(ranks)
    own = network.state_dict()
    renamed.setdefault("feature_scale", own["feature_scale"])
    for key, tensor in own.items():
        shape = tuple(renamed[key].shape) if key in renamed else None
        if shape != tensor.shape:
            problem = "missing" if shape is None else f"of shape {shape}"
            raise WeightsError(
                f"{file}: {key} is {problem}, {name} needs {tuple(tensor.shape)}",
                "expected torchvision's names of the tensors, or those of frcnn",
            )
    network.load_state_dict({key: renamed[key].float() for key in own})
    return network.eval(), ranks


def _rename(state: State, network: RegionNetwork) -> State:
    """Tensors by our names, for our order of the RoI features.

    Layers with torchvision's names read the RoI features channel by channel.
    """
    spec = network.backbone
    renamed = {**state, **(spec.from_imagenet(state) if spec.from_imagenet else {})}
    layers = network.compressible_layers()
    first = next(iter(layers))
    for (name, layer), source in zip(layers.items(), spec.classifier_layers, strict=False):
        for part in ("weight", "bias", "0.weight", "1.weight", "1.bias"):
            if f"{source}.{part}" in state:
                tensor = state[f"{source}.{part}"]
                reads_rois = name == first and part in ("weight", "0.weight") and tensor.ndim == 2
                if reads_rois and tensor.shape[1] == layer.in_features:
                    tensor = network.region_operator.from_channels_first(tensor)
                renamed[f"fc_layers.{name}.{part}"] = tensor
    return renamed
