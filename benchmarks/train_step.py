"""Time of a training step, against a plain loop with torchvision's `roi_pool`.

    python benchmarks/train_step.py [--data VOCdevkit] [--init-folder FOLDER] [--backbone NAME ...]

The plain loop is what one would write first: one process, Pillow in the loop, float32, contiguous
maps, `torchvision.ops.roi_pool`, torch's SGD. Both train the same network on the same batches with
the paper's settings (except --scale), in turns, each in a process of its own; afterwards their
losses are compared. The last iterations are ours alone: they show how long we wait for data.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import roi_pool

from frcnn_cli.config import TrainRuntimeConfig
from frcnn_cli.data.registry import open_dataset
from frcnn_cli.data.transforms import Normalizer
from frcnn_cli.inference.profile import gemm_rate
from frcnn_cli.models.region_network import RegionNetwork
from frcnn_cli.proposers.cache import ProposalSource
from frcnn_cli.proposers.registry import selective_search
from frcnn_cli.recipes import recipe
from frcnn_cli.runtime.device import keep_freed_memory
from frcnn_cli.structures import Batch
from frcnn_cli.training.batches import BatchMaker
from frcnn_cli.training.initialisation import Initialisation
from frcnn_cli.training.learner import Learner
from frcnn_cli.training.metrics import StepMetrics
from frcnn_cli.training.optimizers import learning_rate, parameter_groups
from frcnn_cli.training.setup import set_up
from frcnn_cli.training.trainer import Trainer

FILES = {"squeezenet1_1": "squeezenet1_1_imagenet.pth", "vgg16": "vgg16_features_imagenet.pth"}
WINDOWS = 8  # groups of iterations over which the losses are averaged
ALONE = 10  # iterations of ours without the peer
PAPER_ITERATIONS = 40_000
SHARED = Path(__file__).parents[2] / "shared"


class PlainLoop:
    """The peer: nothing is overlapped, cached or fused.

    Args:
        precision: of the layers, by torch.autocast; None: float32.
    """

    def __init__(
        self, network: RegionNetwork, batches: BatchMaker, precision: torch.dtype | None = None
    ) -> None:
        self.precision = precision
        self.network = network.to(memory_format=torch.contiguous_format).train()
        self.normalize = Normalizer(batches.pixels, network.device)
        self.batches, self.config = batches, batches.config
        groups = parameter_groups(self.network, self.config)
        self.optimizer = torch.optim.SGD(groups, lr=self.config.lr, momentum=self.config.momentum)

    def step(self, iteration: int) -> float:
        """Make the batch of an iteration, do the iteration and return its loss."""
        return self.step_on(self.batches(iteration), iteration)

    def step_on(self, batch: Batch, iteration: int) -> float:
        """Do one iteration and return its loss."""
        network, targets = self.network, batch.targets
        assert targets is not None
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, iteration) * group["factor"]
        images = self.normalize(batch.images, batch.sizes)
        images, rois, labels, target_deltas = (
            each.to(network.device)
            for each in (images.contiguous(), batch.rois, targets.labels, targets.deltas)
        )
        with torch.autocast(network.device.type, self.precision, enabled=bool(self.precision)):
            maps = network.features(images) * network.feature_scale
            bins = network.backbone.pooled_size
            x = roi_pool(maps.float(), rois, (bins, bins), 1 / network.backbone.stride)
            x = x.permute(0, 2, 3, 1).flatten(1)  # the order of the weights
            for layer in network.fc_layers.values():
                x = F.dropout(layer(x).relu())
            logits, deltas = network.cls_score(x), network.bbox_pred(x)
            loss = F.cross_entropy(logits, labels)
            chosen = deltas.view(len(deltas), -1, 4)[
                torch.arange(len(labels), device=labels.device), labels
            ]
            distance = F.smooth_l1_loss(chosen, target_deltas, reduction="none").sum(1)
            loss = loss + (distance * (labels > 0)).sum() / len(deltas)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


def use_plain_convolutions(network: RegionNetwork) -> RegionNetwork:
    """Put torch's own convolutions and pooling in the place of ours."""
    for module in network.modules():
        for plain_class in (nn.Conv2d, nn.MaxPool2d):
            if isinstance(module, plain_class):
                module.__class__ = plain_class
    return network


def run_peer(name: str, args: argparse.Namespace, start: Path, pipe: Connection) -> None:
    """Run the plain loop in a process of its own, one iteration at each request.

    Args:
        start: file of the initial weights.
        pipe: receives the number of an iteration, sends (loss, seconds); None ends the process.
    """
    torch.set_num_threads(args.threads)
    learner = make_learner(name, args)
    learner.network.load_state_dict(torch.load(start, weights_only=True))
    peer = PlainLoop(use_plain_convolutions(learner.network), learner.batches)
    pipe.send(None)
    while (iteration := pipe.recv()) is not None:
        begun = time.perf_counter()
        loss = peer.step(iteration)
        pipe.send((loss, time.perf_counter() - begun))


def stage_times(learner: Learner) -> dict[str, float]:
    """Milliseconds of the stages of a step, each run by itself."""
    network, batch, device = learner.network, learner.batches(0), learner.device
    times: dict[str, float] = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times[name] = times.get(name, 0.0) + 1000 * (time.perf_counter() - begun)

    def autocast() -> torch.autocast:
        enabled = learner.precision != torch.float32
        return torch.autocast(device.type, learner.precision, enabled=enabled)

    rois = batch.rois.to(device)
    for iteration in range(2):  # the first one warms up
        times.clear()
        with timed("preparing a batch, not overlapped"):
            learner.batches(iteration)
        counts = batch.roi_counts
        network.dropout.reseed(range(len(counts)), counts, device)
        images = learner.normalize(batch.images, batch.sizes)
        with timed("convolutions"), autocast():
            maps = network.features(images)
        map_leaf = maps.detach().requires_grad_()
        with timed("RoI pooling"), autocast():
            pooled = network.region_features(map_leaf, rois)
        pooled_leaf = pooled.detach().requires_grad_()
        with timed("fully connected"):
            with autocast():
                output = network.heads(pooled_leaf)
            (output.class_logits.float().sum() + output.box_deltas.float().sum()).backward()
        assert pooled_leaf.grad is not None
        with timed("RoI pooling"):
            pooled.backward(pooled_leaf.grad)
        assert map_leaf.grad is not None
        with timed("convolutions"):
            maps.backward(map_leaf.grad)
        with timed("optimiser"):
            learner.optimizer.step()
            learner.optimizer.zero_grad()
    return times


def step_flops(learner: Learner) -> float:
    """Floating-point operations of a step.

    These are the operations of the forward pass, and as many again for the gradient of each weight
    that is trained and for the gradient of each input that one of those needs.
    """
    total = 0.0
    gradient_needed = False  # whether gradients must flow through a layer's input

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
        nonlocal total, gradient_needed
        assert isinstance(module, nn.Conv2d | nn.Linear)
        forward = 2.0 * module.weight[0].numel() * out.numel()
        trained = module.weight.requires_grad
        total += forward * (1 + trained + (trained and gradient_needed))
        gradient_needed = gradient_needed or trained

    network = learner.network
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    batch = learner.batches(0)
    with torch.no_grad():
        images = learner.normalize(batch.images, batch.sizes)
        network.eval()(images, batch.rois.to(learner.device))
    network.train()
    for hook in hooks:
        hook.remove()
    return total


def make_learner(name: str, args: argparse.Namespace) -> Learner:
    """Our learner, with the paper's settings."""
    config = replace(
        recipe("paper"), backbone=name, iterations=args.iterations + ALONE, scales=(args.scale,)
    )
    dataset = open_dataset("voc2007", args.data, "train").limited(args.limit)
    source = ProposalSource(selective_search(), args.proposals)
    return set_up(
        config,
        dataset,
        source,
        initialisation=Initialisation(imagenet_weights=args.init_folder / FILES[name]),
        runtime=TrainRuntimeConfig(device=args.device),
        threads=2,
    )


def compare(name: str, args: argparse.Namespace) -> float:
    """Print the table of a backbone; return the ratio of the median times, plain loop / ours."""
    keep_freed_memory()  # as the command does
    learner = make_learner(name, args)
    ours: list[StepMetrics] = []
    peers: list[tuple[float, float]] = []  # loss and seconds of each iteration
    context = multiprocessing.get_context("spawn")
    pipe, other_end = context.Pipe()
    with TemporaryDirectory() as folder:
        start = Path(folder) / "start.pt"
        torch.save(learner.network.state_dict(), start)
        peer = context.Process(target=run_peer, args=(name, args, start, other_end), daemon=True)
        peer.start()
        other_end.close()
        pipe.recv()
        for iteration, metrics in enumerate(Trainer(learner, folder=Path(folder)).steps()):
            ours.append(metrics)
            if iteration < args.iterations:
                pipe.send(iteration)
                peers.append(pipe.recv())
        pipe.send(None)
        peer.join()
    # Only the iterations without the peer are timed, since our workers prepare batches while the
    # peer computes. The first of them is left out, since its batch was prepared like that too.
    alone = ours[1 - ALONE :]
    our_median = statistics.median(metrics.seconds for metrics in alone)
    peer_median = statistics.median(seconds for _, seconds in peers[2:])
    print(f"\n{name}: {len(peers)} iterations of each in turns, then {ALONE} of ours; medians")
    print(
        f"  plain loop {1000 * peer_median:9.1f} ms   ours {1000 * our_median:9.1f} ms   "
        f"{peer_median / our_median:.2f}"
    )
    print_losses([metrics.cls + metrics.loc for metrics in ours], [loss for loss, _ in peers])
    times = stage_times(learner)
    for label, value in times.items():
        print(f"  {label:34s} {value:9.1f} ms  {value / sum(times.values()):6.1%}")
    waited = sum(metrics.waited for metrics in alone) / sum(metrics.seconds for metrics in alone)
    print(f"  time spent waiting for data, where ours ran alone: {waited:.1%}")
    floor = step_flops(learner) / gemm_rate(learner.device, learner.precision)
    print(f"  arithmetic floor {1000 * floor:.1f} ms: {floor / our_median:.0%} of it reached")
    print(
        f"  {PAPER_ITERATIONS:,} iterations would take {PAPER_ITERATIONS * our_median / 3600:.1f} h"
    )
    return peer_median / our_median


def print_losses(ours: list[float], peers: list[float]) -> None:
    """Print the mean losses of both in WINDOWS groups of iterations."""
    size = max(2, len(peers) // WINDOWS)
    print(f"  mean loss of each {size} iterations, ours and the plain loop's (dropout differs)")
    for begin in range(0, len(peers) - size + 1, size):
        a, b = (losses[begin : begin + size] for losses in (ours, peers))
        gaps = [x - y for x, y in zip(a, b, strict=True)]
        error = statistics.stdev(gaps) / size**0.5
        print(
            f"    {statistics.mean(a):.3f} {statistics.mean(b):.3f}, apart by "
            f"{statistics.mean(gaps):+.3f}, standard error {error:.3f}"
        )


def main() -> None:
    """Compare the chosen backbones; the last line has the lowest ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "VOCdevkit")
    parser.add_argument("--init-folder", type=Path, default=SHARED / "weights")
    parser.add_argument("--proposals", type=Path, default=Path("proposals"))
    parser.add_argument("--backbone", nargs="*", choices=FILES, default=list(FILES))
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--scale", type=int, default=600, help="shorter side, pixels")
    parser.add_argument("--limit", type=int, default=100, help="images")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    args.threads = torch.get_num_threads()
    if not args.data.is_dir() or not args.init_folder.is_dir():
        print("skipped: needs VOC2007 (--data) and initial weights (--init-folder)")
        return
    ratios = [compare(name, args) for name in args.backbone]
    print(
        f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}; the plain loop in float32, ours with --precision auto"
    )
    print(f"ratio {min(ratios):.2f} training, plain loop / ours, the lower of {args.backbone}")


if __name__ == "__main__":
    main()
