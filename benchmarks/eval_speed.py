"""Time of matching and average precision for detections of the size of VOC2007 test.

4,952 images with 100 detections each of 20 classes, random but with about as many true positives
as a detector has. The peers are the loop over detections that tests/reference.py transcribes from
the devkit, and pycocotools at IoU 0.5 for all sizes. Each gets the detections in the form that it
needs; only matching and AP are timed. Prints medians of interleaved repetitions.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from frcnn_cli.evaluation import coco
from frcnn_cli.evaluation.voc import evaluate_voc
from frcnn_cli.structures import Detections, GroundTruth

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import reference

IMAGES, BOXES, CLASSES, SIZE = 4952, 100, 20, 500


def random_set(images: int, seed: int = 0) -> tuple[list[Detections], list[GroundTruth]]:
    """About 3 objects an image, a quarter of them difficult; half of the detections near them."""
    rng = np.random.default_rng(seed)
    detections, truths = [], []
    for _ in range(images):
        count = 1 + rng.poisson(2)
        corner = rng.uniform(0, SIZE - 150, (count, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(30, 150, (count, 2))], axis=1)
        labels = rng.integers(1, CLASSES + 1, count)
        truths.append(
            GroundTruth(
                boxes=boxes.astype(np.float32), labels=labels, difficult=rng.random(count) < 0.25
            )
        )
        near = rng.integers(count, size=BOXES // 2)
        moved = boxes[near] + rng.normal(0, 12, (len(near), 4))
        corner = rng.uniform(0, SIZE - 100, (BOXES - len(near), 2))
        stray = np.concatenate([corner, corner + rng.uniform(10, 100, corner.shape)], axis=1)
        detected = np.concatenate([moved, stray])
        detected[:, 2:] = np.maximum(detected[:, 2:], detected[:, :2] + 1)
        near_classes = np.where(
            rng.random(len(near)) < 0.7, labels[near], rng.integers(1, 21, len(near))
        )
        classes = np.concatenate([near_classes, rng.integers(1, CLASSES + 1, len(stray))])
        scores = rng.random(BOXES).astype(np.float32)
        order = np.argsort(-scores)
        detections.append(
            Detections(
                boxes=detected[order].astype(np.float32),
                scores=scores[order],
                labels=classes[order],
                image_size=(SIZE, SIZE),
            )
        )
    return detections, truths


def seconds(function: Callable[[], object]) -> float:
    """Wall time of one call in seconds; what the call prints is dropped."""
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        function()
    return time.perf_counter() - start


def loop_ap(detections: Sequence[Detections], truths: Sequence[GroundTruth]) -> list[float]:
    """AP of each class by tests/reference.py."""
    return [reference.voc_ap(detections, truths, label) for label in range(1, CLASSES + 1)]


def coco_evaluation(
    detections: Sequence[Detections], truths: Sequence[GroundTruth]
) -> Callable[[], object]:
    """Build the index of pycocotools; return a function that evaluates with it."""
    datasets = []
    for rows in (coco.object_entries(truths, CLASSES), coco.detection_entries(detections, CLASSES)):
        dataset = COCO()
        dataset.dataset = coco.coco_dataset(rows, len(truths), CLASSES)
        with contextlib.redirect_stdout(io.StringIO()):
            dataset.createIndex()
        datasets.append(dataset)

    def run() -> object:
        evaluation = COCOeval(*datasets, "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [BOXES]
        evaluation.evaluate()
        evaluation.accumulate()
        return evaluation

    return run


def main() -> None:
    """Time the three implementations and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--images", type=int, default=IMAGES)
    args = parser.parse_args()
    detections, truths = random_set(args.images)
    functions: dict[str, Callable[[], object]] = {
        "ours": lambda: evaluate_voc(detections, truths, CLASSES),
        "the loop": lambda: loop_ap(detections, truths),
        "pycocotools": coco_evaluation(detections, truths),
    }
    ap = evaluate_voc(detections, truths, CLASSES).ap
    difference = np.abs(ap - loop_ap(detections, truths)).max()
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(args.repetitions):
        for name, function in functions.items():
            times[name].append(seconds(function))
    medians = {name: statistics.median(each) for name, each in times.items()}
    print(f"{'':>12} {'seconds':>8} {'ratio':>7}")
    for name, median in medians.items():
        print(f"{name:>12} {median:>8.3f} {median / medians['ours']:>7.1f}")
    boxes = sum(map(len, detections))
    print(f"{args.images} images, {boxes} detections, {CLASSES} classes, mAP {ap.mean():.4f}")
    print(f"largest difference of an AP from the loop's: {difference:.1e}")
    print(f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}")
    peer = min((name for name in medians if name != "ours"), key=lambda name: medians[name])
    ratio = medians[peer] / medians["ours"]
    print(f"ratio {ratio:.1f} matching and AP, {peer} / ours, the quicker of two peers")


if __name__ == "__main__":
    main()
