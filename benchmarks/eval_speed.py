"""Matching and average precision of VOC07-sized detections: ours against two others, in one run.

4,952 images with 100 detections each of 20 classes, made up so that objects are found as often as
a detector finds them. The peers are the loop over detections that tests/reference.py transcribes
from the devkit, and pycocotools at IoU 0.5 for all sizes. Each gets the detections in the form it
takes; what is timed is matching and AP. Prints medians of interleaved repetitions.
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

from frcnn_cli.evaluation import coco as coco_form
from frcnn_cli.evaluation.voc import evaluate
from frcnn_cli.structures import Detections, GroundTruth

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import reference

IMAGES, BOXES, CLASSES, SIZE = 4952, 100, 20, 500


def make(images: int, seed: int = 0) -> tuple[list[Detections], list[GroundTruth]]:
    """Random objects, 3 an image of which a quarter is difficult; near them and elsewhere boxes."""
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
        found = np.concatenate([moved, stray])
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        own = np.where(rng.random(len(near)) < 0.7, labels[near], rng.integers(1, 21, len(near)))
        classes = np.concatenate([own, rng.integers(1, CLASSES + 1, len(stray))])
        scores = rng.random(BOXES).astype(np.float32)
        order = np.argsort(-scores)
        detections.append(
            Detections(
                boxes=found[order].astype(np.float32),
                scores=scores[order],
                labels=classes[order],
                image_size=(SIZE, SIZE),
            )
        )
    return detections, truths


def seconds(function: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        function()
    return time.perf_counter() - start


def by_loop(detections: Sequence[Detections], truths: Sequence[GroundTruth]) -> list[float]:
    """The reference, class by class."""
    return [reference.voc_ap(detections, truths, label) for label in range(1, CLASSES + 1)]


def coco_evaluation(
    detections: Sequence[Detections], truths: Sequence[GroundTruth]
) -> Callable[[], object]:
    """pycocotools at work on the same boxes; the index of the boxes is made beforehand."""
    sides = []
    for rows in (coco_form._objects(truths, CLASSES), coco_form._found(detections, CLASSES)):
        side = COCO()
        side.dataset = coco_form._dataset(rows, len(truths), CLASSES)
        with contextlib.redirect_stdout(io.StringIO()):
            side.createIndex()
        sides.append(side)

    def run() -> object:
        evaluation = COCOeval(*sides, "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [BOXES]
        evaluation.evaluate()
        evaluation.accumulate()
        return evaluation

    return run


def main() -> None:
    """Time all three and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--images", type=int, default=IMAGES)
    given = parser.parse_args()
    detections, truths = make(given.images)
    functions: dict[str, Callable[[], object]] = {
        "ours": lambda: evaluate(detections, truths, CLASSES),
        "the loop": lambda: by_loop(detections, truths),
        "pycocotools": coco_evaluation(detections, truths),
    }
    ours = evaluate(detections, truths, CLASSES).ap
    difference = np.abs(ours - by_loop(detections, truths)).max()
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(given.repetitions):
        for name, function in functions.items():
            times[name].append(seconds(function))
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    print(f"{'':>12} {'seconds':>8} {'ratio':>7}")
    for name, taken in medians.items():
        print(f"{name:>12} {taken:>8.3f} {taken / medians['ours']:>7.1f}")
    boxes = sum(map(len, detections))
    print(f"{given.images} images, {boxes} detections, {CLASSES} classes, mAP {ours.mean():.4f}")
    print(f"largest difference of an AP from the loop's: {difference:.1e}")
    print(f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}")
    peer = min((name for name in medians if name != "ours"), key=lambda name: medians[name])
    ratio = medians[peer] / medians["ours"]
    print(f"ratio {ratio:.1f} matching and AP, {peer} / ours, the quicker of two peers")


if __name__ == "__main__":
    main()
