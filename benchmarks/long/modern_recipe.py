"""What each choice of `--recipe modern` gives: short runs, each with one setting changed.

    python benchmarks/long/modern_recipe.py [--only NAME ...] [--seed 3] [--iterations 1000]
    python benchmarks/long/modern_recipe.py --backbone efficientnet_lite0 --rank 128

A network is trained on VOC2007 `train`, and evaluated on the first images of `val` by
VOC2007's mean average precision with box voting, in the precision that suits the processor. All
runs train on as many images. A run of SqueezeNet 1.1 takes about four minutes on two cores with
bfloat16; `make ablation` does them all.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from frcnn_cli.checkpoints.weights import load_weights
from frcnn_cli.config import TrainConfig, TrainRuntimeConfig
from frcnn_cli.data.registry import open_dataset
from frcnn_cli.proposers.cache import ProposalSource
from frcnn_cli.proposers.registry import selective_search
from frcnn_cli.recipes import recipe
from frcnn_cli.runtime.device import keep_freed_memory
from frcnn_cli.training.initialisation import Initialisation
from frcnn_cli.training.metrics import StepMetrics
from frcnn_cli.training.train import train
from frcnn_cli.training.validation import detect_in_validation

SHARED = Path(__file__).parents[3] / "shared"
MODERN = recipe("modern")

# The settings of `modern` that are changed; iterations follow from the number of images.
VARIANTS: dict[str, dict[str, object]] = {
    "modern": {},
    "another seed": {"seed": 4},
    "SGD at 0.001": {"optimizer": "sgd", "lr": 0.001, "weight_decay": 0.0005, "bias_lr": 2.0},
    "step instead of cosine": {"lr_schedule": "step"},
    "no warm-up": {"warmup": 0.0},
    "convolutions at the full rate": {"backbone_lr": 1.0},
    "rate doubled": {"lr": 2 * MODERN.lr},
    "rate halved": {"lr": MODERN.lr / 2},
    "4 images, rate doubled": {"images_per_batch": 4, "rois_per_batch": 256, "lr": 2 * MODERN.lr},
    "256 RoIs of 2 images": {"rois_per_batch": 256},
    "background from IoU 0": {"bg_low": 0.0},
    "hard examples of 1024 RoIs": {"mined_rois": 1024, "bg_low": 0.0},
    "averaged weights": {"ema": 0.998},
    "balanced class weights": {"class_weights": "balanced"},
    "scales of 416 to 544 pixels": {"scales": (416, 480, 544)},
    "dropout 0.5": {"dropout": 0.5},
}


def measure(name: str, args: argparse.Namespace) -> tuple[float, float]:
    """Train and evaluate a variant; mean average precision, 0..1, and seconds of training."""
    base = replace(MODERN, seed=args.seed, backbone=args.backbone, rank=args.rank)
    base = base if args.dropout is None else replace(base, dropout=args.dropout)
    config: TrainConfig = replace(base, **VARIANTS[name])  # type: ignore[arg-type]
    image_count = args.iterations * MODERN.images_per_batch
    config = replace(config, iterations=image_count // config.images_per_batch)
    dataset, validation = (
        open_dataset("voc2007", args.data, split, on_message=print) for split in ("train", "val")
    )
    source = ProposalSource(selective_search(), args.proposals)
    runtime = TrainRuntimeConfig(device=args.device)
    seconds = 0.0

    def on_step(metrics: StepMetrics) -> None:
        nonlocal seconds
        seconds += metrics.seconds

    with TemporaryDirectory() as folder:
        result = train(
            config,
            dataset,
            folder=Path(folder) / "run",
            initialisation=Initialisation(
                imagenet_weights=args.init if args.backbone == "squeezenet1_1" else None
            ),
            proposals=source,
            runtime=runtime,
            on_step=on_step,
        )
        network, header = load_weights(result.weights)
    detected = detect_in_validation(
        network,
        replace(header, scale=MODERN.scales[0]),  # alike for all variants
        source,
        validation.limited(args.images),
        device=args.device,
        precision=runtime.precision,
        threads=torch.get_num_threads(),
    )
    return detected.evaluate("voc07").mean_ap, seconds


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """The options that say where the data, the initial weights and the proposals are."""
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "VOCdevkit")
    parser.add_argument(
        "--init", type=Path, default=SHARED / "weights" / "squeezenet1_1_imagenet.pth"
    )
    parser.add_argument("--proposals", type=Path, default=Path("proposals"))
    parser.add_argument("--device", default="cpu")


def main() -> None:
    """Print a line for each variant as it is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_inputs(parser)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--backbone", default="squeezenet1_1")
    parser.add_argument("--rank", type=int, help="of fc6 and fc7; default: full")
    parser.add_argument("--iterations", type=int, default=1000, help="of 2 images")
    parser.add_argument("--seed", type=int, default=MODERN.seed)
    parser.add_argument("--dropout", type=float, help="of all variants but those that change it")
    parser.add_argument("--images", type=int, default=500, help="of val")
    args = parser.parse_args()
    keep_freed_memory()  # as the command does
    print(f"{args.iterations} iterations of 2 images, evaluated on {args.images} images of val")
    for name in args.only:
        mean_ap, seconds = measure(name, args)
        print(f"{name:30s} mAP {100 * mean_ap:5.1f}  trained for {seconds:4.0f} s", flush=True)
    print(
        f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}"
    )


if __name__ == "__main__":
    main()
