"""What the fully connected layers of a network do on real images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..data import images
from ..data.batching import Prepared
from ..errors import DataError, FrcnnError
from ..models.fast_rcnn import FastRCNN
from ..models.low_rank import OutputMoments
from .detect import Detector
from .prefetch import prefetch

ROIS_PER_IMAGE = 512  # a quarter of the proposals says as much as all of them
HELD_OUT = 5  # every fifth image judges


@dataclass(frozen=True)
class Calibration:
    """Moments of the outputs of each layer, without its bias."""

    fit: dict[str, OutputMoments]  # from these a basis is made
    held_out: dict[str, OutputMoments]  # and by these it is judged: RoIs of other images
    images: int
    source: str  # where the images came from


def calibrate(
    detector: Detector,
    paths: Sequence[Path],
    source: str,
    workers: int,
    on_image: Callable[[], None],
) -> Calibration:
    """Run a network over images and keep the moments; nothing else stays in memory.

    Args:
        detector: with the whole network. read: content and picture of the images 0..count-1.
        source: what to call them. workers: threads that read ahead. on_image: called after each.
    Raises:
        DataError: fewer than two images can be read.
    """

    def moments() -> dict[str, OutputMoments]:
        return {
            name: OutputMoments(len(layer.bias)) for name, layer in whole_layers(detector.model)
        }

    def read(path: Path) -> Prepared:
        content = images.read_bytes(path)
        return detector.prepare(content, images.decode(content, str(path)))

    fit, held_out = moments(), moments()
    used = [0, 0]
    for _, future in prefetch(read, paths, workers):
        on_image()
        try:
            prepared = future.result()
        except FrcnnError:  # a photograph that cannot be read tells nothing
            continue
        if not len(prepared.rois):
            continue
        judges = sum(used) % HELD_OUT == HELD_OUT - 1 or sum(used) == 1
        used[judges] += 1
        with torch.inference_mode():
            pooled, _ = detector.pool(prepared)
            chosen = torch.linspace(0, len(pooled) - 1, min(len(pooled), ROIS_PER_IMAGE)).long()
            _observe(detector.model, pooled[chosen], held_out if judges else fit)
    if not all(used):
        raise DataError(f"{source}: fewer than two images to calibrate with", "give more images")
    return Calibration(fit, held_out, sum(used), source)


def whole_layers(model: FastRCNN) -> list[tuple[str, nn.Linear]]:
    """The layers between RoI pooling and the heads that are not compressed, by name."""
    return [(n, layer) for n, layer in model.fc_layers.items() if isinstance(layer, nn.Linear)]


def _observe(model: FastRCNN, x: Tensor, moments: dict[str, OutputMoments]) -> None:
    for name, layer in whole_layers(model):
        y = nn.functional.linear(x, layer.weight)
        moments[name].add(y)
        x = (y + layer.bias).relu()
