"""The ways to propose regions, by name.

A method is a function from an [H, W, 3] image to Proposals, and one row in PROPOSERS.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..config import SEARCH_MODES, SelectiveSearchConfig
from ..errors import DataError, reason
from ..structures import Proposals
from . import dense as windows
from .selective_search import search

DEFAULT = "fast"
FILE = "file"  # the method whose boxes were imported


@dataclass(frozen=True)
class Method:
    """A way to propose regions: the function and everything its result depends on."""

    name: str
    propose: Callable[[NDArray[np.uint8]], Proposals]
    settings: dict[str, object]

    @property
    def digest(self) -> str:
        """Names the method with its settings, in a folder name."""
        text = json.dumps([self.name, self.settings], sort_keys=True)
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def selective_search(config: SelectiveSearchConfig | None = None, threads: int = 1) -> Method:
    """Selective search with these settings (the default ones for None).

    Args:
        threads: within one image; they change nothing but the time.
    """
    settings = config or SelectiveSearchConfig()
    return Method(
        "selective_search",
        lambda image: search.selective_search(image, settings, threads),
        {"version": search.VERSION, **asdict(settings)},
    )


def dense(threads: int = 1) -> Method:
    """Sliding windows; `threads` are not needed."""
    return Method("dense", windows.dense, {"version": windows.VERSION})


def from_file(path: Path) -> Method:
    """The boxes of a file, for the images that they were imported for.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}", "check the path") from None

    def propose(image: NDArray[np.uint8]) -> Proposals:
        raise DataError(
            f"{path} has no boxes for one of the images, or was not imported for it",
            f"first run: frcnn propose IMAGES --proposals {path}",
        )

    return Method(FILE, propose, {"sha256": digest})


# Each builder takes the number of threads that may work on one image.
PROPOSERS: dict[str, Callable[[int], Method]] = {
    **{mode: partial(selective_search, config) for mode, config in SEARCH_MODES.items()},
    "dense": dense,
}
