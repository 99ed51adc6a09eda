"""One picture of sample annotations: a grid of images with their objects drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from ..data.dataset import Dataset
from ..errors import FrcnnError
from .drawing import draw_objects

COLUMNS, ROWS = 4, 3
_CELL = (400, 300)  # (width, height), pixels
_GAP = 8  # pixels around each cell


def annotation_grid(dataset: Dataset) -> Image.Image:
    """Draw the objects of some images; those that cannot be read are passed over.

    The images are spread evenly over those that have objects. Of each class that they lack, the
    first image that has it takes the place of another one, as far as there is room.
    """
    drawings = []
    for index in choose_samples(dataset, COLUMNS * ROWS):
        try:
            _, image, truth = dataset.read(index)
        except FrcnnError:
            continue
        drawings.append(draw_objects(image, truth, dataset.classes))
    return arrange(drawings)


def arrange(drawings: Sequence[Image.Image]) -> Image.Image:
    """Put drawings into a grid of COLUMNS columns, scaled to fit in its cells."""
    rows = -(-max(len(drawings), 1) // COLUMNS)
    columns = min(COLUMNS, max(len(drawings), 1))
    step = _CELL[0] + _GAP, _CELL[1] + _GAP
    grid = Image.new("RGB", (columns * step[0] + _GAP, rows * step[1] + _GAP), "white")
    for place, drawing in enumerate(map(_fitted, drawings)):
        row, column = divmod(place, COLUMNS)
        x = _GAP + column * step[0] + (_CELL[0] - drawing.width) // 2
        y = _GAP + row * step[1] + (_CELL[1] - drawing.height) // 2
        grid.paste(drawing, (x, y))
    return grid


def choose_samples(dataset: Dataset, count: int) -> list[int]:
    """The images that `annotation_grid` draws, at most `count`, in ascending order."""
    names = [set(each.names) & set(dataset.classes) for each in dataset.annotations]
    filled = [index for index, each in enumerate(names) if each] or list(range(len(names)))
    spread = np.linspace(0, len(filled) - 1, min(count, len(filled))).round().astype(int)
    chosen = [filled[place] for place in spread]
    lacking = set(dataset.classes) - set().union(*(names[index] for index in chosen))
    extra = list(dict.fromkeys(_first_with(name, names) for name in sorted(lacking)))
    added = [index for index in extra if index is not None][: count // 2]
    return sorted({*chosen[: count - len(added)], *added})


def _first_with(name: str, names: Sequence[set[str]]) -> int | None:
    return next((index for index, each in enumerate(names) if name in each), None)


def _fitted(drawing: Image.Image) -> Image.Image:
    """The drawing scaled to fit in a cell."""
    scale = min(_CELL[0] / drawing.width, _CELL[1] / drawing.height)
    size = max(1, round(drawing.width * scale)), max(1, round(drawing.height * scale))
    return drawing.resize(size, Image.Resampling.LANCZOS)
