"""The objects of one image as an annotation file of any format gives them.

G: objects of one image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """The objects of one image, as in the annotation file but with corners (x1, y1, x2, y2)."""

    # (height, width) of the stored image, according to the annotation file
    size: tuple[int, int] | None
    names: tuple[str, ...]  # G
    boxes: NDArray[np.float32]  # G×4, not clipped
    difficult: NDArray[np.bool_]  # G; COCO's crowds too
    areas: NDArray[np.float32] | None = None  # G, square pixels, where the file gives them
    crowds: NDArray[np.bool_] | None = None  # G: boxes around many objects, where there are any
