"""A data set of any format: images, and the objects annotated in them.

G: objects of one image; K: classes.
"""

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


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """The objects of one image, as in the annotation file but with corners (x1, y1, x2, y2)."""

    # (height, width) of the stored image, according to the annotation file
    size: tuple[int, int] | None
    names: tuple[str, ...]  # G
    boxes: NDArray[np.float32]  # G×4, not clipped
    difficult: NDArray[np.bool_]  # G; COCO's crowds too
    areas: NDArray[np.float32] | None = None  # G, square pixels, where the file gives them


def upright_boxes(boxes: box_ops.Boxes, orientation: int, size: tuple[int, int]) -> box_ops.Boxes:
    """Move boxes from the stored to the displayed image, for an EXIF orientation that swaps sides.

    Args:
        boxes: G×4, in pixels of the stored image. orientation: of EXIF, 5 to 8.
        size: (height, width) of the stored image.
    Returns:
        G×4, in pixels of the displayed image.
    """
    height, width = size
    x1, y1, x2, y2 = boxes.T
    turned = {
        5: (y1, x1, y2, x2),  # flipped at the main diagonal
        6: (height - y2, x1, height - y1, x2),  # a quarter clockwise
        7: (height - y2, width - x2, height - y1, width - x1),  # flipped at the other diagonal
        8: (y1, width - x2, y2, width - x1),  # a quarter counter-clockwise
    }
    return np.stack(turned[orientation], axis=1).astype(np.float32)


@dataclass(frozen=True)
class ClassMatch:
    """Which classes two lists have in common."""

    mapping: Mapping[str, str]  # class of the first list -> the same class in the second
    unmatched: tuple[str, ...]  # classes that only the first list has
    unmatched_others: tuple[str, ...]  # classes that only the second list has


def match_classes(own: Sequence[str], others: Sequence[str]) -> ClassMatch:
    """Pair the classes of two lists by name; capitals, spaces, hyphens and underscores may differ.

    Identical names are paired first.
    """
    mapping = {name: name for name in own if name in others}
    free = {_normalize(name): name for name in others if name not in mapping}
    for name in own:
        if name not in mapping and _normalize(name) in free:
            mapping[name] = free.pop(_normalize(name))
    matched = set(mapping.values())
    return ClassMatch(
        mapping=mapping,
        unmatched=tuple(name for name in own if name not in mapping),
        unmatched_others=tuple(name for name in others if name not in matched),
    )


def _normalize(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The images of one split with their objects; class `classes[i]` has the label i + 1."""

    name: str
    split: str
    classes: tuple[str, ...]  # K
    ids: tuple[str, ...]  # one per image: its name in files of detections
    paths: tuple[Path, ...]  # one per image
    annotations: tuple[Annotation, ...]  # one per image
    min_side: float = 1.0  # pixels; objects with a shorter side are left out
    similar: tuple[tuple[str, ...], ...] = SIMILAR_IN_VOC  # groups of easily confused classes
    # class -> its number in files of detections; empty: the numbers are the labels
    category_ids: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.paths)

    def image_id(self, index: int) -> str:
        """The name of an image in files of detections; in VOC layout the stem of its file name."""
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
        """The same images with the labels of another list of classes, paired by `match_classes`.

        Objects of classes that are not in the list are left out.

        Raises:
            DataError: this data set has none of `classes`.
        """
        mapping = match_classes(self.classes, classes).mapping
        if not mapping:
            raise DataError(
                f"{self.name} has none of the classes asked for: it has {', '.join(self.classes)}; "
                f"asked for were {', '.join(classes)}",
                "use weights that were trained for these classes",
            )

        def rename(names: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(mapping.get(name, "") for name in names)  # "" is the name of no class

        return replace(
            self,
            classes=tuple(classes),
            annotations=tuple(replace(each, names=rename(each.names)) for each in self.annotations),
            similar=tuple(rename(group) for group in self.similar),
            category_ids={
                mapping[name]: number
                for name, number in self.category_ids.items()
                if name in mapping
            },
        )

    def require_objects(self) -> None:
        """Check that some object counts in an evaluation.

        Raises:
            DataError: there are no objects, or all of them are difficult.
        """
        if not any((~self.ground_truth(i).difficult).any() for i in range(len(self))):
            raise DataError(
                f"the {len(self)} images of {self.name} {self.split} have no object that counts",
                "take more images, or another split",
            )

    def read(self, index: int) -> tuple[bytes, NDArray[np.uint8], GroundTruth]:
        """The bytes of the image file, the decoded image [H, W, 3] and its objects.

        Raises:
            ImageError: see `read_image`.
        """
        return *self.read_image(index), self.ground_truth(index)

    def read_image(self, index: int) -> tuple[bytes, NDArray[np.uint8]]:
        """The bytes of the image file and the decoded image [H, W, 3].

        Raises:
            ImageError: the file is missing or damaged.
        """
        path = self.paths[index]
        content = images.read_bytes(path)
        return content, images.decode(content, str(path))

    def ground_truths(self) -> list[GroundTruth]:
        """The objects of every image."""
        return [self.ground_truth(index) for index in range(len(self))]

    def ground_truth(self, index: int) -> GroundTruth:
        """The objects of an image, in the orientation that a viewer shows.

        Boxes are clipped to the image, and objects with a clipped side below `min_side` are left
        out. Where EXIF swaps the sides and the annotation's size is that of the stored image, the
        boxes are turned with the image.
        """
        annotation, boxes = self.annotations[index], self.annotations[index].boxes
        layout = self._layout(index)
        if layout.swaps_sides and annotation.size == layout.stored_size:
            boxes = upright_boxes(boxes, layout.orientation, layout.stored_size)
        boxes = box_ops.clip(boxes, layout.displayed_size)
        label_of = {name: label for label, name in enumerate(self.classes, start=1)}
        labels = np.array([label_of.get(name, 0) for name in annotation.names], dtype=np.int64)
        usable = (labels > 0) & ((boxes[:, 2:] - boxes[:, :2]) >= self.min_side).all(axis=1)
        return GroundTruth(
            boxes=boxes, labels=labels, difficult=annotation.difficult, areas=annotation.areas
        )[usable]

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) of an image as a viewer shows it."""
        return self._layout(index).displayed_size

    def _layout(self, index: int) -> images.Layout:
        """The layout of the image file; where it does not exist, that of its annotation."""
        path, size = self.paths[index], self.annotations[index].size
        if size is not None and not path.exists():
            return images.Layout(size, orientation=1)
        return images.read_layout(path)


def concatenate_datasets(datasets: Sequence[Dataset]) -> Dataset:
    """One data set with the images and the classes of all `datasets`.

    Raises:
        DataError: two images have the same id.
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
