"""What a detector gives: the objects of one picture, with the picture and the names."""

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

_NOTEBOOK_PIXELS = 1200  # of the longer side, at most


def coco_id(stem: str) -> int | str:
    """The number that a file is named by, as COCO's are; else the name."""
    return int(stem) if stem.isdecimal() and stem.isascii() else stem


class Object(NamedTuple):
    """One object that was found."""

    label: str  # name of its class
    score: float  # 0..1
    box: tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels of the picture


@dataclass(frozen=True, repr=False)
class Result:
    """The objects of one picture, best first: `for label, score, box in result`."""

    name: str  # where the picture is from
    stem: str  # of files that are made from it
    image: NDArray[np.uint8]  # H×W×3, RGB, upright
    detections: Detections  # labels 1..K
    classes: tuple[str, ...]  # K names
    proposals: int
    seconds: float  # of the network and the postprocessing

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
        """The picture with boxes, names and scores."""
        return draw(self.image, self.detections, self.classes)

    def _repr_png_(self) -> bytes:
        """What a notebook shows."""
        picture, buffer = self.plot(), io.BytesIO()
        picture.thumbnail((_NOTEBOOK_PIXELS, _NOTEBOOK_PIXELS))
        picture.save(buffer, format="PNG")
        return buffer.getvalue()

    def to_coco(self, image_id: int | str | None = None) -> list[dict[str, Any]]:
        """Entries of a COCO results file: bbox is (x, y, width, height), categories 1..K.

        Args:
            image_id: None for the number that the picture's file is named by, else its name.
        """
        if image_id is None:
            image_id = coco_id(self.stem)
        boxes = self.detections.boxes.astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        columns = self.detections.labels, boxes.round(2), self.detections.scores
        return [
            {"image_id": image_id, "category_id": label, "bbox": box, "score": round(score, 5)}
            for label, box, score in zip(*(each.tolist() for each in columns), strict=True)
        ]

    def to_supervision(self) -> supervision.Detections:
        """`supervision.Detections`, with class_id 0..K-1 and the names in data["class_name"].

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
        """What `frcnn detect --json` prints."""
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
    """A picture in which nothing could be looked for."""

    name: str
    error: FrcnnError
