"""What a network costs on this machine."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn

from ..checkpoints.weights import WeightsHeader, load_weights, save_weights
from ..config import DetectConfig
from ..data.collate import preprocess
from ..errors import FrcnnError
from ..inference.detector import Detector
from ..models.flops import head_flops
from ..models.low_rank import low_rank_layer
from ..models.region_network import RegionNetwork
from ..proposers.cache import ProposalSource
from ..proposers.registry import selective_search
from ..runtime.device import keep_freed_memory, peak_bytes
from ..runtime.paths import WEIGHTS_SUFFIX
from ..runtime.timing import median_seconds
from .ranks import Ranks

ROIS = 2000  # of the image that is measured


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


def measure_model(model: RegionNetwork, header: WeightsHeader, device: str) -> Cost:
    """Measure a network as a weights file in half precision."""
    with TemporaryDirectory() as folder:
        trial = Path(folder) / f"trial{WEIGHTS_SUFFIX}"
        save_weights(trial, model, header, half=True)
        return measure(trial, device)


def cost(weights: Path, device: str, threads: int) -> Cost:
    """Measure a weights file in this process; for the image see `measure`."""
    torch.set_num_threads(threads)
    keep_freed_memory()  # as the commands do
    network, header = load_weights(weights)
    nowhere = ProposalSource(selective_search(), Path())
    detector = Detector(network, header, nowhere, DetectConfig(), device)
    rng = np.random.default_rng(0)
    height, width = header.scale, min(header.scale * 4 // 3, header.max_size)
    corners = np.sort(rng.random((ROIS, 2, 2), dtype=np.float32), axis=1)
    boxes = (corners * np.array([width, height], np.float32)).reshape(ROIS, 4)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = preprocess(pixels, boxes, header.scale, header.max_size)
    seconds = median_seconds(lambda: detector.detect(image), detector.device)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    size = weights.stat().st_size
    return Cost(size, parameters, head_flops(network), seconds * 1000, peak_bytes(detector.device))


class HeadTimer:
    """Measures the fully connected layers of a network at ranks of choice."""

    def __init__(self, network: RegionNetwork, device: torch.device) -> None:
        self._network, self._device = network, device

    @torch.inference_mode()
    def __call__(self, ranks: Ranks) -> float:
        """Seconds for ROIS RoIs; the weights do not matter, so they are random."""
        layers: list[nn.Module] = []
        width = 0
        for name, layer in self._network.compressible_layers().items():
            rank = ranks[name]
            sizes = (layer.in_features, layer.out_features)
            layers += [nn.Linear(*sizes) if rank is None else low_rank_layer(*sizes, rank)]
            layers += [nn.ReLU()]
            width = width or layer.in_features
        heads = self._network.output_layers().values()
        stack = nn.Sequential(*layers).to(self._device)
        x = torch.rand(ROIS, width, device=self._device)

        def work() -> None:
            features = stack(x)
            for head in heads:
                head(features)

        return median_seconds(work, self._device)
