"""How a file writes its boxes: order of the columns, base, and whether the end is included.

Swapped axes are the classic silent failure of foreign proposals: the numbers look right and the
recall is gone. So a layout is found from the sizes of the images, and said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError

Size = tuple[int, int]  # height, width
Pair = tuple[NDArray[np.float32], Size]  # N×4 boxes as written, and their image


@dataclass(frozen=True)
class Layout:
    """The meaning of four columns."""

    columns: str  # "x1 y1 x2 y2" or "y1 x1 y2 x2"
    base: int  # of the first pixel
    inclusive: bool  # the second corner is the last pixel, not the one behind it

    def decode(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes as written to (x1, y1, x2, y2), 0-based and half-open."""
        plain = boxes[:, [1, 0, 3, 2]] if self.columns.startswith("y") else boxes
        end = self.base - int(self.inclusive)
        return plain - np.array([self.base, self.base, end, end], dtype=np.float32)

    def encode(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """The inverse of `decode`."""
        end = self.base - int(self.inclusive)
        plain = boxes + np.array([self.base, self.base, end, end], dtype=np.float32)
        return plain[:, [1, 0, 3, 2]] if self.columns.startswith("y") else plain

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
    """The layout that the sizes of the images allow.

    Args:
        expected: what the format usually holds; decides where the boxes do not.
    Raises:
        DataError: the boxes fit their images in neither order, or in both.
    """
    fitting = [columns for columns in (_XY, _YX) if not _beyond(pairs, columns)]
    if len(fitting) == 2 and expected != HALF_OPEN:
        raise DataError(
            "cannot tell whether columns are x1 y1 x2 y2 or y1 x1 y2 x2: the boxes fit both ways",
            f"say it with --layout: {', '.join(LAYOUTS)}",
        )
    if not fitting:
        beyond = min(_beyond(pairs, columns) for columns in (_XY, _YX))
        raise DataError(
            f"{beyond} boxes reach beyond their images, in either order of the columns",
            "check that the file belongs to these images",
        )
    columns = expected.columns if expected.columns in fitting else fitting[0]
    boxes = np.concatenate([boxes for boxes, _ in pairs])
    if boxes.min(initial=1) >= 1 and expected.base == 1:
        return Layout(columns, 1, True)
    whole = bool((boxes == np.rint(boxes)).all())
    at_the_edge = any((_ends(boxes, size, columns) == 0).any() for boxes, size in pairs)
    # whole numbers that never reach the size: the last pixel is meant
    return Layout(columns, 0, whole and not at_the_edge and expected.inclusive)


def _ends(boxes: NDArray[np.float32], size: Size, columns: str) -> NDArray[np.float32]:
    """How far each box stays away from the right and lower edge, [N, 2]."""
    limit = size[::-1] if columns == _XY else size
    return np.array(limit, dtype=np.float32) - boxes[:, 2:]


def _beyond(pairs: Sequence[Pair], columns: str) -> int:
    outside = 0
    for boxes, size in pairs:
        low = (boxes[:, :2] < 0).any(axis=1)
        outside += int((low | (_ends(boxes, size, columns) < 0).any(axis=1)).sum())
    return outside
