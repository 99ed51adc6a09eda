"""Exporting a detector to ONNX, for programs without torch."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import ConfigError, FrcnnError, reason
from ..models.region_network import RegionNetwork
from ..ops.box_coder import MAX_LOG_SCALE
from ..runtime.files import write_atomically
from .weights import WeightsHeader, load_weights

INPUTS, OUTPUTS = ("image", "rois"), ("probabilities", "boxes")
TOLERANCE = 1e-4  # for probabilities, and for boxes as fractions of the image's longer side
_OPSET = 18


def export_onnx(weights: Path, target: Path) -> float | None:
    """Write a weights file as ONNX, in float32.

    The inputs of the file are image [1, 3, H, W], float32 RGB in 0..255, scaled as the header says,
    and rois [R, 4] in its pixels. The outputs are probabilities [R, K + 1], the scores with the
    background first, those of the classes calibrated if the header says so, and boxes
    [R, K + 1, 4], clipped to the image. RoIs and boxes have the geometry of the network
    (`boxes.to_last_pixel`).

    Args:
        weights: a weights file. target: the file to write.
    Returns:
        The largest difference between the outputs of the network in onnxruntime and here; None
        if onnxruntime is not installed.
    Raises:
        ConfigError: onnx or onnxscript is not installed. WeightsError: see `load_weights`.
        FrcnnError: onnxruntime gives other outputs, or the file cannot be written.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"{error.name} is not installed", "pip install onnx onnxscript") from None
    model, header = load_weights(weights)
    network = Exported(model, header).eval()
    reference = Exported(model, header, for_export=False).eval()
    height, width = header.scale, min(header.scale * 4 // 3, header.max_size)
    image, rois = _example(height, width, 50)
    shapes = {
        "image": {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC},
        "rois": {0: torch.export.Dim.DYNAMIC},
    }
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
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
        except torch.onnx.OnnxExporterError as error:
            cause = reason(error.__cause__ if isinstance(error.__cause__, Exception) else error)
            raise FrcnnError(
                f"{header.region_operator} on {header.backbone} cannot be exported: {cause}",
                "for_export of the region operator must use operations that ONNX has",
            ) from None
    assert program is not None
    difference: list[float | None] = []

    def write(part: Path) -> None:
        program.save(part, external_data=False)
        difference.append(compare(part, reference, *_example(height * 3 // 4, width, 80)))

    write_atomically(target, write)
    return difference[0]


def _example(height: int, width: int, count: int) -> tuple[Tensor, Tensor]:
    """An image of noise and random boxes in it, the same every time."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((1, 3, height, width), generator=generator) * 255
    corners = torch.rand((count, 2, 2), generator=generator).sort(dim=1).values
    rois = corners * torch.tensor([width, height], dtype=torch.float32)
    return image, rois.reshape(count, 4)


def compare(file: Path, network: nn.Module, image: Tensor, rois: Tensor) -> float | None:
    """Compare the outputs of an ONNX file with those of the network.

    Args:
        image: [1, 3, H, W], 0..255. rois: [R, 4], pixels of the image.
    Returns:
        The largest difference (see TOLERANCE); None if onnxruntime is not installed.
    Raises:
        FrcnnError: the difference is above TOLERANCE.
    """
    try:
        import onnxruntime
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    inputs = dict(zip(INPUTS, (image.numpy(), rois.numpy()), strict=True))
    outputs = [torch.from_numpy(array) for array in session.run(list(OUTPUTS), inputs)]
    with torch.inference_mode():
        probabilities, boxes = network(image, rois)
    largest = max(
        _largest_difference(outputs[0], probabilities),
        _largest_difference(outputs[1], boxes) / max(image.shape[2:]),
    )
    if not largest <= TOLERANCE:
        raise FrcnnError(
            f"onnxruntime differs by {largest:.2g}", "try another version of onnxruntime"
        )
    return largest


def _largest_difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max()) if a.numel() else 0.0


class Exported(nn.Module):
    """The network of an ONNX file, from an unnormalised image to scores and boxes.

    Args:
        for_export: use the region operator's form for ONNX; else the one of detection, which the
            file is compared with.
    """

    def __init__(
        self, model: RegionNetwork, header: WeightsHeader, for_export: bool = True
    ) -> None:
        super().__init__()
        self.model = model
        self.calibration = header.calibration
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(header.pixels.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(header.pixels.std).view(1, 3, 1, 1))
        exported = model.features_for_export(header.max_size)
        self.pool = exported if for_export else _of_one_image(model)

    def forward(self, image: Tensor, rois: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and boxes; see `export_onnx`."""
        maps = self.model.image_features((image - self.mean) / self.std)
        output = self.model.heads(self.pool(maps, rois))
        height, width = image.shape[2], image.shape[3]
        scores = self.model.scores(output.class_logits)
        if self.calibration is not None:
            scores = torch.cat([scores[:, :1], self.calibration.calibrated(scores[:, 1:])], dim=1)
        return scores, _decode(rois, output.box_deltas, height, width)


def _of_one_image(model: RegionNetwork) -> Callable[[Tensor, Tensor], Tensor]:
    """The region features of a network, from the maps and the boxes [R, 4] of one image."""

    def pool(maps: Tensor, boxes: Tensor) -> Tensor:
        rois = torch.cat([boxes.new_zeros(len(boxes), 1), boxes], dim=1)
        return model.region_features(maps, rois)

    return pool


def _decode(rois: Tensor, deltas: Tensor, height: int, width: int) -> Tensor:
    """The boxes [R, K + 1, 4] of every class, clipped; the formulas are those of ops.box_coder."""
    sizes = (rois[:, 2:] - rois[:, :2]).unsqueeze(1)
    centres = rois[:, :2].unsqueeze(1) + 0.5 * sizes + deltas[..., :2] * sizes
    halves = 0.5 * deltas[..., 2:].clamp(max=MAX_LOG_SCALE).exp() * sizes
    low, high = centres - halves, centres + halves
    xs = torch.stack([low[..., 0], high[..., 0]], dim=2).clamp(0, width)
    ys = torch.stack([low[..., 1], high[..., 1]], dim=2).clamp(0, height)
    return torch.stack([xs[..., 0], ys[..., 0], xs[..., 1], ys[..., 1]], dim=2)
