"""Iterations per second of training, against a plain loop with torchvision's `roi_pool`.

    python benchmarks/train_step.py [--data VOCdevkit] [--init-folder FOLDER] [--backbone NAME ...]

The plain loop is what one writes first: one process, Pillow in the loop, float32, contiguous maps,
`torchvision.ops.roi_pool`, torch's SGD. Both train the same network on the same batches with the
paper's settings (but for --scale), in turns, each in a process of its own; afterwards their losses
are compared. The last iterations are ours alone: they tell how long is waited for data.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import roi_pool

from frcnn_cli.config import recipe
from frcnn_cli.data.registry import open_dataset
from frcnn_cli.inference.profile import gemm_rate
from frcnn_cli.models.region_network import RegionNetwork
from frcnn_cli.proposers.cache import ProposalSource
from frcnn_cli.proposers.registry import selective_search
from frcnn_cli.runtime.device import keep_freed_memory
from frcnn_cli.training.batches import BatchMaker
from frcnn_cli.training.optimizers import learning_rate, parameter_groups
from frcnn_cli.training.setup import Initialisation, prepare
from frcnn_cli.training.trainer import Runtime, Trainer

FILES = {"squeezenet1_1": "squeezenet1_1_imagenet.pth", "vgg16": "vgg16_features_imagenet.pth"}
WINDOWS = 8  # that the losses are averaged over
ALONE = 10  # iterations of ours without the peer
PAPER = 40_000  # iterations
SHARED = Path(__file__).parents[2] / "shared"


class PlainLoop:
    """The peer: nothing is overlapped, cached or fused."""

    def __init__(self, model: RegionNetwork, batches: BatchMaker) -> None:
        self.model = model.to(memory_format=torch.contiguous_format).train()
        self.device = model.feature_scale.device
        self.batches, self.config = batches, batches.config
        groups = parameter_groups(self.model, self.config)
        self.optimizer = torch.optim.SGD(groups, lr=self.config.lr, momentum=self.config.momentum)

    def step(self, iteration: int) -> float:
        """One iteration; the loss."""
        batch = self.batches(iteration)
        model, targets = self.model, batch.targets
        assert targets is not None
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, iteration) * group["factor"]
        images, rois, labels, wanted = (
            each.to(self.device)
            for each in (batch.images.contiguous(), batch.rois, targets.labels, targets.deltas)
        )
        features = model.features(images) * model.feature_scale
        bins = model.pooled_size
        x = roi_pool(features, rois, (bins, bins), 1 / model.stride)
        x = x.permute(0, 2, 3, 1).flatten(1)  # the order of the weights
        for layer in model.fc_layers.values():
            x = F.dropout(layer(x).relu())
        scores, deltas = model.cls_score(x), model.bbox_pred(x)
        loss = F.cross_entropy(scores, labels)
        chosen = deltas.view(len(deltas), -1, 4)[torch.arange(len(deltas)), labels]
        distance = F.smooth_l1_loss(chosen, wanted, reduction="none").sum(1)
        loss = loss + (distance * (labels > 0)).sum() / len(deltas)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


def plain_convolutions(model: RegionNetwork) -> RegionNetwork:
    """The same network with torch's own convolutions and pooling."""
    for module in model.modules():
        for kind in (nn.Conv2d, nn.MaxPool2d):
            if isinstance(module, kind):
                module.__class__ = kind
    return model


def be_the_peer(name: str, args: argparse.Namespace, start: Path, pipe: Connection) -> None:
    """Do the plain loop's iterations as they are asked for by number, in this process.

    Args:
        start: weights to begin with. pipe: numbers come, (loss, seconds) go.
    """
    torch.set_num_threads(args.threads)
    trainer = make_trainer(name, args)
    trainer.model.load_state_dict(torch.load(start, weights_only=True))
    peer = PlainLoop(plain_convolutions(trainer.model), trainer.batches)
    pipe.send(None)
    while (iteration := pipe.recv()) is not None:
        begun = time.perf_counter()
        loss = peer.step(iteration)
        pipe.send((loss, time.perf_counter() - begun))


def stages(trainer: Trainer) -> dict[str, float]:
    """Milliseconds of the parts of a step, each by itself."""
    model, batch = trainer.model, trainer.batches(0)
    times: dict[str, float] = {}

    def timed(name: str, start: float) -> None:
        if trainer.device.type == "cuda":
            torch.cuda.synchronize(trainer.device)
        times[name] = times.get(name, 0.0) + 1000 * (time.perf_counter() - start)

    rois = batch.rois.to(trainer.device)
    for turn in range(2):
        times.clear()
        start = time.perf_counter()
        trainer.batches(turn)
        timed("data, where nothing is overlapped", start)
        counts = torch.bincount(batch.rois[:, 0].long()).tolist()
        model.dropout.reseed(range(len(counts)), counts, trainer.device)
        images = batch.images.to(trainer.device, memory_format=torch.channels_last)
        precision = torch.autocast(
            trainer.device.type, trainer.precision, enabled=trainer.precision != torch.float32
        )
        start = time.perf_counter()
        with precision:
            features = model.features(images)
        timed("convolutions", start)
        leaf = features.detach().requires_grad_()
        start = time.perf_counter()
        with precision:
            pooled = model.region_features(leaf, rois)
        timed("RoI pooling", start)
        flat = pooled.detach().requires_grad_()
        start = time.perf_counter()
        with precision:
            output = model.heads(flat)
        (output.class_logits.float().sum() + output.box_deltas.float().sum()).backward()
        timed("fully connected", start)
        assert flat.grad is not None
        start = time.perf_counter()
        pooled.backward(flat.grad)
        timed("RoI pooling", start)
        assert leaf.grad is not None
        start = time.perf_counter()
        features.backward(leaf.grad)
        timed("convolutions", start)
        start = time.perf_counter()
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
        timed("optimiser", start)
    return times


def arithmetic(trainer: Trainer) -> float:
    """Floating-point operations of a step: forward, and for what learns twice as much again."""
    total = 0.0
    learning = False  # whether gradients must flow through a layer's input

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
        nonlocal total, learning
        assert isinstance(module, nn.Conv2d | nn.Linear)
        forward = 2.0 * module.weight[0].numel() * out.numel()
        trained = module.weight.requires_grad
        total += forward * (1 + trained + (trained and learning))
        learning = learning or trained

    layers = [m for m in trainer.model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    batch = trainer.batches(0)
    with torch.no_grad():
        trainer.model.eval()(batch.images.to(trainer.device), batch.rois.to(trainer.device))
    trainer.model.train()
    for hook in hooks:
        hook.remove()
    return total


def make_trainer(name: str, args: argparse.Namespace) -> Trainer:
    """Ours, with the paper's settings."""
    config = recipe("paper")
    config = replace(
        config, backbone=name, iterations=args.iterations + ALONE, scales=(args.scale,)
    )
    dataset = open_dataset("voc2007", args.data, "train", (), print).limited(args.limit)
    source = ProposalSource(selective_search(), args.proposals)
    origin = Initialisation(args.init_folder / FILES[name])
    runtime = Runtime(args.device)
    return prepare(dataset, source, config, origin, runtime, 2, lambda: None)


def compare(name: str, args: argparse.Namespace) -> float:
    """Print the table of a backbone; the ratio of the medians."""
    keep_freed_memory()  # as the command does
    trainer = make_trainer(name, args)
    ours: list[float] = []
    theirs: list[float] = []
    losses: tuple[list[float], list[float]] = ([], [])
    context = multiprocessing.get_context("spawn")
    pipe, other_end = context.Pipe()
    with TemporaryDirectory() as folder:
        trainer.run = Path(folder)
        start = trainer.run / "start.pt"
        torch.save(trainer.model.state_dict(), start)
        peer = context.Process(target=be_the_peer, args=(name, args, start, other_end), daemon=True)
        peer.start()
        other_end.close()
        pipe.recv()
        for iteration, step in enumerate(trainer.steps()):
            ours.append(step.seconds)
            losses[0].append(step.cls + step.loc)
            if iteration < args.iterations:
                pipe.send(iteration)
                loss, seconds = pipe.recv()
                losses[1].append(loss)
                theirs.append(seconds)
        pipe.send(None)
        peer.join()
        alone = slice(1 - ALONE, None)  # the first of them had its batch ready
        waited = sum(list(_column(trainer.run, "waited"))[alone]) / sum(ours[alone])
    # in turns, ours finds its batches made while the peer was busy
    mine, plain = statistics.median(ours[alone]), statistics.median(theirs[len(theirs) > 2 :])
    print(f"\n{name}: {len(theirs)} iterations of each in turns, then {ALONE} of ours; medians")
    print(f"  plain loop {1000 * plain:9.1f} ms   ours {1000 * mine:9.1f} ms   {plain / mine:.2f}")
    count = len(losses[1])
    size = max(2, count // WINDOWS)
    print(f"  mean loss of each {size} iterations, ours and the plain loop's (dropout differs)")
    for begin in range(0, count - size + 1, size):
        a, b = (each[begin : begin + size] for each in losses)
        gaps = [x - y for x, y in zip(a, b, strict=True)]
        error = statistics.stdev(gaps) / size**0.5
        print(
            f"    {statistics.mean(a):.3f} {statistics.mean(b):.3f}, apart by "
            f"{statistics.mean(gaps):+.3f}, standard error {error:.3f}"
        )
    table = stages(trainer)
    floor = arithmetic(trainer) / gemm_rate(trainer.device, trainer.precision)
    for label, value in table.items():
        print(f"  {label:34s} {value:9.1f} ms  {value / sum(table.values()):6.1%}")
    print(f"  waiting for data, of the time, where ours ran alone: {waited:.1%}")
    print(f"  arithmetic floor {1000 * floor:.1f} ms: {floor / mine:.0%} of it reached")
    print(f"  {PAPER:,} iterations would take {PAPER * mine / 3600:.1f} h")
    return plain / mine


def _column(run: Path, name: str) -> Iterator[float]:
    from frcnn_cli.training.metrics import COLUMNS, METRICS_FILE, read_rows

    return (row[COLUMNS.index(name)] for row in read_rows(run / METRICS_FILE))


def main() -> None:
    """Compare the backbones asked for; the last line is the lower ratio."""
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
        f"torch {torch.__version__}; the plain loop in float32, ours in what suits the processor"
    )
    print(f"ratio {min(ratios):.2f} training, plain loop / ours, the lower of {args.backbone}")


if __name__ == "__main__":
    main()
