"""Draws detections and proposals on copies of their image."""

from __future__ import annotations

import colorsys
import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..ops import boxes as box_ops
from ..structures import Detections, GroundTruth, Proposals

_HUE_STEP = 0.618034  # of the colour circle (golden ratio), so that successive hues are distant
_TONES = ((0.85, 0.95), (0.5, 1.0), (0.95, 0.68))  # (saturation, value), used in turn
_EDGE = (20, 20, 20)  # colour of a thin edge that keeps lines visible on any background

Colour = tuple[int, int, int]
Font = ImageFont.ImageFont | ImageFont.FreeTypeFont
Area = tuple[float, float, float, float]  # x1, y1, x2, y2


def class_colour(label: int) -> Colour:
    """The RGB colour of a class, the same in every drawing."""
    saturation, value = _TONES[label % len(_TONES)]
    red, green, blue = colorsys.hsv_to_rgb(label * _HUE_STEP % 1.0, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw(image: NDArray[np.uint8], detections: Detections, classes: Sequence[str]) -> Image.Image:
    """Draw boxes with class names and scores on a copy of an image, the best ones on top.

    Args:
        image: uint8 [H, W, 3], RGB. classes: the names of the labels 1..K.
    """
    return _labels_of(image, detections, classes).paint(image)


def draw_strips(
    image: NDArray[np.uint8], detections: Detections, classes: Sequence[str], rows: int
) -> Iterator[Image.Image]:
    """The parts of `draw`, each of so many rows, for an image of which a copy would be large."""
    labels = _labels_of(image, detections, classes)
    for top in range(0, len(image), rows):
        # Pillow rounds towards 0, so what begins above a part would move by a pixel in it
        begin = max(0, top - labels.height)
        drawing = labels.paint(image[begin : top + rows], begin)
        yield drawing.crop((0, top - begin, drawing.width, drawing.height))


def _labels_of(image: NDArray[np.uint8], detections: Detections, classes: Sequence[str]) -> _Labels:
    texts = [
        f"{classes[label - 1]} {score:.2f}"
        for label, score in zip(detections.labels, detections.scores.tolist(), strict=True)
    ]
    return _Labels.place(image.shape[:2], detections.boxes, detections.labels.tolist(), texts)


def draw_objects(
    image: NDArray[np.uint8], truth: GroundTruth, classes: Sequence[str]
) -> Image.Image:
    """Draw the boxes of objects with class names on a copy of an image; see `draw`."""
    texts = [classes[label - 1] for label in truth.labels]
    labels = truth.labels.tolist()
    return _Labels.place(image.shape[:2], truth.boxes, labels, texts).paint(image)


def draw_regions(
    image: NDArray[np.uint8],
    boxes: box_ops.Boxes,
    labels: NDArray[np.int64],
    classes: Sequence[str],
) -> Image.Image:
    """Draw regions on a copy of an image, in the colours of their classes, each named once.

    Args:
        image: uint8 [H, W, 3], RGB. boxes: [R, 4]. labels: [R]. classes: names of the labels 1..K.
    """
    named, first = np.unique(labels, return_index=True)
    texts = [classes[label - 1] for label in named]
    drawing = _Labels.place(image.shape[:2], boxes[first], named.tolist(), texts).paint(image)
    canvas = ImageDraw.Draw(drawing)
    line = max(2, round(max(drawing.size) / 300))
    for label, box in zip(labels.tolist(), boxes, strict=True):
        _outline(canvas, box, class_colour(label), line)
    return drawing


@dataclass(frozen=True)
class _Labels:
    """Boxes with texts that are to be drawn on an image, the first ones on top."""

    boxes: box_ops.Boxes  # [N, 4]
    labels: Sequence[int]  # N, for the colours
    texts: Sequence[str]  # N
    areas: Sequence[Area]  # N, of the texts
    line: int  # width of a line, pixels
    font: Font

    @staticmethod
    def place(
        size: tuple[int, int], boxes: box_ops.Boxes, labels: Sequence[int], texts: Sequence[str]
    ) -> _Labels:
        """Choose the areas of the texts: each covers as little as possible of those before it.

        Lines and letters grow with the image.

        Args:
            size: (height, width) of the image.
        """
        unit = max(size) / 500
        line = max(2, round(2 * unit))
        font = _font(max(11, round(13 * unit)), texts)
        areas: list[Area] = []
        for text, box in zip(texts, boxes.tolist(), strict=True):
            left, top, right, bottom = _text_box(text, font)
            text_size = right - left + 2 * line, bottom - top + 2 * line
            areas.append(_free_area(box, text_size, size[::-1], areas))
        return _Labels(boxes, labels, texts, areas, line, font)

    @property
    def height(self) -> int:
        """Rows of the highest text, or of the lines of a box."""
        texts = max((area[3] - area[1] for area in self.areas), default=0.0)
        return math.ceil(texts) + 3 * self.line

    def paint(self, image: NDArray[np.uint8], top: int = 0) -> Image.Image:
        """Draw on a copy of an image, or on a copy of the rows of one from `top` on."""
        drawing = Image.fromarray(image)
        canvas = ImageDraw.Draw(drawing)
        for label, box in reversed(list(zip(self.labels, self.boxes.tolist(), strict=True))):
            _outline(canvas, _lifted(box, top), class_colour(label), self.line)
        named = zip(self.texts, self.labels, self.areas, strict=True)
        for text, label, area in reversed(list(named)):
            colour = class_colour(label)
            left, upper, _, _ = _text_box(text, self.font)
            x1, y1, x2, y2 = _lifted(area, top)
            canvas.rectangle((x1, y1, x2, y2), fill=colour)
            light = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140
            corner = x1 + self.line - left, y1 + self.line - upper
            canvas.text(corner, text, font=self.font, fill="black" if light else "white")
        return drawing


def _text_box(text: str, font: Font) -> tuple[float, float, float, float]:
    """The box of a text that is drawn at (0, 0)."""
    return ImageDraw.Draw(Image.new("RGB", (1, 1))).textbbox((0, 0), text, font=font)


def _lifted(box: Sequence[float], top: int) -> Area:
    """A box in the rows of an image from `top` on."""
    x1, y1, x2, y2 = box
    return x1, y1 - top, x2, y2 - top


def _font(size: int, texts: Sequence[str]) -> Font:
    """Pillow's own font for ASCII; DejaVu for other texts, where the system has it."""
    if not all(text.isascii() for text in texts):
        with contextlib.suppress(OSError):
            return ImageFont.truetype("DejaVuSans.ttf", size)
    return ImageFont.load_default(size=size)


_OBJECT, _BEST = (40, 220, 90), (255, 210, 0)  # colours of objects and of their best proposals
_SHOWN_PROPOSALS = 30  # more would hide the image


def draw_proposals(
    image: NDArray[np.uint8], proposals: Proposals, truth: GroundTruth | None
) -> Image.Image:
    """Draw the first proposals on a copy of an image.

    Args:
        image: uint8 [H, W, 3], RGB.
        truth: the objects of the image. They are drawn on a second copy beside the first: each
            object in green, its best proposal in yellow, and their IoU.
    """
    first = Image.fromarray(image)
    canvas = ImageDraw.Draw(first)
    line = max(1, round(max(first.size) / 400))
    for rank, box in reversed(list(enumerate(proposals.boxes[:_SHOWN_PROPOSALS]))):
        _outline(canvas, box, class_colour(rank + 1), line)
    if truth is None or not len(truth.boxes) or not len(proposals.boxes):
        return first
    second = Image.fromarray(image)
    canvas = ImageDraw.Draw(second)
    font = ImageFont.load_default(size=max(11, round(13 * max(first.size) / 500)))
    overlaps = box_ops.iou(proposals.boxes, truth.boxes)
    for index, box in enumerate(truth.boxes):
        best = int(overlaps[:, index].argmax())
        _outline(canvas, proposals.boxes[best], _BEST, 2 * line)
        _outline(canvas, box, _OBJECT, line)
        corner = (float(box[0]) + 2 * line, float(box[1]) + 2 * line)
        text = f"{overlaps[best, index]:.2f} (no. {best + 1})"
        canvas.text(corner, text, font=font, fill=_BEST, stroke_width=2, stroke_fill="black")
    both = Image.new("RGB", (2 * first.width + 4 * line, first.height), "white")
    both.paste(first, (0, 0))
    both.paste(second, (first.width + 4 * line, 0))
    return both


def _outline(canvas: ImageDraw.ImageDraw, box: Iterable[float], colour: Colour, line: int) -> None:
    x1, y1, x2, y2 = (float(value) for value in box)
    corners = x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)
    edge = max(1, line // 3)
    around = corners[0] - edge, corners[1] - edge, corners[2] + edge, corners[3] + edge
    canvas.rectangle(around, outline=_EDGE, width=edge)
    canvas.rectangle(corners, outline=colour, width=line)


def _free_area(
    box: Sequence[float],
    size: tuple[float, float],
    image_size: tuple[int, int],
    taken: Sequence[Area],
) -> Area:
    """Choose the area of a label, above, inside or below its box.

    Args:
        box: x1, y1, x2, y2. size: (width, height) of the label.
        image_size: (width, height). taken: areas of other labels, not to be covered.
    """
    (width, height), (x1, y1, x2, y2) = size, box
    places = []
    for y in (y1 - height, y1, y2, y2 - height):
        for x in (x1, x2 - width):
            left = min(max(0.0, x), max(0.0, image_size[0] - width))
            upper = min(max(0.0, y), max(0.0, image_size[1] - height))
            places.append((left, upper, left + width, upper + height))
    return min(places, key=lambda area: sum(_shared(area, other) for other in taken))


def _shared(area: Area, other: Area) -> float:
    """Square pixels that two areas have in common."""
    width = min(area[2], other[2]) - max(area[0], other[0])
    height = min(area[3], other[3]) - max(area[1], other[1])
    return max(width, 0.0) * max(height, 0.0)
