"""What it gives to start from a trained detector instead of ImageNet weights.

    python benchmarks/long/transfer.py voc:BCCD [--weights squeezenet1_1-voc07 --init FILE]

Trains twice with `--recipe modern` on a data set with classes of its own, for the same number of
iterations: from the ImageNet weights of a backbone, and from weights of it that are shipped, whose
new classes get new outputs. Prints the VOC2007 mAP of both on another split. Takes about ten
minutes on two cores.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from frcnn_cli import DetectConfig, Detector, Initialisation, evaluate, open_dataset, recipe, train
from frcnn_cli.cli.console import progress_lines, stderr
from frcnn_cli.runtime.device import keep_freed_memory
from frcnn_cli.runtime.paths import DEFAULT_WEIGHTS, find_weights
from frcnn_cli.training.initialisation import continue_from


def main() -> None:
    """Train and evaluate both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", help="such as voc:FOLDER")
    parser.add_argument("--weights", default=DEFAULT_WEIGHTS, help="a detector to start from")
    parser.add_argument(
        "--init", type=Path, help="ImageNet weights of its backbone [default: downloaded]"
    )
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--train-split", default="train")
    parser.add_argument("--test-split", default="val")
    options = parser.parse_args()
    keep_freed_memory()
    data = open_dataset(options.dataset, split=options.train_split)
    test = open_dataset(options.dataset, split=options.test_split)
    settings = replace(recipe("modern"), iterations=options.iterations)
    detector = continue_from(find_weights(options.weights), settings, chosen=())
    imagenet = replace(settings, backbone=detector[1].backbone)
    starts = {
        "ImageNet weights": (Initialisation(imagenet_weights=options.init), imagenet),
        options.weights: detector,
    }
    found = {}
    for name, (initialisation, config) in starts.items():
        with TemporaryDirectory() as folder:
            result = train(
                config,
                data,
                folder=Path(folder) / "run",
                initialisation=initialisation,
                progress=progress_lines(quiet=False),
                on_message=stderr.print,
            )
            assert result is not None
            trained = Detector.load(result.weights, config=DetectConfig(precision="auto"))
            found[name] = evaluate(trained, test, metric="voc07").mean_ap
            scale = trained.header.scale
        print(
            f"{name}: {100 * found[name]:.1f} mAP on {test.name} {test.split} after "
            f"{options.iterations} iterations at {scale} pixels",
            flush=True,
        )
    first, second = found.values()
    print(f"ratio {second / first:.2f} {options.weights} against ImageNet weights")


if __name__ == "__main__":
    main()
