"""A data set of any format: images, and the objects annotated in them.

G: objects of one image; K: classes.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, unknown_name
from ..ops import boxes as box_ops
from ..structures import MAX_CLASS_NAME, MAX_CLASSES, MAX_OBJECTS, GroundTruth, unfit_class_name
from . import images
from .annotation import Annotation
from .annotation_size import Placement, place_boxes

# Classes that are easily taken for one another: those of Hoiem, Chodpathumwan and Dai, "Diagnosing
# Error in Object Detectors" (ECCV 2012), section 3.1.
SIMILAR_IN_VOC = (
    ("aeroplane", "bicycle", "boat", "bus", "car", "motorbike", "train"),
    ("bird", "cat", "cow", "dog", "horse", "person", "sheep"),
    ("chair", "diningtable", "sofa"),
    ("aeroplane", "bird"),
)


# Names of one class in VOC, in COCO and in everyday use.
SYNONYMS = (
    ("aeroplane", "airplane"),
    ("diningtable", "dining table"),
    ("motorbike", "motorcycle"),
    ("pottedplant", "potted plant"),
    ("sofa", "couch"),
    ("tvmonitor", "tv", "television"),
)


@dataclass(frozen=True)
class ClassMatch:
    """Which classes two lists have in common."""

    mapping: Mapping[str, str]  # class of the first list -> the same class in the second
    unmatched: tuple[str, ...]  # classes that only the first list has
    unmatched_others: tuple[str, ...]  # classes that only the second list has

    @property
    def synonyms(self) -> dict[str, str]:
        """The part of `mapping` whose two names are different words."""
        pairs = self.mapping.items()
        return {a: b for a, b in pairs if _normalize(a) != _normalize(b)}


def match_classes(own: Sequence[str], others: Sequence[str]) -> ClassMatch:
    """Pair the classes of two lists by name; capitals, spaces, hyphens and underscores may differ.

    Identical names are paired first, SYNONYMS last.
    """
    mapping = {name: name for name in own if name in others}
    for key in (_normalize, _meaning):
        taken = set(mapping.values())
        free = {key(name): name for name in reversed(others) if name not in taken}
        for name in own:
            if name not in mapping and key(name) in free:
                mapping[name] = free.pop(key(name))
    matched = set(mapping.values())
    return ClassMatch(
        mapping=mapping,
        unmatched=tuple(name for name in own if name not in mapping),
        unmatched_others=tuple(name for name in others if name not in matched),
    )


def spelled_alike(classes: Sequence[str]) -> list[str]:
    """Sentences on classes that differ only in capitals, spaces, hyphens or underscores."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        groups[_normalize(name)].append(name)
    return [
        f"the classes {' and '.join(map(repr, group))} differ only in their spelling, and count as "
        f"{len(group)} classes"
        for group in groups.values()
        if len(group) > 1
    ]


def _normalize(name: str) -> str:
    return re.sub(r"[\s_-]+", "", unicodedata.normalize("NFKC", name)).casefold()


def _meaning(name: str) -> str:
    """The first of the class's SYNONYMS, else its normalised name."""
    normal = _normalize(name)
    return next((group[0] for group in SYNONYMS if normal in map(_normalize, group)), normal)


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
    # share of the images that `hash_split` keeps for val, where this is one of its two parts
    val_share: float | None = None
    # the boxes of images that EXIF turns are of the stored image, where their sizes do not tell
    are_stored: bool = False
    # what was left out or changed when the files were read, one sentence each
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        unfit = unfit_class_name(self.classes)
        if unfit is not None:
            raise DataError(
                f"{self.name} has a class {ascii(unfit)[:40]}",
                f"expected names of at most {MAX_CLASS_NAME} letters, without control characters",
            )
        if len(self.classes) > MAX_CLASSES:
            raise DataError(
                f"{self.name} has {len(self.classes):,} classes",
                f"expected at most {MAX_CLASSES:,}: leave out some, or look whether they are names",
            )
        most = max(
            range(len(self)), key=lambda index: len(self.annotations[index].names), default=0
        )
        if len(self) and len(self.annotations[most].names) > MAX_OBJECTS:
            raise DataError(
                f"{self.paths[most]} has {len(self.annotations[most].names):,} objects",
                f"expected at most {MAX_OBJECTS:,}: cut it into tiles",
            )

    def __len__(self) -> int:
        return len(self.paths)

    def image_id(self, index: int) -> str:
        """The name of an image in files of detections; in VOC layout the stem of its file name."""
        return self.ids[index]

    def limited(self, count: int | None) -> Dataset:
        """The first `count` images; all of them when `count` is None."""
        return self.select(range(len(self))[:count])

    def select(self, indices: Sequence[int]) -> Dataset:
        """The images with these indices, in this order."""
        return replace(
            self,
            ids=tuple(self.ids[index] for index in indices),
            paths=tuple(self.paths[index] for index in indices),
            annotations=tuple(self.annotations[index] for index in indices),
        )

    def without_difficult(self) -> Dataset:
        """The same data set with no object marked difficult but crowds; all others count alike."""
        annotations = tuple(
            replace(
                each,
                difficult=np.zeros_like(each.difficult) if each.crowds is None else each.crowds,
            )
            for each in self.annotations
        )
        return replace(self, annotations=annotations)

    def with_notes(self, *notes: str) -> Dataset:
        """The same data set with more notes."""
        return replace(self, notes=(*self.notes, *notes))

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

    def renamed(self, names: Mapping[str, str]) -> Dataset:
        """The same images with other names of classes; several may become one.

        Args:
            names: class -> its new name.
        Raises:
            ConfigError: there is no such class.
        """
        for name in names:
            if name not in self.classes:
                raise unknown_name("class", name, self.classes)

        def rename(old: Sequence[str]) -> tuple[str, ...]:
            return tuple(names.get(name, name) for name in old)

        return replace(
            self,
            classes=tuple(dict.fromkeys(rename(self.classes))),
            annotations=tuple(replace(each, names=rename(each.names)) for each in self.annotations),
            similar=tuple(map(rename, self.similar)),
            category_ids={names.get(name, name): id_ for name, id_ in self.category_ids.items()},
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
        out. Where the image was turned or resized after it was annotated, the boxes follow.

        Raises:
            DataError: the file has another aspect than the annotation says.
        """
        return self.objects_in(index, self._layout(index))

    def objects_in(self, index: int, layout: images.Layout) -> GroundTruth:
        """`ground_truth` where the layout of the image file is known."""
        annotation, placement = self.annotations[index], self.placement(index, layout)
        if placement is None:
            raise DataError(
                self.size_conflict(index, layout.displayed_size),
                "take the image that was annotated, or mend the size in the annotation",
            )
        boxes = box_ops.clip(placement.boxes, layout.displayed_size)
        label_of = {name: label for label, name in enumerate(self.classes, start=1)}
        labels = np.array([label_of.get(name, 0) for name in annotation.names], dtype=np.int64)
        usable = (labels > 0) & ((boxes[:, 2:] - boxes[:, :2]) >= self.min_side).all(axis=1)
        areas = annotation.areas
        if areas is not None and placement.is_scaled:
            areas = (areas * np.prod(placement.factors)).astype(np.float32)
        objects = GroundTruth(
            boxes=boxes,
            labels=labels,
            difficult=annotation.difficult,
            areas=areas,
            crowds=annotation.crowds,
        )
        return objects[usable]

    def placement(self, index: int, layout: images.Layout) -> Placement | None:
        """The boxes of an image as a viewer shows it; see `place_boxes`."""
        annotation = self.annotations[index]
        return place_boxes(annotation.boxes, annotation.size, layout, self.are_stored)

    def size_conflict(self, index: int, size: tuple[int, int]) -> str:
        """A message that an image file of `size` differs from what its annotation says."""
        told = self.annotations[index].size or (0, 0)
        return (
            f"{self.paths[index]} is {size[1]}×{size[0]}, "
            f"but its annotation says {told[1]}×{told[0]}, another aspect"
        )

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) of an image as a viewer shows it."""
        return self._layout(index).displayed_size

    def _layout(self, index: int) -> images.Layout:
        """The layout of the image file; where it does not exist, that of its annotation."""
        path, size = self.paths[index], self.annotations[index].size
        if size is not None and not os.path.exists(path):
            return images.Layout(size, orientation=1)
        return images.read_layout(path)


def concatenate_datasets(datasets: Sequence[Dataset], labels: Sequence[str] = ()) -> Dataset:
    """One data set with the images and the classes of all `datasets`.

    Ids that several of them have are qualified by the label of the data set: label/id.

    Args:
        labels: one per data set; by default their names without the format.
    Raises:
        DataError: two of them have the same image file.
    """
    names = " and ".join(each.name for each in datasets)
    holders = Counter(path for each in datasets for path in dict.fromkeys(each.paths))
    common = [path for path, count in holders.items() if count > 1]
    if common:
        raise DataError(
            f"{len(common)} images of {names} are the same file, first {common[0]}",
            "name each data set once",
        )
    labels = _unique(labels or [each.name.partition(":")[2] or each.name for each in datasets])
    counts = Counter(image_id for each in datasets for image_id in set(each.ids))
    ids = tuple(
        f"{label}/{image_id}" if counts[image_id] > 1 else image_id
        for label, each in zip(labels, datasets, strict=True)
        for image_id in each.ids
    )
    shared = sum(count > 1 for count in counts.values())
    note = f"{names} share {shared} names of images: the name of the data set is put before them"
    return replace(
        datasets[0],
        name="+".join(each.name for each in datasets),
        split="+".join(dict.fromkeys(each.split for each in datasets)),
        classes=tuple(dict.fromkeys(name for each in datasets for name in each.classes)),
        ids=ids,
        paths=tuple(path for each in datasets for path in each.paths),
        annotations=tuple(each for dataset in datasets for each in dataset.annotations),
        category_ids={},
        val_share=next((each.val_share for each in datasets if each.val_share), None),
        notes=(
            *(f"{each.name}: {note}" for each in datasets for note in each.notes),
            *((note,) if shared else ()),
        ),
    )


def _unique(labels: Sequence[str]) -> list[str]:
    """The labels, with a number where one occurs again."""
    unique: list[str] = []
    for label in labels:
        number, name = 1, label
        while name in unique:
            number += 1
            name = f"{label}-{number}"
        unique.append(name)
    return unique
