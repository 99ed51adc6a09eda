"""Memory of detection: pictures and proposals of all sizes, and a folder of many pictures.

    python benchmarks/long/memory.py [--pictures 10000]

The default weights, in what precision suits the processor. Every row of the table is a process of
its own, and its peak resident memory. The pictures of the folder are small, so that there can be
many: what counts is that the memory does not grow with their number.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from frcnn_cli.config import SHOWN_SCORE, DetectConfig
from frcnn_cli.data.collate import preprocess_views
from frcnn_cli.inference.detector import Detector
from frcnn_cli.inference.result import Failure
from frcnn_cli.proposers.cache import ProposalSource
from frcnn_cli.proposers.registry import selective_search
from frcnn_cli.runtime.device import keep_freed_memory, peak_bytes

SMALL, LARGE = (96, 72), (6000, 4000)  # width, height


def photograph(size: tuple[int, int], seed: int = 0) -> Image.Image:
    """Made up: patches of colours, blurred, so that there is something to propose."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(patches).resize(size, Image.Resampling.BICUBIC)


def load(folder: Path, config: DetectConfig | None = None) -> Detector:
    """The default detector, with a cache of proposals in this folder."""
    source = ProposalSource(selective_search(), folder / "proposals")
    return Detector.load(
        proposals=source,
        config=config or DetectConfig(score_threshold=SHOWN_SCORE, precision="auto"),
        device="cpu",
    )


def nothing(folder: Path) -> None:
    """Only load it."""
    load(folder)


def proposals(count: int) -> Callable[[Path], None]:
    """One image of 600×800 with so many boxes."""

    def work(folder: Path) -> None:
        detector = load(folder)
        rng = np.random.default_rng(0)
        corners = np.sort(rng.uniform(0, 1, (count, 2, 2)), axis=1) * (800, 600)
        image = np.asarray(photograph((800, 600)))
        boxes = corners.reshape(count, 4).astype(np.float32)
        views = detector.header.views or (detector.header.scale,)
        detector.detect(preprocess_views(image, boxes, views, detector.header.max_size, False))

    return work


def large(count: int) -> Callable[[Path], None]:
    """So many large pictures after each other."""

    def work(folder: Path) -> None:
        path = folder / "large.jpg"
        photograph(LARGE).save(path)
        for found in load(folder).run([path] * count):
            assert not isinstance(found, Failure)

    return work


ROWS: dict[str, Callable[[Path], None]] = {
    "loaded, before the first picture": nothing,
    "600×800, 2,000 proposals": proposals(2_000),
    "600×800, 10,000 proposals": proposals(10_000),
    "600×800, 30,000 proposals": proposals(30_000),
    "6000×4000, its own proposals": large(1),
    "five of 6000×4000 after each other": large(5),
}


def peak(name: str, folder: Path, pipe: Connection) -> None:
    """Do the work of a row; its peak goes through the pipe."""
    keep_freed_memory()  # as the command does
    ROWS[name](folder)
    pipe.send(peak_bytes(torch.device("cpu")))


def many(count: int, folder: Path, pipe: Connection) -> None:
    """Detect in a folder of small pictures; (how many, resident bytes) go through the pipe."""
    keep_freed_memory()
    sides = SMALL[::-1]
    config = DetectConfig(
        score_threshold=SHOWN_SCORE, precision="auto", scales=sides[:1], max_size=max(sides)
    )
    detector = load(folder, config)
    pages = Path("/proc/self/statm")
    for number, found in enumerate(detector.run(sorted(folder.glob("*.png"))), start=1):
        assert not isinstance(found, Failure)
        if number % max(count // 10, 1) == 0:
            resident = int(pages.read_text().split()[1]) * 4096 if pages.exists() else 0
            pipe.send((number, resident))
    pipe.send(None)


def main() -> None:
    """Print the table, then the memory on the way through the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=10_000)
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with TemporaryDirectory() as name:
        folder = Path(name)
        for row in ROWS:
            pipe, other_end = context.Pipe()
            process = context.Process(target=peak, args=(row, folder, other_end), daemon=True)
            process.start()
            print(f"{row:36s} {pipe.recv() / 1e6:7.0f} MB", flush=True)
            process.join()
        (folder / "large.jpg").unlink()
        for number in range(args.pictures):
            photograph(SMALL, number).save(folder / f"{number:06d}.png")
        pipe, other_end = context.Pipe()
        start = time.perf_counter()
        process = context.Process(target=many, args=(args.pictures, folder, other_end), daemon=True)
        process.start()
        sizes = []
        for number, resident in iter(pipe.recv, None):
            sizes.append(resident)
            print(f"after {number:6d} pictures of {SMALL} {resident / 1e6:14.0f} MB", flush=True)
        process.join()
    print(f"{args.pictures / (time.perf_counter() - start):.0f} pictures a second")
    print(
        f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, torch "
        f"{torch.__version__}"
    )
    print(f"ratio {sizes[-1] / sizes[0]:.3f} resident memory, after all pictures / after a tenth")


if __name__ == "__main__":
    main()
