"""The weights file: safetensors, with a header that describes the network.

Nothing in a file is unpickled, and its tensors must fit the network that its header describes.

Three formats can be read, and the last one is written: frcnn-1 is for Fast R-CNN alone; frcnn-2
adds a prefilter, then called `screen`; frcnn-3 adds the names of the detector, its region operator
and its score function.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .. import __version__
from ..config import MAX_SIDE, VAL_SHARE, DetectConfig, Geometry
from ..errors import WeightsError, reason
from ..models.backbones import BACKBONES
from ..models.detectors import DEFAULT_DETECTOR, DETECTORS, DetectorSpec, build_network
from ..models.region_network import SCORE_FUNCTIONS, RegionNetwork
from ..models.region_operators import REGION_OPERATORS
from ..models.score_calibration import ScoreCalibration
from ..models.timm_models import is_timm_name
from ..models.warp import Warp
from ..runtime.files import write_atomically
from ..runtime.safe_read import open_regular
from ..settings import MAX_VALUES
from ..structures import MAX_CLASSES, PixelStatistics, unfit_class_name

FORMAT = "frcnn-3"
_OLD_FORMATS = ("frcnn-1", "frcnn-2")  # without and with a prefilter
_KEY = "frcnn"  # of the header in the file's metadata
_HINT = "expected a .safetensors file written by frcnn train or frcnn compress"
_MAX_PIXEL = 1e6  # of means and deviations, which are 255 at most where they mean anything
# A file of weights may ask for images of so many pixels; for more the user must ask. SqueezeNet
# takes 300 MB for them.
_MAX_UNASKED_PIXELS = 2**22
# in the provenance: the ContentSketch of the training images, and Dataset.val_share of them
IMAGE_SKETCH = "image_sketch"
VAL_SHARE_KEY = "val_share"


@dataclass(frozen=True, kw_only=True)
class WeightsHeader:
    """Describes the network of a weights file, its input and its origin."""

    backbone: str  # key of BACKBONES, or "timm:" and the name of a model of timm
    classes: tuple[str, ...]  # K names, label 1 first
    pixels: PixelStatistics
    scale: int  # pixels of the shorter side in training
    max_size: int  # pixels of the longer side at most
    views: tuple[int, ...] = ()  # shorter sides in detection, if several: see DetectConfig.views
    calibration: ScoreCalibration | None = None  # of the scores of detections
    detector: str = DEFAULT_DETECTOR  # a name; the network is built from the next two fields
    region_operator: str = DETECTORS[DEFAULT_DETECTOR].region_operator  # key of REGION_OPERATORS
    score_function: str = DETECTORS[DEFAULT_DETECTOR].score_function  # key of SCORE_FUNCTIONS
    warp: Warp | None = DETECTORS[DEFAULT_DETECTOR].warp  # of regions, before the convolutions
    class_agnostic: bool = False  # boxes are refined alike for every class
    geometry: Geometry = "torch"  # of boxes and pooled maps
    ranks: dict[str, int] = field(default_factory=dict)  # of the compressed layers
    prefilter: dict[str, int] = field(default_factory=dict)  # ranks of the prefilter's layers
    provenance: dict[str, object] = field(
        default_factory=dict
    )  # data, recipe, history; may be empty

    @property
    def val_share(self) -> float:
        """The share of data without splits that was kept for validation, as far as it is known."""
        share = self.provenance.get(VAL_SHARE_KEY)
        return share if isinstance(share, float) and 0 < share < 1 else VAL_SHARE

    @property
    def detector_spec(self) -> DetectorSpec:
        """The parts of the network in which detectors differ."""
        return DetectorSpec(
            region_operator=self.region_operator,
            score_function=self.score_function,
            warp=self.warp,
            class_agnostic=self.class_agnostic,
            geometry=self.geometry,
        )


def save_weights(
    path: Path, network: RegionNetwork, header: WeightsHeader, half: bool = False
) -> None:
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
        for key, tensor in network.state_dict().items()
        if header.prefilter or not key.startswith("prefilter.")
    }
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        name = "float16" if half else "float32"
        raise WeightsError(f"a weight is NaN, infinite or too large for {name}", "train again")
    metadata = {_KEY: json.dumps(_to_json(header))}
    write_atomically(path, lambda part: save_file(tensors, part, metadata), durable=True)


def load_weights(path: Path) -> tuple[RegionNetwork, WeightsHeader]:
    """Build the network that a weights file describes, with its weights, in evaluation mode.

    Raises:
        WeightsError: the file is not a weights file, is damaged, or does not fit its own header.
    """
    with _opened(path) as file:
        header = _parse_header(path, file.metadata())
        names = {_network_key(key): key for key in file.keys()}  # noqa: SIM118
        shapes = {key: tuple(file.get_slice(name).get_shape()) for key, name in names.items()}
        if is_timm_name(header.backbone):
            with torch.device("meta"):  # before memory is taken for models as large as timm's
                _check_shapes(path, _empty_network(header), shapes)
        with _NoInitialisation():
            network = _empty_network(header)
        _check_shapes(path, network, shapes)
        # copied, since the file may change while the network is used
        tensors = {
            key: file.get_tensor(name).to(torch.float32, copy=True) for key, name in names.items()
        }
    network.load_state_dict(tensors, assign=True)
    if not all(map(is_finite, tensors.values())):
        raise WeightsError(f"{path} holds NaN or infinite weights", "train again")
    return network.eval(), header


def _empty_network(header: WeightsHeader) -> RegionNetwork:
    network = build_network(header.backbone, len(header.classes), header.detector_spec)
    network.set_ranks(header.ranks)
    network.set_prefilter(header.prefilter)
    return network


def read_header(path: Path) -> WeightsHeader:
    """Read only the header of a weights file; its tensors are not checked.

    Raises:
        WeightsError: the file is not a weights file.
    """
    with _opened(path) as file:
        return _parse_header(path, file.metadata())


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a safetensors file.

    Raises:
        WeightsError: it cannot be read as one, here or in the block.
    """
    try:
        open_regular(path).close()  # safe_open waits for ever at a pipe
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"{path} is not a weights file that can be read: {reason(error)}", _HINT
        ) from None


def stored_types(path: Path) -> set[str]:
    """The types of the tensors in a weights file, which can be read: F16, F32."""
    with safe_open(path, framework="pt") as file:
        return {file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118


def check_input_size(header: WeightsHeader, config: DetectConfig) -> None:
    """Check that images do not become very large because a file of weights says so.

    Raises:
        WeightsError: they become larger than _MAX_UNASKED_PIXELS, and `config` does not say so.
    """
    long_side = config.max_size or header.max_size
    short_sides = config.scales or config.views or header.views or (header.scale,)
    short_side = min(max(short_sides), long_side)
    is_asked = (config.scales or config.views) and config.max_size
    if short_side * long_side > _MAX_UNASKED_PIXELS and not is_asked:
        raise WeightsError(
            f"the weights enlarge images to {short_side}×{long_side} pixels, which takes gigabytes",
            f"if you want that, add --scales {short_side} --max-size {long_side}",
        )


def is_weights_file(metadata: Mapping[str, str] | None) -> bool:
    """Whether a safetensors file with these metadata is a weights file of this toolkit."""
    return _KEY in (metadata or {})


def _network_key(key: str) -> str:
    """The network's name of a tensor in a file."""
    return f"prefilter.{key.removeprefix('screen.')}" if key.startswith("screen.") else key


def is_finite(tensor: Tensor) -> bool:
    """Whether all elements are finite.

    If the sum is finite, so are the elements, and the sum is ten times quicker to compute.
    """
    return bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all())


def _to_json(header: WeightsHeader) -> dict[str, object]:
    # left out where they say nothing, so that earlier versions read the file
    warp = {} if header.warp is None else {"warp": asdict(header.warp)}
    agnostic = {"class_agnostic": True} if header.class_agnostic else {}
    geometry = {} if header.geometry == "torch" else {"geometry": header.geometry}
    views = {"views": header.views} if header.views else {}
    calibration = {} if header.calibration is None else {"calibration": asdict(header.calibration)}
    return {
        "format": FORMAT,
        "detector": header.detector,
        "region_operator": header.region_operator,
        "score_function": header.score_function,
        **warp,
        **agnostic,
        **geometry,
        "backbone": header.backbone,
        "classes": header.classes,
        "pixel_mean": header.pixels.mean,
        "pixel_std": header.pixels.std,
        "scale": header.scale,
        "max_size": header.max_size,
        **views,
        **calibration,
        "ranks": header.ranks,
        "prefilter": header.prefilter,
        "provenance": header.provenance,
    }


def _parse_header(path: Path, metadata: Mapping[str, str] | None) -> WeightsHeader:
    try:
        header = _from_json(json.loads((metadata or {}).get(_KEY, "")))
        valid = _is_valid(header)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        valid = False
    if not valid and not is_weights_file(metadata):
        raise WeightsError(f"{path} has no header of frcnn: weights of another program?", _HINT)
    if not valid:
        raise WeightsError(
            f"{path} has a header that is damaged, or of a newer version than {__version__}",
            "install the version that wrote the file, or take another file",
        )
    timm = [header.backbone] if is_timm_name(header.backbone) else []  # timm says if it has it
    for part, name, known in (
        ("backbone", header.backbone, [*BACKBONES, *timm]),
        ("region operator", header.region_operator, REGION_OPERATORS),
        ("score function", header.score_function, SCORE_FUNCTIONS),
    ):
        if name not in known:
            raise WeightsError(
                f"{path} is for a {part} {name!r}, unknown here", f"known: {', '.join(known)}"
            )
    return header


def _from_json(data: dict[str, Any]) -> WeightsHeader:
    """The header of a file of any format; raises errors of many types where it is damaged."""
    format_name = data.pop("format")
    if format_name == FORMAT:
        is_complete = data.keys() >= {"detector", "region_operator", "score_function"}
    else:
        data["prefilter"] = data.pop("screen", {})
        is_complete = format_name == _OLD_FORMATS[bool(data["prefilter"])]
    if not is_complete or not isinstance(data["classes"], list):
        raise ValueError("another format")
    mean, std = (tuple(map(float, data.pop(f"pixel_{name}"))) for name in ("mean", "std"))
    data["pixels"] = PixelStatistics(mean, std)
    data["classes"] = tuple(data["classes"])
    data["views"] = tuple(data.get("views", ()))
    data["warp"] = Warp(**data["warp"]) if "warp" in data else None
    if "calibration" in data:
        data["calibration"] = ScoreCalibration(**data["calibration"])
    data["ranks"] = _ranks(data["ranks"])
    data["prefilter"] = _ranks(data.get("prefilter", {}))
    return WeightsHeader(**data)


def _ranks(data: dict[str, Any]) -> dict[str, int]:
    return {str(layer): int(rank) for layer, rank in data.items()}


def _is_valid(header: WeightsHeader) -> bool:
    names = (header.backbone, header.detector, header.region_operator, header.score_function)
    sizes = (header.scale, header.max_size, *header.views)
    mean, std = header.pixels.mean, header.pixels.std
    return (
        1 <= len(set(header.classes)) == len(header.classes) <= MAX_CLASSES
        and all(isinstance(name, str) for name in names)
        and unfit_class_name(header.classes) is None
        and len(mean) == len(std) == 3
        and all(abs(value) <= _MAX_PIXEL for value in mean)
        and all(1 / _MAX_PIXEL <= value <= _MAX_PIXEL for value in std)
        and all(type(size) is int for size in sizes)
        and 1 <= header.scale <= header.max_size <= MAX_SIDE
        and len(header.views) <= MAX_VALUES
        and all(1 <= side <= header.max_size for side in header.views)
        and isinstance(header.provenance, dict)
        and (header.warp is None or header.warp.is_valid)
        and (header.calibration is None or header.calibration.is_valid)
        and isinstance(header.class_agnostic, bool)
        and header.geometry in ("torch", "caffe")
    )


class _NoInitialisation(TorchFunctionMode):
    """A context in which layers get no random weights: drawing them takes longer than reading a
    file."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        init = nn.init
        if function in (init.kaiming_uniform_, init.uniform_, init.normal_):
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        if function in (Tensor.normal_, Tensor.uniform_):
            # not what the memory holds: trunc_normal_ draws until all numbers are within bounds
            return args[0].zero_()
        return function(*args, **kwargs)


def _check_shapes(path: Path, network: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> None:
    expected = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    for key in expected.keys() | shapes.keys():
        if expected.get(key) != shapes.get(key):
            raise WeightsError(
                f"{path} does not fit its own header: {key} should be {expected.get(key)}, "
                f"is {shapes.get(key)}",
                "the file is damaged or was changed: train or compress again",
            )
