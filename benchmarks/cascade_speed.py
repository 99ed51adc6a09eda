"""Detection with the two heads of one weights file: each of them alone, and both as a cascade.

The images are the first of VOC2007 `val`; their proposals come from the cache, and missing ones are
computed. Reading and proposing are not timed. Prints the median milliseconds per image over
interleaved repetitions, and the mean average precision of each head on the timed images.
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
from frcnn_cli.data.dataset import Dataset
from frcnn_cli.data.registry import open_dataset
from frcnn_cli.evaluation.voc import evaluate_voc
from frcnn_cli.inference.detector import Detector
from frcnn_cli.proposers.registry import proposal_source
from frcnn_cli.structures import Detections


def load_detectors(weights: Path, precision: str) -> dict[str, Detector]:
    """A detector with each head, and one with both."""
    network, header = load_weights(weights)
    if not header.prefilter:
        raise SystemExit(f"{weights} has no prefilter: make it with frcnn compress --keep-full")
    source, config = proposal_source(), DetectConfig(precision=precision)
    low_rank = copy.deepcopy(network)
    low_rank.fc_layers.update(low_rank.prefilter)
    low_rank.prefilter.clear()
    return {
        "full": Detector(network, header, source, replace(config, cascade=False), "cpu"),
        "low rank": Detector(low_rank, header, source, config, "cpu"),
        "cascade": Detector(network, header, source, config, "cpu"),
    }


def measure(
    detectors: dict[str, Detector], dataset: Dataset, repetitions: int
) -> tuple[dict[str, list[float]], dict[str, list[Detections]]]:
    """Seconds of every repetition, and the detections in every image, by detector."""
    seconds: dict[str, list[float]] = {name: [] for name in detectors}
    detections: dict[str, list[Detections]] = {name: [] for name in detectors}
    for index in range(len(dataset)):
        content, image, _ = dataset.read(index)
        preprocessed = detectors["full"].preprocess(content, image)
        for repetition in range(repetitions + (index == 0)):
            for name, detector in detectors.items():
                start = time.perf_counter()
                result = detector.detect(preprocessed)
                elapsed = time.perf_counter() - start
                if repetition == 0:
                    detections[name].append(result)
                if repetition or index:  # the first detection only warms up
                    seconds[name].append(elapsed)
    return seconds, detections


def main() -> None:
    """Time the three detectors and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "weights",
        type=Path,
        nargs="?",
        help="written by frcnn compress --keep-full; without it nothing is run",
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
    detectors = load_detectors(arguments.weights, arguments.precision)
    dataset = open_dataset("voc2007", arguments.data, "val", ("val",), print)
    dataset = dataset.limited(arguments.images).with_classes(detectors["full"].classes)
    seconds, detections = measure(detectors, dataset, arguments.repetitions)
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    truths = dataset.ground_truths()
    print(f"{'head':>8} {'ms':>7} {'mAP':>6}")
    for name, median in medians.items():
        mean_ap = evaluate_voc(detections[name], truths, len(dataset.classes)).mean_ap
        print(f"{name:>8} {1e3 * median:>7.0f} {100 * mean_ap:>6.2f}")
    print(
        f"{len(dataset)} images; {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"{str(detectors['full'].dtype).removeprefix('torch.')}"
    )
    print(
        f"ratio {medians['full'] / medians['cascade']:.2f} detection, the full head / the cascade"
    )


if __name__ == "__main__":
    main()
