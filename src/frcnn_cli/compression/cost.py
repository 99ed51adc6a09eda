"""The cost of a detector on this machine: bytes, operations, milliseconds, memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn

from ..checkpoints.weights import WeightsHeader, load_weights, save_weights
from ..config import DetectConfig
from ..data.collate import preprocess
from ..errors import FrcnnError, WeightsError
from ..inference.detector import Detector
from ..models.low_rank import low_rank_layer
from ..models.region_network import RegionNetwork
from ..proposers.cache import ProposalSource
from ..proposers.registry import selective_search
from ..runtime.device import keep_freed_memory, peak_bytes, pick_precision
from ..runtime.paths import WEIGHTS_SUFFIX
from ..runtime.timing import median_seconds
from .ranks import Ranks

ROIS = 2000  # of the image that the time is measured on
_UNKNOWN = 3  # exit status of the process that measures: it cannot load the weights


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of one weights file."""

    bytes: int  # of the file
    parameters: int
    head_flops: int  # of the fully connected layers for one RoI; a multiply-add is two
    milliseconds: float  # an image with 2,000 RoIs, proposals and decoding excluded; median of 5
    # most resident memory of the process; on a GPU, most memory used there; 0 where not known
    peak_bytes: int


def measure_weights(weights: Path, device: str) -> Cost:
    """Measure a weights file in a process of its own, whose memory holds nothing else.

    The image is noise of the size in the header, at an aspect ratio of 3:4, with random boxes.
    Unlike real proposals, nearly all of them cover different feature cells.

    The process does not run the script that calls this, as one of `multiprocessing` would. Where it
    cannot load the weights, because the script has added their backbone or detector, they are
    measured in this process, without its memory.

    Raises:
        FrcnnError: the process failed or was killed.
        WeightsError: see `load_weights`.
    """
    threads = torch.get_num_threads()
    # -P: files in the working folder are no modules, except where they are for this process
    command = [sys.executable, "-P", "-m", __name__, str(weights), device, str(threads)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode == _UNKNOWN:
        return replace(measure_here(weights, device, threads), peak_bytes=0)
    if done.returncode < 0:
        raise FrcnnError(
            f"the process that measured {weights} was killed by signal {-done.returncode}",
            "signal 9 often means that memory was short",
        )
    if done.returncode > 0:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise FrcnnError(f"the process that measured {weights} failed: {said[-1]}")
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def measure_network(
    network: RegionNetwork, header: WeightsHeader, device: str, *, half: bool
) -> Cost:
    """Measure a network as if it were saved as a weights file, in float16 or in float32."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"trial{WEIGHTS_SUFFIX}"
        save_weights(file, network, header, half)
        return measure_weights(file, device)


def measure_here(weights: Path, device: str, threads: int) -> Cost:
    """Measure a weights file in this process; see `measure_weights`."""
    torch.set_num_threads(threads)
    keep_freed_memory()  # as the commands do
    network, header = load_weights(weights)
    unused = ProposalSource(selective_search(), Path())
    detector = Detector(network, header, unused, DetectConfig(precision="auto"), device)
    rng = np.random.default_rng(0)
    height, width = header.scale, min(header.scale * 4 // 3, header.max_size)
    corners = np.sort(rng.random((ROIS, 2, 2), dtype=np.float32), axis=1)
    boxes = (corners * np.array([width, height], np.float32)).reshape(ROIS, 4)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = preprocess(pixels, boxes, header.scale, header.max_size)
    seconds = median_seconds(lambda: detector.detect(image), detector.device)
    return Cost(
        bytes=weights.stat().st_size,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        head_flops=network.head_flops(),
        milliseconds=seconds * 1000,
        peak_bytes=peak_bytes(detector.device),
    )


class HeadTimer:
    """Measures the time of a network's fully connected layers at any ranks, in the type in which
    `frcnn detect` computes on the device."""

    def __init__(self, network: RegionNetwork, device: torch.device) -> None:
        self._network, self._device = network, device

    @torch.inference_mode()
    def __call__(self, ranks: Ranks) -> float:
        """Seconds for ROIS RoIs, with random weights: their values do not change the time."""
        layers: list[nn.Module] = []
        width = 0
        for name, layer in self._network.compressible_layers().items():
            rank = ranks[name]
            sizes = (layer.in_features, layer.out_features)
            layers += [nn.Linear(*sizes) if rank is None else low_rank_layer(*sizes, rank)]
            layers += [nn.ReLU()]
            width = width or layer.in_features
        dtype = pick_precision("auto", self._device)
        box_head = nn.Sequential(*layers).to(self._device, dtype)
        output_layers = nn.ModuleList(
            nn.Linear(layer.in_features, layer.out_features)
            for layer in self._network.output_layers().values()
        ).to(self._device, dtype)
        x = torch.rand(ROIS, width, device=self._device).to(dtype)

        def work() -> None:
            features = box_head(x)
            for layer in output_layers:
                layer(features)

        return median_seconds(work, self._device)


def _main(weights: str, device: str, threads: str) -> int:
    """Print the cost of a weights file as JSON, for `measure_weights`; returns the exit status."""
    try:
        print(json.dumps(asdict(measure_here(Path(weights), device, int(threads)))))
    except WeightsError:
        return _UNKNOWN
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
