"""A data set as a table of boxes by image, which CSV and the files of other programs become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np

from .annotation import Annotation
from .box_forms import true_form
from .dataset import Dataset
from .locate import local_name, locate_images, searchable
from .splits import split_of_file


@dataclass(frozen=True, kw_only=True)
class Box:
    """One object."""

    label: str
    corners: tuple[float, float, float, float]  # continuous, from 0
    difficult: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """The objects in a file by image."""

    boxes: dict[str, list[Box]]  # by the image's name in the file; without objects it has none
    sizes: dict[str, tuple[int, int]]  # (height, width) of images, where the file gives them
    notes: tuple[str, ...] = ()
    splits: dict[str, str] = field(default_factory=dict)  # of images, where the file gives all
    has_sides: bool = False  # the boxes were read as a corner and sides

    @property
    def classes(self) -> set[str]:
        """The names of the classes."""
        return {box.label for box in chain.from_iterable(self.boxes.values())}

    def of_split(self, split: str) -> Table:
        """The part of the images that are in a split."""
        own = {name: each for name, each in self.boxes.items() if self.splits[name] == split}
        return Table(boxes=own, sizes=self.sizes, notes=self.notes, has_sides=self.has_sides)


def table_dataset(
    table: Table,
    *,
    name: str,
    split: str,
    classes: Sequence[str],
    file: Path,
    image_folder: Path | None,
    root: Path,
) -> Dataset:
    """The data set of a table.

    Boxes that are all fractions of 1 are multiplied by the sides of the image.

    Args:
        file: of the table. image_folder: of the images; None: they are looked for near the file.
        root: folder in which images are looked for last.
    Raises:
        DataError: see `locate_images`.
    """
    names = list(table.boxes)
    folders = [image_folder] if image_folder else [*near_folders(file), root]
    paths, path_notes = locate_images(
        [local_name(each) for each in names], folders, folders[0], searchable(root), split
    )
    annotations, notes = true_form(
        [_annotation(table, each) for each in names], paths, table.has_sides
    )
    stems = [Path(each.replace("\\", "/")).stem for each in names]
    return Dataset(
        name=name,
        split=split,
        classes=tuple(classes),
        ids=tuple(stems if len(set(stems)) == len(stems) else names),
        paths=tuple(paths),
        annotations=annotations,
        notes=(*table.notes, *path_notes, *notes),
    )


def near_folders(file: Path) -> list[Path]:
    """Where the images of a file of annotations may be, the likeliest first."""
    parents = (file.parent, file.parent.parent)
    split = split_of_file(file)
    of_split = (split, f"images/{split}", f"{split}/images")
    below = ("", "images", *of_split, "JPEGImages", "data", file.stem)
    return [parent / name for parent in parents for name in below]


def _annotation(table: Table, name: str) -> Annotation:
    own = table.boxes[name]
    return Annotation(
        size=table.sizes.get(name),
        names=tuple(box.label for box in own),
        boxes=np.array([box.corners for box in own], np.float32).reshape(-1, 4),
        difficult=np.array([box.difficult for box in own], np.bool_),
    )
