"""The mean average precision of R-CNN, SPPnet, Fast R-CNN and its alternatives, trained alike.

    python benchmarks/long/family.py [--only NAME ...] [--seeds 3 4] [--images 300] [--judge 200]

All of them start from the same ImageNet weights of SqueezeNet 1.1, train on the same first images
of VOC2007 `train` with the same proposals, the recipe `modern` and the same number of windows, and
are judged on the first images of `val` by VOC2007's mean average precision, without box voting. The
settings in which R-CNN and SPPnet differ are those of `DETECTOR_SETTINGS`. Results go to --out as
JSON, variant by variant; what is there already is not run again.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from modern_recipe import add_inputs

from frcnn_cli.checkpoints.weights import load_weights
from frcnn_cli.config import DetectConfig, TrainRuntimeConfig
from frcnn_cli.data.registry import open_dataset
from frcnn_cli.evaluation.evaluate import evaluate
from frcnn_cli.inference.detector import Detector
from frcnn_cli.proposers.cache import ProposalSource
from frcnn_cli.proposers.registry import selective_search
from frcnn_cli.recipes import recipe
from frcnn_cli.runtime.device import keep_freed_memory
from frcnn_cli.training.initialisation import Initialisation
from frcnn_cli.training.train import train

# Name -> detector, and the settings in which its training differs
VARIANTS: dict[str, tuple[str, dict[str, object]]] = {
    "R-CNN": ("rcnn", {}),
    "SPPnet": ("sppnet", {}),
    "Fast R-CNN": ("fast_rcnn", {}),
    "convolutions frozen": ("fast_rcnn", {"train_from": "fc6"}),
    "SVMs": ("fast_rcnn", {"classifier": "svm"}),
    # with trained convolutions a batch of 128 images takes a minute and 128 times the memory
    "frozen, 128 images x 1 RoI": ("fast_rcnn", {"train_from": "fc6", "images_per_batch": 128}),
    "L2 loss of the boxes": ("fast_rcnn", {"loc_loss": "l2"}),
    "class-agnostic boxes": ("fast_rcnn", {"class_agnostic": True}),
    "difficult objects": ("fast_rcnn", {"difficult": True}),
    "classification alone": ("fast_rcnn", {"loc_weight": 0.0}),
}


def measure(name: str, seed: int, args: argparse.Namespace) -> dict[str, float]:
    """Train and judge a variant: mAP in per cent, and seconds of training and of judging."""
    detector, changes = VARIANTS[name]
    config = replace(
        recipe("modern", detector=detector),
        seed=seed,
        iterations=args.iterations,
        max_proposals=args.proposals_an_image,
    )
    config = replace(config, **changes)  # type: ignore[arg-type]
    training, judged = (
        open_dataset("voc2007", args.data, split).limited(count)
        for split, count in (("train", args.images), ("val", args.judge))
    )
    source = ProposalSource(selective_search(), args.proposals)
    begun = time.monotonic()
    with TemporaryDirectory(dir=args.work) as folder:
        result = train(
            config,
            training,
            folder=Path(folder) / "run",
            initialisation=Initialisation(imagenet_weights=args.init),
            proposals=source,
            runtime=TrainRuntimeConfig(
                device=args.device, cache_features=config.train_from == "fc6"
            ),
        )
        assert result is not None
        network, header = load_weights(result.weights)
    trained = time.monotonic()
    settings = DetectConfig(
        precision="auto",
        vote_threshold=0.0,
        max_proposals=args.proposals_an_image,
        box_regression=config.loc_weight > 0,
    )
    judge = Detector(network, header, source, settings, args.device)
    mean_ap = evaluate(judge, judged, metric="voc07").mean_ap
    return {
        "mAP": 100 * mean_ap,
        "training, s": trained - begun,
        "judging, s": time.monotonic() - trained,
    }


def main() -> None:
    """Print a line for each variant and seed as it is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_inputs(parser)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 4])
    parser.add_argument("--iterations", type=int, default=600, help="batches of 128 windows")
    parser.add_argument("--images", type=int, default=300, help="of train")
    parser.add_argument("--judge", type=int, default=200, help="images of val")
    parser.add_argument("--proposals-an-image", type=int, default=300)
    parser.add_argument("--work", type=Path, help="for temporary files, such as features")
    parser.add_argument("--out", type=Path, default=Path("family.json"))
    args = parser.parse_args()
    keep_freed_memory()  # as the command does
    results = json.loads(args.out.read_text()) if args.out.exists() else {}
    for name in args.only:
        for seed in args.seeds:
            key = f"{name}, seed {seed}"
            if key not in results:
                results[key] = measure(name, seed, args)
                args.out.write_text(json.dumps(results, indent=1))
            numbers = ", ".join(f"{what} {value:.1f}" for what, value in results[key].items())
            print(f"{key:36s} {numbers}", flush=True)
    print(
        f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}"
    )


if __name__ == "__main__":
    main()
