"""Counts what may be wrong with the images and the objects of one split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..config import SelectiveSearchConfig
from ..errors import ImageError
from ..ops import boxes as box_ops
from ..runtime.executor import prefetch
from . import images
from .annotation_size import find_stored, is_unclear
from .checks import check_file
from .content import content_hash
from .dataset import Dataset

_GROUP = 64  # images that a thread looks at before it takes the next ones
_NAMED = 5  # images that a sentence names
_MAX_PAIRS = 10**6  # of objects that are compared at once
_SAME_BOX = 0.95  # IoU from which two boxes are taken for one
_ROUNDING = 1.0  # pixels by which boxes may reach beyond the image, since tools count differently
_NO_SIDES = np.zeros(0, np.float32)


class Flaw(NamedTuple):
    """Something that may be wrong with images or objects."""

    unit: str  # what is counted: images or objects
    text: str  # completes "3 of 10 images …"
    # the largest fraction that training does not suffer from
    harmless: float


_SEARCH = SelectiveSearchConfig()  # method fast, the default
FLAWS: dict[str, Flaw] = {
    "damaged": Flaw("images", "cannot be read", 0.0),
    "conflict": Flaw("images", "have another aspect than their annotations say", 0.0),
    "resized": Flaw(
        "images", "have another size than their annotations say, so their boxes are scaled", 1.0
    ),
    "cut": Flaw("images", "lack their last bytes", 1.0),
    "copy": Flaw("images", "have the content of another one", 0.05),
    "empty": Flaw("images", "have no object", 0.9),
    "outside": Flaw("objects", "lie outside of their images or are too narrow to be used", 0.05),
    "beyond": Flaw("objects", "reach beyond the edges of their images, where they are cut", 0.5),
    "repeated": Flaw("objects", "repeat another one: the same box and class", 0.05),
    "ambiguous": Flaw("objects", "have the box of an object of another class", 0.05),
    "tiny": Flaw(
        "objects",
        f"are shorter than {_SEARCH.min_box_side} pixels when the search scales their image to "
        f"{_SEARCH.max_side}, so no proposal covers them",
        0.25,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What was found in a split of N images with objects of K classes."""

    name: str
    split: str
    classes: tuple[str, ...]  # K
    images: int  # N
    objects: tuple[int, ...]  # K, those that can be used, difficult ones too
    annotated: int  # objects, those that cannot be used too
    difficult: int  # objects
    most_objects: int  # in an image
    sizes: tuple[tuple[int, int], ...]  # (height, width) of the images that can be read
    sides: tuple[float, ...]  # longest sides of the objects, pixels
    hashes: tuple[str, ...]  # of the contents of the images that can be read
    flaws: dict[str, int]  # by key of FLAWS: how many images or objects have it
    found_in: dict[str, tuple[str, ...]]  # by key of FLAWS: the images, or what is wrong with them
    are_stored: bool  # see `Dataset`
    turned: str  # a sentence on images that EXIF turns; empty where all is clear

    def total(self, flaw: str) -> int:
        """The number of images or objects, of which `flaws` counts those that have a flaw."""
        return self.images if FLAWS[flaw].unit == "images" else self.annotated

    def hurts(self, flaw: str) -> bool:
        """Whether so many images or objects have a flaw that training would suffer."""
        return self.flaws.get(flaw, 0) > FLAWS[flaw].harmless * self.total(flaw)

    def describe(self, flaw: str) -> str:
        """A sentence on a flaw that was found."""
        kind, found = FLAWS[flaw], self.found_in[flaw]
        return (
            f"{self.split}: {self.flaws[flaw]} of {self.total(flaw)} {kind.unit} {kind.text}, "
            f"{'such as' if len(found) > _NAMED else 'in' if kind.unit == 'objects' else 'namely'} "
            f"{'; '.join(found[:_NAMED])}"
        )


class _Look(NamedTuple):
    """What was found in one image."""

    flaws: dict[str, int]
    message: str = ""  # what is wrong with the file
    content: str = ""  # its hash
    size: tuple[int, int] | None = None
    layout: images.Layout | None = None
    labels: NDArray[np.int64] = np.zeros(0, np.int64)
    sides: NDArray[np.float32] = _NO_SIDES  # longest side of each object
    difficult: int = 0


def inspect_dataset(
    dataset: Dataset, threads: int, on_image: Callable[[], None] = lambda: None
) -> Inspection:
    """Look at every image of a split and at its objects.

    Args:
        threads: that read the files. on_image: called after each image.
    """
    looks: list[_Look] = []
    groups = [range(len(dataset))[i : i + _GROUP] for i in range(0, len(dataset), _GROUP)]
    for _, future in prefetch(lambda group: [_look_at(dataset, i) for i in group], groups, threads):
        for look in future.result():
            looks.append(look)
            on_image()
    dataset, turned = _find_turned(dataset, looks)
    flaws: Counter[str] = Counter()
    found_in: dict[str, list[str]] = {flaw: [] for flaw in FLAWS}
    seen: set[str] = set()
    for index, look in enumerate(looks):
        found = dict(look.flaws)
        if look.content in seen and look.content:
            found["copy"] = 1
        seen.add(look.content)
        for flaw, count in found.items():
            flaws[flaw] += count
            found_in[flaw].append(look.message or dataset.image_id(index))
    labels = np.concatenate([look.labels for look in looks])
    return Inspection(
        name=dataset.name,
        split=dataset.split,
        classes=dataset.classes,
        images=len(dataset),
        objects=tuple(np.bincount(labels, minlength=len(dataset.classes) + 1)[1:].tolist()),
        annotated=sum(_count_of_classes(dataset, index) for index in range(len(dataset))),
        difficult=sum(look.difficult for look in looks),
        most_objects=max(len(look.labels) for look in looks),
        sizes=tuple(look.size for look in looks if look.size is not None),
        sides=tuple(np.concatenate([look.sides for look in looks]).tolist()),
        hashes=tuple(look.content for look in looks if look.content),
        flaws={flaw: flaws[flaw] for flaw in FLAWS if flaws[flaw]},
        found_in={flaw: tuple(found) for flaw, found in found_in.items() if found},
        are_stored=dataset.are_stored,
        turned=turned,
    )


def _find_turned(dataset: Dataset, looks: list[_Look]) -> tuple[Dataset, str]:
    """The data set with what is known of the boxes of images that EXIF turns, and a sentence on
    them; they are looked at again if their boxes are those of the stored images."""
    pairs = zip(dataset.annotations, (look.layout for look in looks), strict=True)
    unclear = [i for i, (each, layout) in enumerate(pairs) if layout and is_unclear(each, layout)]
    stored, sentence = find_stored(dataset.annotations, (look.layout for look in looks))
    dataset = replace(dataset, are_stored=stored)
    for index in unclear if stored else ():
        looks[index] = _look_at(dataset, index)
    is_said = unclear and sentence
    return dataset, f"{len(unclear)} of {len(looks)} images {sentence}" if is_said else ""


def _count_of_classes(dataset: Dataset, index: int) -> int:
    """The number of annotated objects of the data set's classes in an image."""
    classes = set(dataset.classes)
    return sum(name in classes for name in dataset.annotations[index].names)


def _look_at(dataset: Dataset, index: int) -> _Look:
    if images.is_missing(dataset.paths[index]):  # quicker than `check_file`, which gives advice
        return _Look({"damaged": 1}, f"no such file: {dataset.paths[index]}")
    check = check_file(dataset.paths[index])
    if check.header is None:
        return _Look({"damaged": 1}, check.problem.message if check.problem else "")
    layout, annotation = check.header.layout, dataset.annotations[index]
    size = layout.displayed_size
    flaws = {"cut": 1} if check.is_cut else {}
    try:
        content = content_hash(images.read_bytes(dataset.paths[index]))
    except ImageError as error:  # it has just vanished
        return _Look({"damaged": 1}, error.message)
    placement = dataset.placement(index, layout)
    if placement is None:
        flaws["conflict"] = 1
        return _Look(flaws, dataset.size_conflict(index, size), content, size, layout)
    truth = dataset.objects_in(index, layout)
    flaws |= _flaws_of_objects(truth.boxes, truth.labels, size)
    flaws |= {
        "resized": int(placement.is_scaled),
        "empty": int(not annotation.names),
        "outside": _count_of_classes(dataset, index) - len(truth.labels),
        "beyond": _count_beyond(placement.boxes, size),
    }
    sides = (truth.boxes[:, 2:] - truth.boxes[:, :2]).max(axis=1, initial=0)
    return _Look(
        {flaw: count for flaw, count in flaws.items() if count},
        content=content,
        size=size,
        layout=layout,
        labels=truth.labels,
        sides=sides,
        difficult=int(truth.difficult.sum()),
    )


def _count_beyond(boxes: box_ops.Boxes, size: tuple[int, int]) -> int:
    """Boxes that lie partly in the image and reach beyond its edge."""
    clipped = box_ops.clip(boxes, size)
    inside = (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
    return int((inside & (np.abs(boxes - clipped) > _ROUNDING).any(axis=1)).sum())


def _flaws_of_objects(
    boxes: box_ops.Boxes, labels: NDArray[np.int64], size: tuple[int, int]
) -> dict[str, int]:
    """Counts of repeated, ambiguous and tiny objects of an image."""
    repeated = ambiguous = 0
    step = max(1, _MAX_PAIRS // max(1, len(boxes)))
    for first in range(0, len(boxes), step):  # of all pairs at once, 10,000 objects take gigabytes
        own = slice(first, first + step)
        same = np.triu(box_ops.iou(boxes[: own.stop], boxes[own]) >= _SAME_BOX, k=1 - first)
        alike = labels[: own.stop, None] == labels[None, own]
        repeated += int((same & alike).any(axis=0).sum())
        ambiguous += int((same & ~alike).any(axis=0).sum())
    scale = min(1.0, _SEARCH.max_side / max(size))
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0) * scale
    return {
        "repeated": repeated,
        "ambiguous": ambiguous,
        "tiny": int((sides < _SEARCH.min_box_side).sum()),
    }
