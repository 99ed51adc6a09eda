"""Time of selective search against OpenCV's fast mode, on images of VOC2007 `val`.

First our search runs over all images with one thread per core, reading, decoding and caching
included. Then both search each decoded image in turn, on one core and on all cores. Prints medians
over the images, the time of each stage on one core, the machine, and as the last line the ratio on
one core. With --recall it compares the recall of both on the same images instead.

Needs opencv-contrib-python-headless (pip install -e '.[dev]').
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from frcnn_cli.config import SEARCH_MODES, SelectiveSearchConfig
from frcnn_cli.data.dataset import Dataset
from frcnn_cli.data.voc import find_root, load_voc
from frcnn_cli.errors import DataError
from frcnn_cli.evaluation.recall import best_overlaps, recall_table
from frcnn_cli.proposers.cache import ProposalSource
from frcnn_cli.proposers.propose import propose_files
from frcnn_cli.proposers.registry import selective_search
from frcnn_cli.proposers.selective_search import (
    colour,
    components,
    grouping,
    regions,
    search,
    segmentation,
)
from frcnn_cli.structures import Proposals

COUNTS = (500, 1000, 2000, 10_000)
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def opencv(image: np.ndarray, mode: str) -> Proposals:
    """OpenCV's proposals for an [H, W, 3] RGB image; `mode` is a key of SEARCH_MODES."""
    import cv2

    cv2.setRNGSeed(3)
    searcher = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    searcher.setBaseImage(np.ascontiguousarray(image[:, :, ::-1]))  # BGR
    if mode == "quality":
        searcher.switchToSelectiveSearchQuality()
    elif mode == "single":
        searcher.switchToSingleStrategy()
    else:
        searcher.switchToSelectiveSearchFast()
    boxes = np.asarray(searcher.process(), dtype=np.float32).reshape(-1, 4)
    # x, y, width, height
    boxes[:, 2:] += boxes[:, :2]
    return Proposals(boxes, image.shape[:2])


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Wall time of one call in seconds, and its result."""
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


def use_cores(count: int | None) -> None:
    """Limit this process and OpenCV to a number of cores; None for all."""
    import cv2

    cv2.setNumThreads(count or len(ALL_CORES))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(ALL_CORES)[:count])


ALL_CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0}


class Recall:
    """Collects the overlaps of one method's boxes with the objects of many images."""

    def __init__(self) -> None:
        self.overlaps: list[np.ndarray] = []
        self.labels: list[np.ndarray] = []
        self.boxes: list[int] = []

    def add(self, proposals: Proposals, dataset: Dataset, index: int) -> None:
        """Add the boxes of one image."""
        objects = dataset.ground_truth(index)
        self.overlaps.append(best_overlaps(proposals, objects, COUNTS))
        self.labels.append(objects.labels[~objects.difficult])
        self.boxes.append(len(proposals.boxes))

    def line(self, name: str, seconds: float) -> str:
        """The row of the table for a method with this median time."""
        overlaps, labels = np.concatenate(self.overlaps), np.concatenate(self.labels)
        rows = recall_table(overlaps, labels, COUNTS)
        columns = [
            "/".join(f"{rows[str(count)][key]:.3f}" for count in COUNTS) for key in ("0.5", "0.7")
        ]
        mabo = rows[str(COUNTS[-1])]["mabo"]
        mean = statistics.fmean(self.boxes)
        recalls = "  ".join(columns)
        return f"{name:<16} {mean:>6.0f} {1e3 * seconds:>7.0f}  {recalls}  {mabo:.3f}"


def compare(images: list[np.ndarray], config: SelectiveSearchConfig, cores: int | None) -> float:
    """Time both on each image in turn, print the medians in milliseconds, return their ratio."""
    use_cores(cores)
    threads = cores or len(ALL_CORES)
    theirs, ours = [], []
    for image in images:
        theirs.append(timed(opencv, image, "fast")[0])
        repeats = [timed(search.selective_search, image, config, threads)[0] for _ in range(3)]
        ours.append(statistics.median(repeats))
    use_cores(None)
    opencv_ms, our_ms = (1e3 * statistics.median(times) for times in (theirs, ours))
    ratio = opencv_ms / our_ms
    print(f"{threads:>5} {opencv_ms:>10.1f} {our_ms:>8.1f} {ratio:>6.1f}", flush=True)
    return ratio


def stages(images: list[np.ndarray], config: SelectiveSearchConfig) -> None:
    """Print the mean milliseconds per image that each stage takes on one core."""
    use_cores(1)
    spent: dict[str, float] = {}

    def stage(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        seconds, result = timed(function, *arguments)
        spent[name] = spent.get(name, 0.0) + seconds
        return result

    terms = [np.array([term in each for term in search.TERMS]) for each in config.similarities]
    scales = [(k, round(k)) for k in config.scales]
    for original in images:
        image = stage("scaling down", search._working_copy, original, config.max_side)
        pixels = image.shape[0] * image.shape[1]
        for space in config.colour_spaces:
            planes = stage("colour planes", search.PLANES[space], image)
            planes = stage("smoothing", colour.smooth, planes, config.sigma)
            weights = stage("edge weights", segmentation.edge_weights, planes)
            kept = stage("pruning", segmentation.candidate_edges, weights)
            edges, starts = stage("sorting edges", segmentation.sort_edges, kept)
            width, k = image.shape[1], min(config.scales)
            atom_of_pixel, graph = stage("atoms", components.atoms, edges, starts, pixels, width, k)
            joined = [
                stage("joining atoms", components.join_atoms, graph, *scale) for scale in scales
            ]
            owners = tuple(owner for owner, _ in joined)
            cells, owners = stage("cells", components.common_cells, atom_of_pixel, owners)
            cells = cells.reshape(image.shape[:2])
            codes = stage("bins", regions.pixel_codes, planes)
            count = len(owners[0])
            counted = stage("cell statistics", regions.cell_statistics, cells, count, codes)
            keys = stage("neighbours", regions.contacts, cells, count)
            for owner, (_, n) in zip(owners, joined, strict=True):
                totals = stage("region totals", regions.pool, owner, n, *counted)
                pairs = stage("neighbours", regions.neighbour_pairs, keys, count, owner, n)
                for flags in terms:
                    stage("grouping", grouping.group, *totals, pairs, pixels, flags)
        stage("all", search.selective_search, original, config)
    use_cores(None)
    total = spent.pop("all")
    spent["ranking, the rest"] = total - sum(spent.values())
    print(f"\n{'stage, one core':<20} {'ms':>6}")
    for name, seconds in spent.items():
        print(f"{name:<20} {1e3 * seconds / len(images):>6.2f}")
    print(f"{'all':<20} {1e3 * total / len(images):>6.2f}")


def sustained(dataset: Dataset, config: SelectiveSearchConfig, rounds: int) -> float:
    """Median milliseconds per image with one thread per core, decoding and caching included."""
    times = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            source = ProposalSource(selective_search(config), Path(folder))
            start = time.perf_counter()
            count = sum(1 for _ in propose_files(dataset.paths, source, len(ALL_CORES)))
            times.append(1e3 * (time.perf_counter() - start) / count)
    return statistics.median(times)


def recalls(dataset: Dataset, images: list[np.ndarray], modes: list[str]) -> None:
    """Print the recall of OpenCV's boxes and of ours on the same images."""
    print(f"\n{'':<16} {'boxes':>6} {'ms':>7}  R.5 @500/1000/2000/all     R.7 @500/1000/2000/all")
    for mode in modes:
        methods: dict[str, Callable[[np.ndarray], Proposals]] = {
            f"OpenCV {mode}": partial(opencv, mode=mode),
            f"ours {mode}": partial(search.selective_search, config=SEARCH_MODES[mode]),
        }
        recall = {name: Recall() for name in methods}
        times: dict[str, list[float]] = {name: [] for name in methods}
        for index, image in enumerate(images):
            for name, method in methods.items():
                seconds, proposals = timed(method, image)
                times[name].append(seconds)
                recall[name].add(proposals, dataset, index)
        for name in methods:
            print(recall[name].line(name, statistics.median(times[name])), flush=True)


def main() -> None:
    """Run everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of VOC2007")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--recall", nargs="*", metavar="MODE", help="modes whose recall to compare")
    arguments = parser.parse_args()
    try:
        import cv2

        assert hasattr(cv2, "ximgproc")
    except (ImportError, AssertionError):
        print("skipped: needs pip install opencv-contrib-python-headless")
        return
    try:
        val = load_voc(find_root(arguments.data, "2007"), "voc2007", "val", ())
    except DataError as error:
        print(f"skipped: {error.message}; name the folder of VOC2007 with --data")
        return
    step = max(1, len(val) // arguments.images)
    chosen = slice(0, step * arguments.images, step)  # evenly from the whole split
    dataset = replace(
        val,
        ids=val.ids[chosen],
        paths=val.paths[chosen],
        annotations=val.annotations[chosen],
    )
    images = [dataset.read(index)[1] for index in range(len(dataset))]
    config = SelectiveSearchConfig()
    search.selective_search(images[0], config)  # compiles
    if arguments.recall is not None:
        recalls(dataset, images, arguments.recall or list(SEARCH_MODES))
        return
    print(
        f"{len(images)} images, medians\n{'cores':>5} {'OpenCV ms':>10} {'ours ms':>8} {'ratio':>6}"
    )
    rate = sustained(dataset, config, 3)  # first, since OpenCV's threads stay busy for a while
    one = compare(images, config, 1)
    every = compare(images, config, None)
    stages(images, config)
    print(f"\nsustained, decoding included: {rate:.1f} ms an image")
    print(f"{platform.machine()}, {len(ALL_CORES)} cores, OpenCV {cv2.__version__}")
    print(f"ratio {every:.1f} one image on {len(ALL_CORES)} cores, OpenCV fast / ours")
    print(f"ratio {one:.1f} selective search on one core, OpenCV fast / ours")


if __name__ == "__main__":
    main()
