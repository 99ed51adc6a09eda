"""What the fully connected layers of a network do on real images."""

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

ROIS_PER_IMAGE = 512  # a quarter of the proposals says as much as all of them
HELD_OUT = 5  # every fifth image judges
SAME = 1e-6  # share of the outputs' square, below which their variance is rounding
KEPT_ROIS = 51_200  # at most, whose outputs are kept: 100 MB where the first layer has 1,024


@dataclass(frozen=True)
class Calibration:
    """What the layers of a network put out on real images."""

    moments: dict[str, OutputMoments]  # of each layer, without its bias
    rois: Tensor  # [N, u] float16, W x + b of the first layer for some RoIs
    held_out: Tensor  # [M, u], the same for RoIs of other images, which had no part in the moments
    images: int
    source: str  # where the images came from


def calibrate(
    detector: Detector,
    paths: Sequence[Path],
    source: str,
    workers: int,
    on_image: Callable[[], None],
) -> Calibration:
    """Run a network over images; memory does not grow with their number.

    Args:
        detector: with the whole network. source: what to call the images.
        workers: threads that read ahead. on_image: called after each.
    Raises:
        DataError: fewer than two images can be read, or all of them look the same.
        WeightsError: the outputs of the first layer do not fit float16.
    """

    def read(path: Path) -> tuple[bytes, NDArray[np.uint8]]:
        content = images.read_bytes(path)
        return content, images.decode(content, str(path))

    network = detector.network
    moments = {
        name: OutputMoments(len(layer.bias))
        for name, layer in network.compressible_layers().items()
    }
    rois: list[list[Tensor]] = [[], []]
    kept = min(ROIS_PER_IMAGE // 2, max(1, KEPT_ROIS // len(paths)))
    used = [0, 0]  # images to fit, images to judge
    for image in detector.read_each(paths, read, workers):
        on_image()
        # a photograph that cannot be read tells nothing
        if isinstance(image, ReadFailure) or not len(image.preprocessed.rois):
            continue
        judges = sum(used) % HELD_OUT == HELD_OUT - 1 or sum(used) == 1
        used[judges] += 1
        with torch.inference_mode():
            pooled, _ = detector.region_features(image.preprocessed)
            seen = _spread(pooled, ROIS_PER_IMAGE)
            if not judges:
                _observe(network, seen, moments)
            first = first_layer_outputs(network, _spread(seen, kept))
            rois[judges].append(first.half().cpu())
    if not all(used):
        raise DataError(f"{source}: fewer than two images to calibrate with", "give more images")
    fitted, held_out = torch.cat(rois[0]), torch.cat(rois[1])
    for outputs in (fitted, held_out):
        if not outputs.isfinite().all():
            raise WeightsError(
                "the outputs of the first fully connected layer are too large for float16",
                "use --calibrate none",
            )
        size = outputs.float().square().mean(dim=0).sum()
        if outputs.float().var(dim=0, correction=0).sum() <= SAME * size:
            raise DataError(f"{source}: there is nothing to see on the images", "give photographs")
    return Calibration(moments, fitted, held_out, sum(used), source)


def _spread(rows: Tensor, count: int) -> Tensor:
    """At most so many rows, at even distances."""
    return rows[torch.linspace(0, len(rows) - 1, min(len(rows), count)).long()]


def first_layer_outputs(network: RegionNetwork, pooled: Tensor) -> Tensor:
    """W x + b of the first fully connected layer, [R, u]."""
    first = next(iter(network.compressible_layers().values()))
    return nn.functional.linear(pooled, first.weight, first.bias)


def _observe(network: RegionNetwork, x: Tensor, moments: dict[str, OutputMoments]) -> None:
    for name, layer in network.compressible_layers().items():
        y = nn.functional.linear(x, layer.weight)
        moments[name].add(y)
        x = (y + layer.bias).relu()
