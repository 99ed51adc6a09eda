"""The result of detection in one image: its objects, with the image and the class names."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import ConfigError, FrcnnError
from ..structures import Detections
from .drawing import draw

if TYPE_CHECKING:
    import supervision

_NOTEBOOK_PIXELS = 1200  # largest longer side of the image that a notebook shows


def coco_id(stem: str) -> int | str:
    """The id of an image in COCO's files: its stem as a number where it is one, else the stem."""
    return int(stem) if stem.isdecimal() and stem.isascii() else stem


class Object(NamedTuple):
    """One detected object."""

    label: str  # class name
    score: float  # in 0..1
    box: tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels of the image


@dataclass(frozen=True, repr=False, kw_only=True)
class Result:
    """The objects of one image, best first: `for label, score, box in result`."""

    name: str  # of the source: a path, an address, a frame of a video
    stem: str  # file name without ending, for files that are made from the image
    image: NDArray[np.uint8]  # H×W×3, RGB, upright
    detections: Detections
    classes: tuple[str, ...]  # names of the labels 1..K
    proposals: int  # number of proposals that were used
    seconds: float  # for the network and postprocessing

    def __len__(self) -> int:
        return len(self.detections)

    def __iter__(self) -> Iterator[Object]:
        columns = self.detections.labels, self.detections.scores, self.detections.boxes
        for label, score, box in zip(*(column.tolist() for column in columns), strict=True):
            yield Object(self.classes[label - 1], score, tuple(box))

    def __repr__(self) -> str:
        counts = Counter(each.label for each in self)
        found = ", ".join(f"{count} {label}" for label, count in counts.items())
        return f"<{self.name}: {found or 'nothing found'}>"

    def plot(self) -> Image.Image:
        """A copy of the image with boxes, class names and scores drawn."""
        return draw(self.image, self.detections, self.classes)

    def _repr_png_(self) -> bytes:
        """The plot as PNG, which a notebook shows."""
        drawing, buffer = self.plot(), io.BytesIO()
        drawing.thumbnail((_NOTEBOOK_PIXELS, _NOTEBOOK_PIXELS))
        drawing.save(buffer, format="PNG")
        return buffer.getvalue()

    def to_coco(self, image_id: int | str | None = None) -> list[dict[str, Any]]:
        """Entries of a COCO results file: bbox is (x, y, width, height), categories are 1..K.

        Beyond COCO's keys they have file_name and category_name, by which `frcnn eval --from` knows
        the image and the class where another file of annotations numbers them otherwise.

        Args:
            image_id: None for `coco_id` of the stem.
        """
        if image_id is None:
            image_id = coco_id(self.stem)
        boxes = self.detections.boxes.astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        boxes = boxes.round(2)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], 0.01)  # a box without a side would be refused
        columns = self.detections.labels, boxes, self.detections.scores
        return [
            {
                "image_id": image_id,
                "category_id": label,
                "bbox": box,
                "score": round(score, 5),
                "file_name": self.name,
                "category_name": self.classes[label - 1],
            }
            for label, box, score in zip(*(each.tolist() for each in columns), strict=True)
        ]

    def to_supervision(self) -> supervision.Detections:
        """The detections as a `supervision.Detections`.

        Its class_id is in 0..K-1, and data["class_name"] holds the names.

        Raises:
            ConfigError: supervision is not installed.
        """
        try:
            import supervision
        except ImportError:
            raise ConfigError("supervision is not installed", "pip install supervision") from None
        labels = self.detections.labels
        return supervision.Detections(
            xyxy=self.detections.boxes,
            confidence=self.detections.scores,
            class_id=labels - 1,
            data={"class_name": np.array(self.classes, dtype=object)[labels - 1].astype(str)},
        )

    def to_dict(self) -> dict[str, Any]:
        """The entry of this image in the output of `frcnn detect --json`."""
        height, width = self.detections.image_size
        return {
            "image": self.name,
            "width": width,
            "height": height,
            "proposals": self.proposals,
            "seconds": round(self.seconds, 4),
            "detections": [
                {
                    "label": label,
                    "score": round(score, 4),
                    "box": [round(value, 1) for value in box],
                }
                for label, score, box in self
            ],
        }


@dataclass(frozen=True)
class Failure:
    """An image that could not be read, or for which no regions could be proposed."""

    name: str  # of its source
    error: FrcnnError
