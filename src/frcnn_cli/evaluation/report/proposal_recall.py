"""The report's section on proposals: the fraction of the objects that they cover."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...data import images as image_files
from ...data.dataset import Dataset
from ...errors import ImageError
from ...proposers.cache import ProposalSource
from ...proposers.method import Method
from ...proposers.registry import DEFAULT, PROPOSERS
from ...runtime.paths import proposals_dir
from ...structures import GroundTruth
from ..recall import best_overlaps, recall_table

COUNTS = (100, 300, 1000, 2000)  # of proposals
_UNKNOWN_NOTE = (
    "The proposals of these detections are not known or not in the cache, so this is the recall of "
    "the default proposals. "
)


def proposal_recall(
    dataset: Dataset,
    ground_truths: Sequence[GroundTruth],
    proposals: ProposalSource | None,
    on_image: Callable[[], None],
) -> tuple[list[tuple[str, list[float]]], str]:
    """Recall at IoU 0.5 and 0.7 and MABO of the proposals that are in the cache.

    Args:
        proposals: those of the detections; None for default selective search, which the note then
            mentions.
        on_image: called after each image.
    Returns:
        For each number of proposals the three values, and a note on them. No rows if the cache has
        no proposals of these images.
    """
    prefix = _UNKNOWN_NOTE if proposals is None else ""
    proposals = proposals or ProposalSource(PROPOSERS[DEFAULT](1), proposals_dir())
    method = method_label(proposals.method)
    overlaps, labels = [np.zeros((0, len(COUNTS)), np.float32)], [np.zeros(0, np.int64)]
    images = 0
    for path, truth in zip(dataset.paths, ground_truths, strict=True):
        on_image()
        try:
            cached = proposals.cached(image_files.read_bytes(path))
        except ImageError:
            continue
        if cached is not None:
            images += 1
            overlaps.append(best_overlaps(cached, truth, COUNTS))
            labels.append(truth.labels[~truth.difficult])
    best = np.concatenate(overlaps)
    if not len(best):
        return [], f"{prefix}The cache has no proposals of these images by {method}."
    table = recall_table(best, np.concatenate(labels), COUNTS)
    rows = [(count, [row["0.5"], row["0.7"], row["mabo"]]) for count, row in table.items()]
    return rows, (
        f"{prefix}Recall is the fraction of {len(best):,} objects that the first proposals of an "
        "image cover at an IoU of 0.5 or 0.7; MABO is the mean over the classes of the average "
        f"best overlap. Proposals by {method}, cached for {images:,} of {len(dataset):,} images."
    )


def method_label(method: Method) -> str:
    """The name of a method for the page, such as "selective search (fast)"."""
    rows = [row for row, build in PROPOSERS.items() if build(1).digest == method.digest]
    name = method.name.replace("_", " ")
    return f"{name} ({rows[0]})" if rows and rows[0] != name else name
