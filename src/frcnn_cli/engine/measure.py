"""What a network costs on this machine."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn

from ..config import DetectConfig
from ..data.batching import prepare
from ..errors import FrcnnError
from ..models.fast_rcnn import FastRCNN
from ..models.low_rank import low_rank_layer
from ..paths import WEIGHTS_SUFFIX
from ..proposers.cache import ProposalSource
from ..proposers.methods import selective_search
from .checkpoint import WeightsHeader, load_weights, save_weights
from .detect import Detector
from .device import keep_freed_memory, peak_bytes
from .ranks import Ranks

ROIS = 2000  # of the image that is measured
RUNS = 5


@dataclass(frozen=True)
class Cost:
    """Of one weights file."""

    bytes: int  # of the file
    parameters: int
    head_flops: int  # of the fully connected layers for one RoI; a multiply-add is two
    milliseconds: float  # an image with 2,000 RoIs, proposals and decoding excluded; median of 5
    peak_bytes: int  # resident memory of the process at its largest; on a GPU, what it held there


def measure(weights: Path, device: str) -> Cost:
    """Measure a weights file in a new process, so that nothing else counts.

    The image is noise of the network's scale, 3:4, with boxes at random: nearly all of them on
    cells of their own, which real proposals are not.

    Raises:
        FrcnnError: the process was killed.
    """
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(cost, weights, device, torch.get_num_threads()).result()
    except BrokenExecutor:
        raise FrcnnError(
            f"the process that measured {weights} was killed", "it needs more memory"
        ) from None


def measure_model(model: FastRCNN, header: WeightsHeader, device: str) -> Cost:
    """Measure a network as a weights file in half precision."""
    with TemporaryDirectory() as folder:
        trial = Path(folder) / f"trial{WEIGHTS_SUFFIX}"
        save_weights(trial, model, header, half=True)
        return measure(trial, device)


def cost(weights: Path, device: str, threads: int) -> Cost:
    """Measure a weights file in this process; for the image see `measure`."""
    torch.set_num_threads(threads)
    keep_freed_memory()  # as the commands do
    model, header = load_weights(weights)
    nowhere = ProposalSource(selective_search(), Path())
    detector = Detector(model, header, nowhere, DetectConfig(), device)
    rng = np.random.default_rng(0)
    height, width = header.scale, min(header.scale * 4 // 3, header.max_size)
    corners = np.sort(rng.random((ROIS, 2, 2), dtype=np.float32), axis=1)
    boxes = (corners * np.array([width, height], np.float32)).reshape(ROIS, 4)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    prepared = prepare(image, boxes, header.scale, header.max_size)
    seconds = median_seconds(lambda: detector.infer(prepared), detector.device)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    size = weights.stat().st_size
    return Cost(size, parameters, head_flops(model), seconds * 1000, peak_bytes(detector.device))


def head_flops(model: FastRCNN) -> int:
    """Floating-point operations of the fully connected layers for one RoI."""
    parts = (model.fc_layers, model.cls_score, model.bbox_pred)
    layers = [layer for part in parts for layer in part.modules() if isinstance(layer, nn.Linear)]
    return 2 * sum(layer.weight.numel() for layer in layers)


def now(device: torch.device) -> float:
    """Seconds on a clock, when all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def median_seconds(work: Callable[[], object], device: torch.device) -> float:
    """Median time of a piece of work, after one run that does not count."""
    work()
    seconds = []
    for _ in range(RUNS):
        start = now(device)
        work()
        seconds.append(now(device) - start)
    return statistics.median(seconds)


class HeadTimer:
    """Measures the fully connected layers of a network at ranks of choice."""

    def __init__(self, model: FastRCNN, device: torch.device) -> None:
        self._model, self._device = model, device

    @torch.inference_mode()
    def __call__(self, ranks: Ranks) -> float:
        """Seconds for ROIS RoIs; the weights do not matter, so they are random."""
        layers: list[nn.Module] = []
        width = 0
        for name, layer in self._model.fc_layers.items():
            assert isinstance(layer, nn.Linear)
            rank = ranks[name]
            sizes = (layer.in_features, layer.out_features)
            layers += [nn.Linear(*sizes) if rank is None else low_rank_layer(*sizes, rank)]
            layers += [nn.ReLU()]
            width = width or layer.in_features
        heads = (self._model.cls_score, self._model.bbox_pred)
        network = nn.Sequential(*layers).to(self._device)
        x = torch.rand(ROIS, width, device=self._device)

        def work() -> None:
            features = network(x)
            for head in heads:
                head(features)

        return median_seconds(work, self._device)
