"""The methods of proposing regions, by name.

To add one, write a function from an [H, W, 3] image to Proposals, a builder of its Method, and a
row of PROPOSERS.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..config import SEARCH_MODES, SelectiveSearchConfig
from ..errors import DataError, reason, unknown_name
from ..runtime.paths import proposals_dir
from ..runtime.safe_read import open_regular
from ..structures import Proposals
from . import dense as windows
from . import selective_search as search
from .cache import ProposalSource
from .exchange.formats import folder_files
from .method import Method

DEFAULT = "fast"
FILE = "file"  # the name of the method whose boxes were imported


def selective_search(config: SelectiveSearchConfig | None = None, threads: int = 1) -> Method:
    """Selective search with these settings, or with the default ones.

    Args:
        threads: within one image; they change nothing but the time.
    """
    settings = config or SelectiveSearchConfig()
    return Method(
        "selective_search",
        partial(search.selective_search, config=settings, threads=threads),
        {"version": search.VERSION, **asdict(settings)},
    )


def dense(threads: int = 1) -> Method:
    """Sliding windows, which need no `threads`."""
    return Method("dense", windows.dense, {"version": windows.VERSION})


def from_file(path: Path) -> Method:
    """The boxes of a file, or of a folder (see `formats`), for the images of their import.

    Raises:
        DataError: the file cannot be read.
    """
    digests = []
    try:
        for each in folder_files(path) if path.is_dir() else [path]:
            with open_regular(each) as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {reason(error)}", "check the path") from None
    whole = (
        digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    )
    return Method(FILE, _NotImported(path), {"sha256": whole})


@dataclass(frozen=True)
class _NotImported:
    """The function of a method of imported boxes, called for an image without any: it fails."""

    path: Path

    def __call__(self, image: NDArray[np.uint8]) -> Proposals:
        raise DataError(
            f"{self.path} has no boxes for one of the images, or was not imported for it",
            f"first run: frcnn propose IMAGES --proposals {self.path}",
        )


# Each builder takes the number of threads that may work on one image.
PROPOSERS: dict[str, Callable[[int], Method]] = {
    **{mode: partial(selective_search, config) for mode, config in SEARCH_MODES.items()},
    "dense": dense,
}


def find_method(name_or_file: str | Path, threads: int = 1) -> Method:
    """A row of PROPOSERS, or the method of a file of boxes.

    Args:
        threads: within one image.
    Raises:
        ConfigError: no such method. DataError: the file cannot be read.
    """
    name = str(name_or_file)
    if name in PROPOSERS:
        return PROPOSERS[name](threads)
    path = Path(os.path.expanduser(name))
    if path.suffix or path.exists():
        return from_file(path)
    raise unknown_name("method", name, PROPOSERS)


def name_of(method: Method) -> str | None:
    """The name or the absolute path by which `find_method` finds a method; None if it does not."""
    if isinstance(method.propose, _NotImported):
        return str(method.propose.path.resolve())
    rows = (name for name, build in PROPOSERS.items() if build(1).digest == method.digest)
    return next(rows, None)


def proposal_source(
    name_or_file: str | Path = DEFAULT, threads: int = 1, cache: Path | None = None
) -> ProposalSource:
    """A method with a cache of its proposals.

    Args:
        name_or_file, threads: see `find_method`. cache: a folder; None for the usual one.
    Raises:
        ConfigError, DataError: see `find_method`.
    """
    return ProposalSource(find_method(name_or_file, threads), cache or proposals_dir())
