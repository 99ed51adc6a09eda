"""Making the proposals of many images."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..data import images
from ..errors import FrcnnError
from ..proposers.cache import ProposalSource
from ..structures import Proposals
from .prefetch import prefetch


@dataclass(frozen=True)
class Proposed:
    """What became of one image file: proposals, or an error."""

    path: Path
    proposals: Proposals | None
    cached: bool
    seconds: float
    error: FrcnnError | None = None


def propose_files(paths: Iterable[Path], source: ProposalSource, jobs: int) -> Iterator[Proposed]:
    """Proposals of each file, in order; a file that cannot be read does not stop the others.

    Args:
        jobs: threads; the kernels run side by side.
    """

    def propose(path: Path) -> Proposed:
        start = time.perf_counter()
        content = images.read_bytes(path)
        found = source.cached(content)
        if found is not None:
            return Proposed(path, found, True, 0.0)
        image = images.decode(content, str(path))
        return Proposed(path, source(content, image), False, time.perf_counter() - start)

    for path, future in prefetch(propose, paths, jobs):
        try:
            yield future.result()
        except FrcnnError as error:
            yield Proposed(path, None, False, 0.0, error)
