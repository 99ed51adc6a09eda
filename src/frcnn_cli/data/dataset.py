"""A data set of any format: pictures, and the objects annotated in them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..ops import boxes as box_ops
from ..structures import GroundTruth
from . import images

# Classes that are easily taken for one another: those of Hoiem, Chodpathumwan and Dai, "Diagnosing
# Error in Object Detectors" (ECCV 2012), section 3.1.
SIMILAR_IN_VOC = (
    ("aeroplane", "bicycle", "boat", "bus", "car", "motorbike", "train"),
    ("bird", "cat", "cow", "dog", "horse", "person", "sheep"),
    ("chair", "diningtable", "sofa"),
    ("aeroplane", "bird"),
)


@dataclass(frozen=True)
class Annotation:
    """The objects of one picture, G of them, as their file gives them but for the coordinates."""

    size: tuple[int, int] | None  # (height, width) that the file claims, of the picture as stored
    names: tuple[str, ...]  # G
    boxes: NDArray[np.float32]  # G×4, not clipped
    difficult: NDArray[np.bool_]  # G; COCO's crowds too
    areas: NDArray[np.float32] | None = None  # G, square pixels, where the file gives them


def upright_boxes(boxes: box_ops.Boxes, orientation: int, size: tuple[int, int]) -> box_ops.Boxes:
    """Boxes of a stored picture of `size`, after its EXIF orientation 5 to 8 is applied."""
    height, width = size
    x1, y1, x2, y2 = boxes.T
    turned = {
        5: (y1, x1, y2, x2),  # mirrored along the diagonal
        6: (height - y2, x1, height - y1, x2),  # a quarter clockwise
        7: (height - y2, width - x2, height - y1, width - x1),
        8: (y1, width - x2, y2, width - x1),  # a quarter counter-clockwise
    }
    return np.stack(turned[orientation], axis=1).astype(np.float32)


@dataclass(frozen=True)
class ClassMatch:
    """How the classes of a data set go with others."""

    renamed: Mapping[str, str]  # a class of the data set -> the same one of the others
    only_here: tuple[str, ...]  # in the data set alone
    only_there: tuple[str, ...]


def match_classes(own: Sequence[str], others: Sequence[str]) -> ClassMatch:
    """Pair classes by name; capitals, spaces, hyphens and underscores may differ.

    A name that is the same to the letter goes first.
    """
    pairs = {name: name for name in own if name in others}
    free = {_plain(name): name for name in others if name not in pairs}
    for name in own:
        if name not in pairs and _plain(name) in free:
            pairs[name] = free.pop(_plain(name))
    found = set(pairs.values())
    return ClassMatch(
        pairs,
        tuple(name for name in own if name not in pairs),
        tuple(name for name in others if name not in found),
    )


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()


@dataclass(frozen=True)
class Dataset:
    """Images of one split with their objects; K classes, numbered from 1 in order."""

    name: str
    split: str
    classes: tuple[str, ...]
    ids: tuple[str, ...]  # what files of detections call the images
    paths: tuple[Path, ...]
    annotations: tuple[Annotation, ...]
    min_side: float = 1.0  # pixels; objects with a shorter side are left out
    similar: tuple[tuple[str, ...], ...] = SIMILAR_IN_VOC
    # the numbers that files of detections give the classes; 1..K where the data set has none
    category_ids: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.paths)

    def image_id(self, index: int) -> str:
        """In VOC layout the file name without its ending, as the split lists have it."""
        return self.ids[index]

    def limited(self, count: int | None) -> Dataset:
        """The first `count` images; all of them when `count` is None."""
        return replace(
            self,
            ids=self.ids[:count],
            paths=self.paths[:count],
            annotations=self.annotations[:count],
        )

    def with_classes(self, classes: Sequence[str]) -> Dataset:
        """The same images, numbered by other classes; objects of classes not named are left out.

        Raises:
            DataError: it has none of them. For what counts as the same name see `match_classes`.
        """
        renamed = match_classes(self.classes, classes).renamed
        if not renamed:
            raise DataError(
                f"{self.name} has none of the classes asked for: it has {', '.join(self.classes)}; "
                f"asked for were {', '.join(classes)}",
                "use weights that were trained for these classes",
            )

        def rename(names: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(renamed.get(name, "") for name in names)  # "" is no class

        return replace(
            self,
            classes=tuple(classes),
            annotations=tuple(replace(each, names=rename(each.names)) for each in self.annotations),
            similar=tuple(rename(group) for group in self.similar),
            category_ids={
                renamed[name]: number
                for name, number in self.category_ids.items()
                if name in renamed
            },
        )

    def require_objects(self) -> None:
        """Refuse to be judged by.

        Raises:
            DataError: no image has an object that is not difficult.
        """
        if not any((~self.ground_truth(i).difficult).any() for i in range(len(self))):
            raise DataError(
                f"the {len(self)} images of {self.name} {self.split} have no objects to judge by",
                "take more images, or another split",
            )

    def read(self, index: int) -> tuple[bytes, NDArray[np.uint8], GroundTruth]:
        """Content of the image file, the decoded image, and its objects."""
        return *self.read_image(index), self.ground_truth(index)

    def read_image(self, index: int) -> tuple[bytes, NDArray[np.uint8]]:
        """Content of the image file, and the decoded image.

        Raises:
            ImageError: it is missing or damaged.
        """
        path = self.paths[index]
        content = images.read_bytes(path)
        return content, images.decode(content, str(path))

    def ground_truths(self) -> list[GroundTruth]:
        """The objects of every image."""
        return [self.ground_truth(index) for index in range(len(self))]

    def ground_truth(self, index: int) -> GroundTruth:
        """The objects of an image, in the orientation that a viewer shows.

        Boxes are clipped to the image; what is less than `min_side` wide or high then is left out.
        Where EXIF turns the picture and the annotation gives its size as stored, boxes turn too.
        """
        annotation, boxes = self.annotations[index], self.annotations[index].boxes
        size, orientation = self._layout(index)
        if orientation >= 5:
            if annotation.size == size:
                boxes = upright_boxes(boxes, orientation, size)
            size = size[::-1]
        boxes = box_ops.clip(boxes, size)
        number = {name: label for label, name in enumerate(self.classes, start=1)}
        labels = np.array([number.get(name, 0) for name in annotation.names], dtype=np.int64)
        usable = (labels > 0) & ((boxes[:, 2:] - boxes[:, :2]) >= self.min_side).all(axis=1)
        return GroundTruth(
            boxes=boxes, labels=labels, difficult=annotation.difficult, areas=annotation.areas
        )[usable]

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) of an image as a viewer shows it."""
        size, orientation = self._layout(index)
        return size[::-1] if orientation >= 5 else size

    def _layout(self, index: int) -> tuple[tuple[int, int], int]:
        """As `images.layout`; where only annotations are at hand, by what they claim."""
        path, size = self.paths[index], self.annotations[index].size
        if size is not None and not path.exists():
            return size, 1
        return images.layout(path)


def joined(datasets: Sequence[Dataset]) -> Dataset:
    """The images of several data sets as one; its classes are those of all of them.

    Raises:
        DataError: two of them call different images by the same name.
    """
    first = datasets[0]
    classes = tuple(dict.fromkeys(name for each in datasets for name in each.classes))
    ids = tuple(image_id for each in datasets for image_id in each.ids)
    if len(set(ids)) < len(ids):
        raise DataError(
            f"{' and '.join(each.name for each in datasets)} share names of images",
            "rename the images of one of them",
        )
    return replace(
        first,
        name="+".join(each.name for each in datasets),
        split="+".join(dict.fromkeys(each.split for each in datasets)),
        classes=classes,
        ids=ids,
        paths=tuple(path for each in datasets for path in each.paths),
        annotations=tuple(each for dataset in datasets for each in dataset.annotations),
        category_ids={},
    )
