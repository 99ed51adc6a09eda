"""What each choice of `--recipe modern` gives: short runs, each with one setting changed.

    python benchmarks/long/modern_recipe.py [--only NAME ...] [--dropout 0.5] [--iterations 1000]

SqueezeNet 1.1 is trained on VOC2007 `train` and judged on the first images of `val` by VOC2007's
mean average precision, with box voting, in what precision suits the processor. All runs see as many
images. About four minutes a run on two cores with bfloat16; `make ablation` does them all.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from frcnn_cli.checkpoints.weights import load_weights
from frcnn_cli.config import TrainConfig, recipe
from frcnn_cli.data.registry import open_dataset
from frcnn_cli.proposers.cache import ProposalSource
from frcnn_cli.proposers.registry import selective_search
from frcnn_cli.runtime.device import keep_freed_memory
from frcnn_cli.training.setup import Initialisation, prepare
from frcnn_cli.training.trainer import WEIGHTS_FILE, Runtime
from frcnn_cli.training.validation import mean_average_precision

SHARED = Path(__file__).parents[3] / "shared"
MODERN = recipe("modern")

# what is changed in `modern`; "images" of a batch change the iterations with them
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
    "dropout 0.5": {"dropout": 0.5},
}


def measure(name: str, args: argparse.Namespace) -> tuple[float, float]:
    """Train and judge a variant; mean average precision, 0..1, and seconds of training."""
    base = MODERN if args.dropout is None else replace(MODERN, dropout=args.dropout)
    config: TrainConfig = replace(base, **VARIANTS[name])  # type: ignore[arg-type]
    images = args.iterations * MODERN.images_per_batch
    config = replace(config, iterations=images // config.images_per_batch)
    dataset, validation = (
        open_dataset("voc2007", args.data, split, (), print) for split in ("train", "val")
    )
    source = ProposalSource(selective_search(), args.proposals)
    threads = torch.get_num_threads()
    origin, runtime = Initialisation(args.init), Runtime(args.device)
    trainer = prepare(dataset, source, config, origin, runtime, threads, lambda: None)
    start = time.perf_counter()
    with TemporaryDirectory() as folder:
        trainer.run = Path(folder)
        for _ in trainer.steps():
            pass
        seconds = time.perf_counter() - start
        # not trainer.model, whose boxes are in units of the targets' deviation
        model, header = load_weights(trainer.run / WEIGHTS_FILE)
    value = mean_average_precision(
        model,
        header,
        source,
        validation.limited(args.images),
        str(trainer.device),
        runtime.precision,
        threads,
        lambda: None,
    )
    return value, seconds


def main() -> None:
    """Print a line for each variant as it is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "VOCdevkit")
    parser.add_argument(
        "--init", type=Path, default=SHARED / "weights" / "squeezenet1_1_imagenet.pth"
    )
    parser.add_argument("--proposals", type=Path, default=Path("proposals"))
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--iterations", type=int, default=1000, help="of 2 images")
    parser.add_argument("--dropout", type=float, help="of all runs but those that change it")
    parser.add_argument("--images", type=int, default=500, help="of val")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    keep_freed_memory()  # as the command does
    print(f"{args.iterations} iterations of 2 images, judged on {args.images} images of val")
    for name in args.only:
        value, seconds = measure(name, args)
        print(f"{name:30s} mAP {100 * value:5.1f}  trained for {seconds:4.0f} s", flush=True)
    print(
        f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}"
    )


if __name__ == "__main__":
    main()
