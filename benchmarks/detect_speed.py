"""Detection on the CPU: ours, at full rank and at rank 256, against a plain torchvision detector.

Photographs are resized to 600×800; each has 2,000 boxes of selective search, computed beforehand.
The plain detector has the same weights in float32 and runs in a process of its own: torchvision's
`roi_pool` on a contiguous map, every RoI through the full layers, decoding of every box,
torchvision's NMS. Ours computes in the type of --precision; that the scores of both agree is
checked in float32. The weights are random, which does not change the time. Prints the median
seconds per image over interleaved repetitions.
"""

from __future__ import annotations

import argparse
import copy
import multiprocessing
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage import data
from torch import Tensor, nn
from torchvision.ops import batched_nms
from torchvision.ops import roi_pool as torchvision_roi_pool

from frcnn_cli.checkpoints.weights import WeightsHeader
from frcnn_cli.config import DetectConfig
from frcnn_cli.data.collate import PreprocessedImage, collate, preprocess
from frcnn_cli.data.transforms import Normalizer
from frcnn_cli.inference.detector import Detector
from frcnn_cli.inference.profile import copy_rate, gemm_rate
from frcnn_cli.models.backbones import CAFFE_PIXELS
from frcnn_cli.models.detectors import build_network
from frcnn_cli.models.region_network import RegionNetwork
from frcnn_cli.proposers.cache import ProposalSource
from frcnn_cli.proposers.registry import selective_search
from frcnn_cli.runtime.device import keep_freed_memory, pick_precision
from frcnn_cli.structures import PixelStatistics

HEIGHT, WIDTH, ROIS, CLASSES, RANK = 600, 800, 2000, 20, 256
PHOTOGRAPHS = (data.astronaut, data.chelsea, data.coffee, data.rocket)


def photographs() -> list[PreprocessedImage]:
    """Images of 600×800 pixels with their ROIS proposals."""
    source = selective_search()
    prepared = []
    for load in PHOTOGRAPHS:
        image = np.asarray(Image.fromarray(load()[..., :3]).resize((WIDTH, HEIGHT)))
        boxes = source.propose(image).top(ROIS).boxes
        prepared.append(preprocess(image, boxes, HEIGHT, WIDTH))
    return prepared


class Plain:
    """The peer: a plain detector, as one would first write it with torchvision."""

    def __init__(self, model: RegionNetwork, pixels: PixelStatistics) -> None:
        self.model = model
        for module in model.modules():  # torch's own convolutions and pooling in the place of ours
            for plain_class in (nn.Conv2d, nn.MaxPool2d):
                if isinstance(module, plain_class):
                    module.__class__ = plain_class
        self.normalize = Normalizer(pixels, model.device)
        # torchvision's roi_pool gives [R, C, bins, bins]; our fc6 takes the channels last
        fc6 = self.model.fc_layers["fc6"]
        bins, width = model.backbone.pooled_size, fc6.in_features
        weight = fc6.weight.detach().view(-1, bins, bins, width // bins**2)
        fc6.weight = nn.Parameter(weight.permute(0, 3, 1, 2).flatten(1).contiguous())

    @torch.inference_mode()
    def __call__(self, prepared: PreprocessedImage) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, scores and labels of the best 100."""
        model = self.model
        batch = collate([prepared])
        pixels = self.normalize(batch.images, batch.sizes)
        features = model.features(pixels.contiguous()) * model.feature_scale
        size = (model.backbone.pooled_size, model.backbone.pooled_size)
        x = torchvision_roi_pool(features, batch.rois, size, 1 / model.backbone.stride).flatten(1)
        for layer in model.fc_layers.values():
            x = layer(x).relu()
        scores = model.cls_score(x).softmax(1)[:, 1:]
        deltas = model.bbox_pred(x).view(len(x), -1, 4)[:, 1:]
        boxes = torch.from_numpy(prepared.rois)[:, None]
        sides = boxes[..., 2:] - boxes[..., :2]
        centres = boxes[..., :2] + sides / 2 + deltas[..., :2] * sides
        halves = sides * deltas[..., 2:].exp() / 2
        decoded = torch.cat([centres - halves, centres + halves], dim=2)
        keep = scores > 0.05
        boxes, scores = decoded[keep], scores[keep]
        labels = keep.nonzero()[:, 1]
        best = batched_nms(boxes, scores, labels, 0.3)[:100]
        return boxes[best], scores[best], labels[best]


def network(name: str) -> RegionNetwork:
    """A network with random weights, the same ones in every process."""
    torch.manual_seed(0)
    model = build_network(name, CLASSES).eval()
    nn.init.normal_(model.cls_score.weight, std=1e-4)  # few candidates, as with trained weights
    model.cls_score.bias.data[0] = 6.0
    return model


def run_peer(name: str, threads: int, images: list[PreprocessedImage], pipe: Connection) -> None:
    """Detect in the images whose indices come through the pipe; send back (scores, seconds)."""
    torch.set_num_threads(threads)
    plain = Plain(network(name), CAFFE_PIXELS)
    while (index := pipe.recv()) is not None:
        start = time.perf_counter()
        _, scores, _ = plain(images[index])
        pipe.send((scores.numpy(), time.perf_counter() - start))


def timed(
    functions: dict[str, Callable[[int], float]], count: int, repetitions: int
) -> dict[str, float]:
    """The median seconds per image of each function; the functions are called in turns.

    Args:
        functions: each takes the index of an image and returns the seconds that it took.
        count: number of images.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    for repetition in range(repetitions + 1):
        for index in range(count):
            for name, function in functions.items():
                seconds = function(index)
                if repetition:  # the first one warms up
                    times[name].append(seconds)
    return {name: statistics.median(each) for name, each in times.items()}


def stopwatch(ours: Detector, images: Sequence[PreprocessedImage]) -> Callable[[int], float]:
    """A function that takes the index of an image and returns the seconds that we need for it."""

    def work(index: int) -> float:
        start = time.perf_counter()
        ours.detect(images[index])
        return time.perf_counter() - start

    return work


def floor(
    ours: Detector, images: Sequence[PreprocessedImage], gemm: float, copy_bytes: float
) -> float:
    """A lower bound for the seconds per image: the arithmetic, with every distinct RoI in all
    layers, at the rate of a large product, and the bytes of RoI pooling at that of a copy.

    Args:
        gemm: FLOPs per second of a large product. copy_bytes: bytes per second of a copy.
    """
    model = ours.network
    seconds = []
    for image in images:
        features, rois, _ = ours.extract_features(image)
        pooled = len(rois) * features.shape[1] * model.backbone.pooled_size**2
        flops = model.image_flops((HEIGHT, WIDTH)) + len(rois) * model.head_flops()
        seconds.append(
            flops / gemm + ours.dtype.itemsize * (features.numel() + pooled) / copy_bytes
        )
    return statistics.fmean(seconds)


def detector(model: RegionNetwork, name: str, precision: str) -> Detector:
    """Our detector, with fully connected layers of full rank."""
    header = WeightsHeader(
        backbone=name,
        classes=tuple(map(str, range(CLASSES))),
        pixels=CAFFE_PIXELS,
        scale=HEIGHT,
        max_size=WIDTH,
    )
    unused = ProposalSource(selective_search(), Path())
    return Detector(model, header, unused, DetectConfig(precision=precision), "cpu")


def at_rank(full: Detector, device: str = "cpu") -> Detector:
    """Our detector at rank 256, with other random weights, which do not change the time."""
    model = copy.deepcopy(full.network).float()  # Detector casts it again
    model.set_ranks({"fc6": RANK, "fc7": RANK})
    return Detector(model, full.header, full.proposals, full.config, device)


def agreement(ours: NDArray[np.floating], theirs: NDArray[np.floating]) -> float:
    """The largest difference between the sorted scores of two detectors, as far as both go."""
    count = min(len(ours), len(theirs))
    return float(np.abs(ours[:count] - theirs[:count]).max(initial=0))


def main() -> None:
    """Time the backbones and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--backbones", nargs="+", default=["vgg16", "squeezenet1_1", "alexnet"])
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    arguments = parser.parse_args()
    keep_freed_memory()  # as the command does
    images = photographs()
    device = torch.device("cpu")
    dtype = pick_precision(arguments.precision, device)
    gemm, copy_bytes = gemm_rate(device, dtype), copy_rate(device)
    print(
        f"{gemm / 1e9:.0f} GFLOP/s in a large product in {str(dtype).removeprefix('torch.')}"
        f", {copy_bytes / 1e9:.1f} GB/s in a copy"
    )
    print(f"{'backbone':>14} {'':>9} {'seconds':>8} {'ratio':>6} {'floor s':>8} {'of floor':>8}")
    ratio = 0.0
    for name in arguments.backbones:
        full = detector(network(name), name, arguments.precision)
        small = at_rank(full)
        context = multiprocessing.get_context("spawn")
        pipe, other_end = context.Pipe()
        peer_args = (name, torch.get_num_threads(), images, other_end)
        peer = context.Process(target=run_peer, args=peer_args, daemon=True)
        peer.start()
        other_end.close()

        def plain(index: int, pipe: Connection = pipe) -> float:
            pipe.send(index)
            elapsed: float = pipe.recv()[1]
            return elapsed

        pipe.send(0)
        exact = detector(network(name), name, "fp32").detect(images[0])
        difference = agreement(exact.scores, pipe.recv()[0])
        assert difference < 1e-3, f"our scores differ from the peer's by {difference}"
        functions = {
            "plain": plain,
            "full": stopwatch(full, images),
            f"rank {RANK}": stopwatch(small, images),
        }
        times = timed(functions, len(images), arguments.repetitions)
        pipe.send(None)
        peer.join()
        floors = [floor(each, images, gemm, copy_bytes) for each in (full, small)]
        for variant, least in zip(functions, (None, *floors), strict=True):
            seconds = times[variant]
            ratio = times["plain"] / seconds
            line = f"{name:>14} {variant:>9} {seconds:>8.3f} {ratio:>6.1f}"
            print(line if least is None else f"{line} {least:>8.3f} {least / seconds:>8.0%}")
    print(
        f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}; plain in float32, ours in "
        f"{str(dtype).removeprefix('torch.')}"
    )
    print(f"ratio {ratio:.1f} detection with {name} at rank {RANK}, plain torchvision / ours")


if __name__ == "__main__":
    main()
