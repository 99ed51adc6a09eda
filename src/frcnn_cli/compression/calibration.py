"""Statistics of the fully connected layers' outputs on real images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data import images
from ..errors import DataError, WeightsError
from ..inference.batching import ReadFailure
from ..inference.detector import Detector
from ..models.low_rank import OutputMoments
from ..models.region_network import RegionNetwork

ROIS_PER_IMAGE = 512  # a quarter of the proposals gives as good statistics as all of them
HELD_OUT = 5  # every fifth image is held out
CONSTANT = 1e-6  # variance / mean square at or below which outputs differ by rounding alone
MAX_ROIS = 51_200  # whose outputs are stored: 100 MB where the first layer has 1,024 of them


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Outputs of a network's fully connected layers on real images."""

    moments: dict[str, OutputMoments]  # by layer, of its outputs without the bias
    rois: Tensor  # [N, u] float16, W x + b of the first layer for some RoIs
    held_out: Tensor  # [M, u] float16, the same for RoIs of images that are not in the moments
    images: int
    source: str  # name of the images


def calibrate(
    detector: Detector,
    paths: Sequence[Path],
    *,
    source: str,
    workers: int,
    on_image: Callable[[], None],
) -> Calibration:
    """Run a network over images; memory does not grow with their number.

    Images that cannot be read, and those without proposals, are skipped.

    Args:
        detector: its network must not be compressed. source: name of the images, for messages.
        workers: threads that read ahead. on_image: called after each image.
    Raises:
        DataError: fewer than two images are left, or all of them look the same.
        WeightsError: the outputs of the first layer do not fit float16.
    """

    def read(path: Path) -> tuple[bytes, NDArray[np.uint8]]:
        content = images.read_bytes(path)
        return content, images.decode(content, str(path))

    network = detector.network
    moments = {
        name: OutputMoments(len(layer.bias), network.device)
        for name, layer in network.compressible_layers().items()
    }
    stored: dict[bool, list[Tensor]] = {False: [], True: []}  # by whether the image is held out
    stored_per_image = min(ROIS_PER_IMAGE // 2, max(1, MAX_ROIS // len(paths)))
    count = 0
    for image in detector.read_each(paths, read, workers):
        on_image()
        if isinstance(image, ReadFailure) or not len(image.preprocessed.rois):
            continue
        is_held_out = count == 1 or count % HELD_OUT == HELD_OUT - 1
        count += 1
        with torch.inference_mode():
            features, _ = detector.region_features(image.preprocessed)
            sample = _evenly_spaced(features, ROIS_PER_IMAGE)
            if not is_held_out:
                _add_outputs(network, sample, moments)
            outputs = first_layer_outputs(network, _evenly_spaced(sample, stored_per_image))
            stored[is_held_out].append(outputs.half().cpu())
    if count < 2:
        raise DataError(f"{source}: fewer than two images to calibrate with", "give more images")
    rois, held_out = torch.cat(stored[False]), torch.cat(stored[True])
    for outputs in (rois, held_out):
        _check_outputs(outputs, source)
    return Calibration(moments=moments, rois=rois, held_out=held_out, images=count, source=source)


def first_layer_outputs(network: RegionNetwork, features: Tensor) -> Tensor:
    """W x + b of the first fully connected layer, [R, u], from RoI features [R, D]."""
    first = next(iter(network.compressible_layers().values()))
    return nn.functional.linear(features, first.weight, first.bias)


def _evenly_spaced(rows: Tensor, count: int) -> Tensor:
    """At most `count` of the rows, evenly spaced from the first to the last."""
    return rows[torch.linspace(0, len(rows) - 1, min(len(rows), count)).long()]


def _add_outputs(network: RegionNetwork, x: Tensor, moments: dict[str, OutputMoments]) -> None:
    """Add the outputs of every layer for RoI features [R, D] to its moments."""
    for name, layer in network.compressible_layers().items():
        y = nn.functional.linear(x, layer.weight)
        moments[name].add(y)
        x = (y + layer.bias).relu()


def _check_outputs(outputs: Tensor, source: str) -> None:
    if not outputs.isfinite().all():
        raise WeightsError(
            "the outputs of the first fully connected layer are too large for float16",
            "use --calibrate none",
        )
    mean_square = outputs.float().square().mean(dim=0).sum()
    if outputs.float().var(dim=0, correction=0).sum() <= CONSTANT * mean_square:
        raise DataError(f"{source}: the images are blank or all alike", "give photographs")
