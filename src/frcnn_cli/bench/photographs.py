"""The photographs of the benchmark, which scikit-image brings along, and their proposals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..proposers.registry import selective_search

NAMES = ("astronaut", "chelsea", "coffee", "rocket")


@dataclass(frozen=True)
class Photograph:
    """An image with its proposals."""

    name: str
    image: NDArray[np.uint8]  # H×W×3
    boxes: NDArray[np.float32]  # N×4, the best first


def photographs(count: int, proposals: int) -> list[Photograph]:
    """The first photographs, with at most `proposals` boxes of selective search each.

    Raises:
        ConfigError: scikit-image is not installed.
    """
    try:
        from skimage import data
    except ImportError:
        raise ConfigError(
            "the photographs come with scikit-image, which is not installed",
            "pip install 'frcnn-cli[demo]'",
        ) from None
    method, loaded = selective_search(), []
    for name in NAMES[:count]:
        image = np.ascontiguousarray(getattr(data, name)()[..., :3])
        loaded.append(Photograph(name, image, method.propose(image).top(proposals).boxes))
    return loaded
