"""How a file writes its boxes: order of the columns, base, and whether the end is included.

Swapped axes are the classic silent failure of imported proposals: the numbers look right, and the
recall is near zero. So the layout is inferred from the sizes of the images, and shown to the user.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError

Size = tuple[int, int]  # height, width
Pair = tuple[NDArray[np.float32], Size]  # N×4 boxes as written, and the size of their image


@dataclass(frozen=True)
class Layout:
    """The meaning of four columns."""

    columns: str  # "x1 y1 x2 y2" or "y1 x1 y2 x2"
    base: int  # the coordinate of the first pixel, 0 or 1
    inclusive: bool  # the second corner is the last pixel of the box, not the one after it

    def decode(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """[N, 4] boxes as written, as (x1, y1, x2, y2), 0-based and half-open."""
        xyxy = boxes[:, [1, 0, 3, 2]] if self.columns.startswith("y") else boxes
        end = self.base - int(self.inclusive)
        return xyxy - np.array([self.base, self.base, end, end], dtype=np.float32)

    def encode(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """The inverse of `decode`."""
        end = self.base - int(self.inclusive)
        xyxy = boxes + np.array([self.base, self.base, end, end], dtype=np.float32)
        return xyxy[:, [1, 0, 3, 2]] if self.columns.startswith("y") else xyxy

    def __str__(self) -> str:
        end = "inclusive" if self.inclusive else "half-open"
        return f"columns {self.columns}, {self.base}-based, {end}"


_XY, _YX = "x1 y1 x2 y2", "y1 x1 y2 x2"
LAYOUTS = {
    "xyxy": Layout(_XY, 0, False),
    "yxyx": Layout(_YX, 0, False),
    "xyxy0": Layout(_XY, 0, True),
    "yxyx0": Layout(_YX, 0, True),
    "xyxy1": Layout(_XY, 1, True),
    "yxyx1": Layout(_YX, 1, True),
}
HALF_OPEN = LAYOUTS["xyxy"]


def detect(pairs: Sequence[Pair], expected: Layout) -> Layout:
    """Find the layout in which the boxes fit the sizes of their images.

    Args:
        expected: the usual layout of the format, which decides what the boxes do not determine.
    Raises:
        DataError: the boxes fit their images in neither order of the columns, or they fit in both
            orders and the format has no fixed one.
    """
    fitting = [columns for columns in (_XY, _YX) if not _count_outside(pairs, columns)]
    if len(fitting) == 2 and expected.columns != _XY:
        raise DataError(
            "cannot tell whether columns are x1 y1 x2 y2 or y1 x1 y2 x2: the boxes fit both ways",
            f"name it with frcnn propose --layout: {', '.join(LAYOUTS)}",
        )
    if not fitting:
        outside = min(_count_outside(pairs, columns) for columns in (_XY, _YX))
        raise DataError(
            f"{outside} boxes reach beyond their images, in either order of the columns",
            "check that the file belongs to these images",
        )
    columns = expected.columns if expected.columns in fitting else fitting[0]
    boxes = np.concatenate([boxes for boxes, _ in pairs])
    if boxes.min(initial=1) >= 1 and expected.base == 1:
        return Layout(columns, 1, True)
    # ends that stay a pixel below the size of the image name the last pixel of each box
    within = all((_margins(boxes, size, columns) >= 1).all() for boxes, size in pairs)
    return Layout(columns, 0, within and expected.inclusive)


def _margins(boxes: NDArray[np.float32], size: Size, columns: str) -> NDArray[np.float32]:
    """Pixels from the end of each box to that of its image, [N, 2] in the order of the columns."""
    limit = size[::-1] if columns == _XY else size
    return np.array(limit, dtype=np.float32) - boxes[:, 2:]


def _count_outside(pairs: Sequence[Pair], columns: str) -> int:
    """How many boxes reach beyond their images in this order of the columns."""
    count = 0
    for boxes, size in pairs:
        before = (boxes[:, :2] < 0).any(axis=1)
        count += int((before | (_margins(boxes, size, columns) < 0).any(axis=1)).sum())
    return count
