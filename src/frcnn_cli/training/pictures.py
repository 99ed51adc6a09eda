"""Pictures in the folder of a run, by which one sees whether training gets what it should.

`batches.jpg` shows the first images with the foreground RoIs that are sampled in them,
`predictions.jpg` the detections in some validation images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from ..config import SHOWN_SCORE
from ..data.dataset import Dataset
from ..errors import FrcnnError
from ..inference.annotation_grid import COLUMNS, ROWS, arrange, choose_samples
from ..inference.drawing import draw, draw_regions
from ..runtime.files import write_atomically
from ..structures import Batch, Detections
from .batches import BatchMaker

BATCHES_FILE = "batches.jpg"
PREDICTIONS_FILE = "predictions.jpg"
_COUNT = COLUMNS * ROWS  # images in a picture


def write_batches(folder: Path, batches: BatchMaker) -> None:
    """Draw the first images that are trained on, with their foreground RoIs, as far as they can be
    read."""
    drawings: list[Image.Image] = []
    for iteration in range(min(_COUNT, batches.config.iterations)):
        if len(drawings) >= _COUNT:
            break
        try:
            drawings += _draw_batch(batches(iteration), batches.dataset.classes)
        except FrcnnError:  # it is raised again when the batch is due
            break
    _write(folder / BATCHES_FILE, drawings)


def _draw_batch(batch: Batch, classes: Sequence[str]) -> list[Image.Image]:
    assert batch.targets is not None
    labels, rois = batch.targets.labels.numpy(), batch.rois.numpy()
    drawings = []
    for index, (height, width) in enumerate(batch.sizes):
        image = batch.images[index].permute(1, 2, 0).contiguous().numpy()[:height, :width]
        own = (rois[:, 0] == index) & (labels > 0)
        drawings.append(draw_regions(image, rois[own, 1:], labels[own], classes))
    return drawings


def write_predictions(folder: Path, dataset: Dataset, detections: Sequence[Detections]) -> None:
    """Draw the detections that people would see in some images of a data set.

    Args:
        dataset: its classes number the labels. detections: one for each image.
    """
    drawings = []
    for index in choose_samples(dataset, _COUNT):
        own = detections[index]
        sure = own.scores > SHOWN_SCORE
        shown = replace(
            own, boxes=own.boxes[sure], scores=own.scores[sure], labels=own.labels[sure]
        )
        drawings.append(draw(dataset.read_image(index)[1], shown, dataset.classes))
    _write(folder / PREDICTIONS_FILE, drawings)


def _write(path: Path, drawings: Sequence[Image.Image]) -> None:
    grid = arrange(drawings[:_COUNT])
    write_atomically(path, lambda part: grid.save(part, format="JPEG", quality=85))
