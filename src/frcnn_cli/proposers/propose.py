"""The proposals of many images: `propose` opens the cache, `propose_files` uses an open one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ..data import images as image_files
from ..errors import FrcnnError
from ..runtime.executor import prefetch
from ..structures import Proposals
from .cache import ProposalSource
from .exchange.importer import import_boxes
from .registry import DEFAULT, FILE, proposal_source


@dataclass(frozen=True, kw_only=True)
class ProposeResult:
    """The proposals of one image file, or the error that kept it from having any."""

    index: int  # of the file in the sequence of files
    path: Path
    proposals: Proposals | None  # None after an error
    error: FrcnnError | None = None
    cached: bool = False  # whether the cache had the proposals
    seconds: float = 0.0  # of reading, decoding and searching; 0 if cached


def propose(
    images: Iterable[str | Path],
    proposals: str | Path | ProposalSource = DEFAULT,
    *,
    cache: Path | None = None,
    workers: int | None = None,
) -> Iterator[ProposeResult]:
    """Find the proposals of images, several images at a time, and keep them in the cache.

        for result in propose(["a.jpg", "b.jpg"]):
            print(result.path, result.error or len(result.proposals.boxes))

    The work is done as the results are iterated over; proposals in the cache are only read. An
    image that cannot be read gives a result with an error and does not stop the others. Results
    come in the order of the images, but those that another process is working on come last.

    Args:
        images: paths of image files.
        proposals: a row of PROPOSERS: fast, single or quality (selective search), dense (sliding
            windows); or the path of a file of boxes, which is imported; or a source of proposals.
        cache: folder of the cache; None for the usual one. A source of proposals has its own.
        workers: threads; None for one per core.
    Returns:
        One result for each image.
    Raises:
        ConfigError: there is no such row, or the file has an unknown format.
        DataError: the file of boxes cannot be read or does not belong to these images.
    """
    paths = [Path(image) for image in images]
    workers = workers or os.cpu_count() or 1
    if isinstance(proposals, ProposalSource):
        return propose_files(paths, proposals, workers)
    # with fewer images than threads, threads work side by side within each image
    source = proposal_source(proposals, workers if len(paths) < workers else 1, cache)
    if source.method.name == FILE:
        import_boxes(Path(proposals).expanduser(), paths, source)
    return propose_files(paths, source, workers)


def propose_files(
    paths: Sequence[Path], source: ProposalSource, workers: int
) -> Iterator[ProposeResult]:
    """The proposals of each file, in order; files that another process is working on come last.

    Each thread reads, decodes and searches an image of its own, so that decoding and search
    overlap.

    Args:
        workers: threads.
    """
    _keep_freed_memory()
    busy: list[int] = []
    for wait in (False, True):
        work = partial(_propose_file, paths, source, wait)
        for index, future in prefetch(work, busy if wait else range(len(paths)), workers):
            result = future.result()
            if result is None:
                busy.append(index)
            else:
                yield result


def _propose_file(
    paths: Sequence[Path], source: ProposalSource, wait: bool, index: int
) -> ProposeResult | None:
    """The proposals of one file; None if another is computing them and `wait` is not set."""
    path = paths[index]
    start = time.perf_counter()
    try:
        content = image_files.read_bytes(path)
        proposals = source.cached(content)
        if proposals is None:
            with source.lock(content, wait=wait) as held:
                if not held:
                    return None
                proposals = source.cached(content)  # stored since, by whoever held the lock
                if proposals is None:
                    proposals = source.compute(content, image_files.decode(content, str(path)))
                    seconds = time.perf_counter() - start
                    return ProposeResult(
                        index=index, path=path, proposals=proposals, seconds=seconds
                    )
        return ProposeResult(index=index, path=path, proposals=proposals, cached=True)
    except FrcnnError as error:
        return ProposeResult(index=index, path=path, proposals=None, error=error)


def _keep_freed_memory() -> None:
    """Make the C library keep freed memory in the process, for the next image.

    glibc returns freed blocks above a threshold to the system, and faulting them in again costs a
    quarter of the time of an image. Freeing one block of 31 MiB raises the threshold to twice that
    size; a block of 32 MiB or more would not. Other C libraries are not affected.
    """
    np.empty(31 << 20, np.uint8)  # freed at once; never touched, so it takes no memory
