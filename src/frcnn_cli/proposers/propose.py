"""Making the proposals of many images."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data import images
from ..errors import FrcnnError
from ..runtime.executor import prefetch
from ..structures import Proposals
from .cache import ProposalSource


@dataclass(frozen=True)
class Proposed:
    """What became of one image file: proposals, or an error."""

    index: int  # among the files
    path: Path
    proposals: Proposals | None
    cached: bool
    seconds: float
    error: FrcnnError | None = None


def _keep_memory() -> None:
    """Keep freed memory in the process, for the next image.

    glibc gives back what threads free above a threshold, and faulting it in again costs a quarter
    of the time of an image. The threshold rises to twice the largest block freed, of 32 MiB at
    most. Elsewhere this does nothing.
    """
    np.empty(31 << 20, np.uint8)  # freed at once; never touched, so it takes no memory itself


def propose_files(paths: Sequence[Path], source: ProposalSource, jobs: int) -> Iterator[Proposed]:
    """Proposals of each file; one that cannot be read does not stop the others.

    Files that another process is at come at the end, all others in order. Each thread reads,
    decodes and searches an image of its own, so that decoding and search overlap.

    Args:
        jobs: threads; the kernels run side by side.
    """

    _keep_memory()

    def propose(index: int, wait: bool) -> Proposed | None:
        path = paths[index]
        start = time.perf_counter()
        content = images.read_bytes(path)
        found = source.cached(content)
        if found is None:
            with source.claim(content, wait) as mine:
                if not mine:
                    return None
                found = source.cached(content)  # made since, by the one that had the claim
                if found is None:
                    image = images.decode(content, str(path))
                    found = source.make(content, image)
                    return Proposed(index, path, found, False, time.perf_counter() - start)
        return Proposed(index, path, found, True, 0.0)

    busy: list[int] = []
    for wait in (False, True):
        todo = busy if wait else range(len(paths))
        for index, future in prefetch(lambda index: propose(index, wait), todo, jobs):  # noqa: B023
            try:
                result = future.result()
            except FrcnnError as error:
                result = Proposed(index, paths[index], None, False, 0.0, error)
            if result is None:
                busy.append(index)
            else:
                yield result
