"""The network as ONNX, for programs without torch.

ONNX's own MaxRoiPool rounds otherwise than Caffe, torchvision and we do, so RoI pooling is put
together from plain operations: for each cell the maximum over windows of 1, 2, 4, … cells down and
across; the maximum over any bin is then the largest of four windows that cover it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ConfigError, FrcnnError
from ..models.fast_rcnn import FastRCNN
from ..ops.box_coder import MAX_LOG_SCALE
from .checkpoint import WeightsHeader, load_weights, write_atomically

INPUTS, OUTPUTS = ("image", "rois"), ("probabilities", "boxes")
TOLERANCE = 1e-4  # of probabilities; of boxes over their image's size
_OPSET = 18


def export_onnx(weights: Path, target: Path) -> float | None:
    """Write a weights file as ONNX, in float32.

    Inputs: image [1, 3, H, W], float32 RGB in 0..255, scaled as the header says; rois [R, 4] in its
    pixels. Outputs: probabilities [R, K + 1], the background first; boxes [R, K + 1, 4], clipped.

    Returns:
        The largest difference from the network here, as onnxruntime has it; None without it.
    Raises:
        ConfigError: onnx or onnxscript is not installed.
        FrcnnError: onnxruntime gives another result, or the file cannot be written.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"{error.name} is not installed", "pip install onnx onnxscript") from None
    model, header = load_weights(weights)
    network = Exported(model, header).eval()
    height, width = header.scale, min(header.scale * 4 // 3, header.max_size)
    image, rois = _example(height, width, 50)
    shapes = {
        "image": {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC},
        "rois": {0: torch.export.Dim.DYNAMIC},
    }
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            network,
            (image, rois),
            input_names=INPUTS,
            output_names=OUTPUTS,
            opset_version=_OPSET,
            dynamic_shapes=shapes,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    difference: list[float | None] = []

    def write(part: Path) -> None:
        program.save(part, external_data=False)
        difference.append(compare(part, network, *_example(height * 3 // 4, width, 80)))

    write_atomically(target, write)
    return difference[0]


def _example(height: int, width: int, count: int) -> tuple[Tensor, Tensor]:
    """A picture of noise and boxes in it, the same every time."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((1, 3, height, width), generator=generator) * 255
    corners = torch.rand((count, 2, 2), generator=generator).sort(dim=1).values
    rois = corners * torch.tensor([width, height], dtype=torch.float32)
    return image, rois.reshape(count, 4)


def compare(file: Path, network: nn.Module, image: Tensor, rois: Tensor) -> float | None:
    """Largest difference between an ONNX file and the network; None without onnxruntime.

    Raises:
        FrcnnError: it is above TOLERANCE.
    """
    try:
        import onnxruntime
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    given = dict(zip(INPUTS, (image.numpy(), rois.numpy()), strict=True))
    got = [torch.from_numpy(array) for array in session.run(list(OUTPUTS), given)]
    with torch.inference_mode():
        probabilities, boxes = network(image, rois)
    largest = max(
        float((got[0] - probabilities).abs().max()),
        float((got[1] - boxes).abs().max()) / max(image.shape[2:]),
    )
    if not largest <= TOLERANCE:
        raise FrcnnError(f"onnxruntime differs by {largest:.2g}", "try another version of it")
    return largest


class Exported(nn.Module):
    """What the file computes."""

    def __init__(self, model: FastRCNN, header: WeightsHeader) -> None:
        super().__init__()
        self.model = model
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(header.pixel_mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(header.pixel_std).view(1, 3, 1, 1))
        cells = math.ceil(header.max_size / model.stride) + 1
        self.levels = math.ceil(math.log2(cells / model.pooled_size + 2))

    def forward(self, image: Tensor, rois: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities and boxes; see `export_onnx`."""
        features = self.model.features((image - self.mean) / self.std) * self.model.feature_scale
        bins, scale = self.model.pooled_size, 1 / self.model.stride
        pooled = window_roi_pool(features, rois, bins, scale, self.levels)
        output = self.model.heads(pooled.flatten(1))
        height, width = image.shape[2], image.shape[3]
        return output.class_logits.softmax(dim=1), _decode(rois, output.box_deltas, height, width)


def _decode(rois: Tensor, deltas: Tensor, height: int, width: int) -> Tensor:
    """Boxes [R, K + 1, 4] of every class, clipped; see ops.box_coder."""
    sizes = (rois[:, 2:] - rois[:, :2]).unsqueeze(1)
    centres = rois[:, :2].unsqueeze(1) + 0.5 * sizes + deltas[..., :2] * sizes
    halves = 0.5 * deltas[..., 2:].clamp(max=MAX_LOG_SCALE).exp() * sizes
    low, high = centres - halves, centres + halves
    xs = torch.stack([low[..., 0], high[..., 0]], dim=2).clamp(0, width)
    ys = torch.stack([low[..., 1], high[..., 1]], dim=2).clamp(0, height)
    return torch.stack([xs[..., 0], ys[..., 0], xs[..., 1], ys[..., 1]], dim=2)


def window_roi_pool(features: Tensor, rois: Tensor, bins: int, scale: float, levels: int) -> Tensor:
    """RoI max pooling of one image, as ops.roi_pool, from operations that ONNX has.

    Args:
        features: [1, C, H, W]. rois: [R, 4], input pixels.
        bins: P, a side. scale: cells per input pixel.
        levels: windows of up to 2 ** levels cells a side; bins are less than twice as long.
    Returns:
        [R, P, P, C].
    """
    height, width = features.shape[2], features.shape[3]
    columns = [features]
    for level in range(levels):
        columns.append(_wider(columns[-1], 2**level, 0))
    windows = []
    for column in columns:
        windows.append(column)
        for level in range(levels):
            windows.append(_wider(windows[-1], 2**level, 1))
    table = torch.cat(windows).permute(0, 2, 3, 1).flatten(0, 2)  # [windows * H * W, C]
    y1, y2, y_level = _bin_ends(rois[:, 1], rois[:, 3], bins, scale, height, levels)
    x1, x2, x_level = _bin_ends(rois[:, 0], rois[:, 2], bins, scale, width, levels)
    window = y_level.unsqueeze(2) * (levels + 1) + x_level.unsqueeze(1)
    corners = [
        table[(window * height + y.unsqueeze(2)) * width + x.unsqueeze(1)]
        for y in (y1, y2)
        for x in (x1, x2)
    ]
    largest = torch.maximum(
        torch.maximum(corners[0], corners[1]), torch.maximum(corners[2], corners[3])
    )
    empty = (y2 < y1).unsqueeze(2) | (x2 < x1).unsqueeze(1)
    return torch.where(empty.unsqueeze(3), torch.zeros_like(largest), largest)


def _wider(maxima: Tensor, step: int, across: int) -> Tensor:
    """Maxima over windows twice as long, from those that begin `step` cells further."""
    if across:
        return torch.maximum(maxima, F.pad(maxima, (0, step), value=-torch.inf)[..., step:])
    further = F.pad(maxima, (0, 0, 0, step), value=-torch.inf)[:, :, step:]
    return torch.maximum(maxima, further)


def _bin_ends(
    starts: Tensor, ends: Tensor, bins: int, scale: float, cells: int, levels: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Where the two windows of each bin begin along one axis, and their level; [R, P] each.

    The second begins before the first where the bin is empty.
    """
    first, last = _to_cells(starts * scale), _to_cells(ends * scale)
    step = ((last - first + 1).clamp(min=1) / bins).unsqueeze(1)
    edges = torch.arange(bins + 1, dtype=torch.float32)
    low = (torch.floor(edges[:-1] * step) + first.unsqueeze(1)).clamp(0, cells).long()
    high = (torch.ceil(edges[1:] * step) + first.unsqueeze(1)).clamp(0, cells).long()
    length = high - low
    level = torch.zeros_like(length)
    for power in range(1, levels + 1):
        level = level + (length >= 2**power).long()
    widths = torch.tensor([2**power for power in range(levels + 1)])
    begin = low.clamp(max=cells - 1)
    second = torch.where(length > 0, high - widths[level], begin - 1)
    return begin, second, level


def _to_cells(scaled: Tensor) -> Tensor:
    """Rounded half away from zero."""
    size = scaled.abs()
    whole = torch.floor(size)
    return torch.sign(scaled) * (whole + (size - whole >= 0.5).float())
