"""The two heads of one weights file: the full one, the small one, and both as a cascade.

Images are the first of VOC2007 `val` with their cached proposals (made where they are missing);
reading and proposing are not timed. Prints milliseconds per image, medians of interleaved
repetitions, and the average precision of each on the images that were timed.
"""

from __future__ import annotations

import argparse
import copy
import platform
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch

from frcnn_cli.checkpoints.weights import load_weights
from frcnn_cli.config import DetectConfig
from frcnn_cli.data.registry import open_dataset
from frcnn_cli.evaluation.voc import evaluate
from frcnn_cli.inference.detector import Detector
from frcnn_cli.proposers.cache import ProposalSource
from frcnn_cli.proposers.registry import selective_search
from frcnn_cli.runtime.paths import proposals_dir
from frcnn_cli.structures import Detections


def detectors(weights: Path, precision: str) -> dict[str, Detector]:
    """The three ways to use the file."""
    model, header = load_weights(weights)
    assert header.prefilter, "the weights need both heads: frcnn compress --keep-full"
    source = ProposalSource(selective_search(), proposals_dir())
    config = DetectConfig(precision=precision)
    small = copy.deepcopy(model)
    small.fc_layers.update(small.prefilter)
    small.prefilter.clear()
    return {
        "full": Detector(model, header, source, replace(config, cascade=False), "cpu"),
        "small": Detector(small, header, source, config, "cpu"),
        "cascade": Detector(model, header, source, config, "cpu"),
    }


def main() -> None:
    """Time the three and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "weights", type=Path, nargs="?", help="written by frcnn compress --keep-full; none: skipped"
    )
    data = Path(__file__).resolve().parents[2] / "shared/data"
    parser.add_argument("--data", type=Path, default=data, help="folder of VOCdevkit")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    arguments = parser.parse_args()
    if arguments.weights is None:
        print("skipped: no weights with both heads given (frcnn compress --keep-full)")
        return
    three = detectors(arguments.weights, arguments.precision)
    images = open_dataset("voc2007", arguments.data, "val", ("val",), print)
    images = images.limited(arguments.images).with_classes(three["full"].classes)
    times: dict[str, list[float]] = {name: [] for name in three}
    found: dict[str, list[Detections]] = {name: [] for name in three}
    for index in range(len(images)):
        content, image, _ = images.read(index)
        prepared = three["full"].preprocess(content, image)
        for repetition in range(arguments.repetitions + (index == 0)):
            for name, detector in three.items():
                start = time.perf_counter()
                detections = detector.detect(prepared)
                taken = time.perf_counter() - start
                if repetition == 0:  # of the first image it warms up, and does not count
                    found[name].append(detections)
                if repetition or index:
                    times[name].append(taken)
    truths = [images.ground_truth(index) for index in range(len(images))]
    print(f"{'head':>8} {'ms':>7} {'mAP':>6}")
    for name in three:
        mean_ap = evaluate(found[name], truths, len(images.classes)).mean_ap
        print(f"{name:>8} {1e3 * statistics.median(times[name]):>7.0f} {100 * mean_ap:>6.2f}")
    print(
        f"{len(images)} images; {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"{str(three['full'].dtype).removeprefix('torch.')}"
    )
    ratio = statistics.median(times["full"]) / statistics.median(times["cascade"])
    print(f"ratio {ratio:.2f} detection, the full head / the cascade")


if __name__ == "__main__":
    main()
