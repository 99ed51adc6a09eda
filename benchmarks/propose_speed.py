"""Selective search: ours against OpenCV's fast mode, on VOC2007 `val`, interleaved in one run.

Every image goes through OpenCV and ours in turn, first both on one core, then both on all cores.
Then ours runs over all images with a thread for each core, decoding included. Prints medians over
the images, the share of each stage on one core, the machine, and as the last line the ratio on one
core. With --recall it also compares the recall of both on the same images.

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
from frcnn_cli.proposers.selective_search.search import (
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
    """OpenCV's proposals for an RGB image; it wants BGR, and gives x, y, width, height."""
    import cv2

    cv2.setRNGSeed(3)
    searcher = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    searcher.setBaseImage(np.ascontiguousarray(image[:, :, ::-1]))
    if mode == "quality":
        searcher.switchToSelectiveSearchQuality()
    elif mode == "single":
        searcher.switchToSingleStrategy()
    else:
        searcher.switchToSelectiveSearchFast()
    boxes = np.asarray(searcher.process(), dtype=np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return Proposals(boxes, None, image.shape[:2])


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Wall time of one call, and what it returned."""
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


def use_cores(count: int | None) -> None:
    """Keep this process and OpenCV to so many cores; None for all."""
    import cv2

    cv2.setNumThreads(count or len(ALL_CORES))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(ALL_CORES)[:count])


ALL_CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0}


class Recall:
    """Collects how well the boxes of one method cover the objects."""

    def __init__(self) -> None:
        self.overlaps: list[np.ndarray] = []
        self.labels: list[np.ndarray] = []
        self.boxes: list[int] = []

    def add(self, proposals: Proposals, dataset: Dataset, index: int) -> None:
        """Take the boxes of one image."""
        objects = dataset.ground_truth(index)
        self.overlaps.append(best_overlaps(proposals, objects, COUNTS))
        self.labels.append(objects.labels[~objects.difficult])
        self.boxes.append(len(proposals.boxes))

    def line(self, name: str, seconds: float) -> str:
        """A row of the table."""
        best, labels = np.concatenate(self.overlaps), np.concatenate(self.labels)
        rows = recall_table(best, labels, COUNTS)
        at = {key: "/".join(f"{rows[str(n)][key]:.3f}" for n in COUNTS) for key in ("0.5", "0.7")}
        mabo = rows[str(COUNTS[-1])]["mabo"]
        mean = statistics.fmean(self.boxes)
        return (
            f"{name:<16} {mean:>6.0f} {1e3 * seconds:>7.0f}  {at['0.5']}  {at['0.7']}  {mabo:.3f}"
        )


def compare(images: list[np.ndarray], config: SelectiveSearchConfig, cores: int | None) -> float:
    """Time both on each image in turn, print medians, give the ratio."""
    use_cores(cores)
    threads = cores or len(ALL_CORES)
    theirs, ours = [], []
    for image in images:
        theirs.append(timed(opencv, image, "fast")[0])
        repeats = [timed(search.selective_search, image, config, threads)[0] for _ in range(3)]
        ours.append(statistics.median(repeats))
    use_cores(None)
    slow, quick = (1e3 * statistics.median(times) for times in (theirs, ours))
    print(f"{threads:>5} {slow:>10.1f} {quick:>8.1f} {slow / quick:>6.1f}", flush=True)
    return slow / quick


def stages(images: list[np.ndarray], config: SelectiveSearchConfig) -> None:
    """Mean milliseconds an image that each stage takes on one core."""
    use_cores(1)
    spent: dict[str, float] = {}

    def stage(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        seconds, result = timed(function, *arguments)
        spent[name] = spent.get(name, 0.0) + seconds
        return result

    terms = [np.array([x in each for x in search.TERMS]) for each in config.similarities]
    each = [(k, round(k)) for k in config.scales]
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
            of_pixel, graph = stage("atoms", components.atoms, edges, starts, pixels, width, k)
            joined = [stage("joining atoms", components.join_atoms, graph, *x) for x in each]
            owners = tuple(owner for owner, _ in joined)
            cells, owners = stage("cells", components.common_cells, of_pixel, owners)
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
    everything = spent.pop("all")
    spent["ranking, the rest"] = everything - sum(spent.values())
    print(f"\n{'stage, one core':<20} {'ms':>6}")
    for name, seconds in spent.items():
        print(f"{name:<20} {1e3 * seconds / len(images):>6.2f}")
    print(f"{'all':<20} {1e3 * everything / len(images):>6.2f}")


def sustained(dataset: Dataset, config: SelectiveSearchConfig, rounds: int) -> float:
    """Median milliseconds an image with a thread for each core, decoding and keeping included."""
    times = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            source = ProposalSource(selective_search(config), Path(folder))
            start = time.perf_counter()
            done = sum(1 for _ in propose_files(dataset.paths, source, len(ALL_CORES)))
            times.append(1e3 * (time.perf_counter() - start) / done)
    return statistics.median(times)


def recalls(dataset: Dataset, images: list[np.ndarray], modes: list[str]) -> None:
    """Recall of both on the same images."""
    print(f"\n{'':<16} {'boxes':>6} {'ms':>7}  R.5 @500/1000/2000/all     R.7 @500/1000/2000/all")
    for mode in modes:
        own, other = Recall(), Recall()
        times: list[tuple[float, float]] = []
        for index, image in enumerate(images):
            slow, theirs = timed(opencv, image, mode)
            quick, ours = timed(search.selective_search, image, SEARCH_MODES[mode])
            other.add(theirs, dataset, index)
            own.add(ours, dataset, index)
            times.append((slow, quick))
        slow, quick = (statistics.median(column) for column in zip(*times, strict=True))
        print(other.line(f"OpenCV {mode}", slow))
        print(own.line(f"ours {mode}", quick), flush=True)


def main() -> None:
    """Run everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of VOC2007")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--recall", nargs="*", metavar="MODE", help="modes to compare, with recall")
    arguments = parser.parse_args()
    try:
        import cv2

        assert hasattr(cv2, "ximgproc")
    except (ImportError, AssertionError):
        print("skipped: needs pip install opencv-contrib-python-headless")
        return
    try:
        whole = load_voc(find_root(arguments.data, "2007"), "voc2007", "val", ())
    except DataError as error:
        print(f"skipped: {error.message}; name the folder of VOC2007 with --data")
        return
    step = max(1, len(whole) // arguments.images)  # spread over the split
    chosen = slice(0, step * arguments.images, step)
    dataset = replace(
        whole,
        ids=whole.ids[chosen],
        paths=whole.paths[chosen],
        annotations=whole.annotations[chosen],
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
    rate = sustained(dataset, config, 3)  # first: OpenCV's threads go on for a while
    one = compare(images, config, 1)
    every = compare(images, config, None)
    stages(images, config)
    print(f"\nsustained, decoding included: {rate:.1f} ms an image")
    print(f"{platform.machine()}, {len(ALL_CORES)} cores, OpenCV {cv2.__version__}")
    print(f"ratio {every:.1f} one image on {len(ALL_CORES)} cores, OpenCV fast / ours")
    print(f"ratio {one:.1f} selective search on one core, OpenCV fast / ours")


if __name__ == "__main__":
    main()
