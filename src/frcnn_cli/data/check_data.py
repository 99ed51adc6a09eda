"""Whether a data set can be trained on: `frcnn_cli.check_data`.

from frcnn_cli import check_data, open_splits
check = check_data(open_splits("photos"))
print(check.problems or "nothing that training would suffer from")
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from ..config import DetectConfig
from ..errors import counted, short_list
from ..runtime.progress import Progress, silent
from .dataset import Dataset, spelled_alike
from .inspection import FLAWS, Inspection, inspect_dataset

_FEW = 10  # objects of a class, below which little can be learned
_UNBALANCED = 100  # ratio of the objects of two classes
_MANY_DETECTIONS = DetectConfig().max_detections
_TRAINING = ("train", "trainval", "all")


@dataclass(frozen=True, kw_only=True)
class DataCheck:
    """What was found in the splits of a data set."""

    splits: tuple[Inspection, ...]
    problems: tuple[str, ...]  # that training or evaluation would suffer from
    remarks: tuple[str, ...]  # what else is unusual


def check_data(
    splits: Sequence[Dataset], *, threads: int | None = None, progress: Progress = silent
) -> DataCheck:
    """Look at every image and every object of a data set.

    Args:
        splits: of one data set, the one that is trained on first, such as from `open_splits`.
        threads: that read files; None: one for each core.
        progress: shows the progress of each split.
    """
    inspections = []
    for dataset in splits:
        with progress(f"looking at {dataset.split}", len(dataset), "images") as advance:
            inspections.append(
                inspect_dataset(dataset, threads or os.cpu_count() or 1, lambda: advance(""))
            )
    problems: list[str] = []
    remarks: list[str] = []
    for each in inspections:
        for flaw in FLAWS:
            if flaw in each.flaws:
                (problems if each.hurts(flaw) else remarks).append(each.describe(flaw))
        if each.turned:
            remarks.append(f"{each.split}: {each.turned}")
        if each.most_objects > _MANY_DETECTIONS:
            remarks.append(
                f"{each.split}: an image has {each.most_objects} objects, more than the "
                f"{_MANY_DETECTIONS} detections of an image: give eval and detect a larger --top"
            )
    problems += _overlaps(inspections)
    remarks += _class_remarks(inspections)
    return DataCheck(splits=tuple(inspections), problems=tuple(problems), remarks=tuple(remarks))


def _overlaps(inspections: Sequence[Inspection]) -> list[str]:
    """Sentences on splits that have images in common, whatever these are called."""
    found = []
    for a, b in combinations(inspections, 2):
        common = set(a.hashes) & set(b.hashes)
        count = sum(each in common for each in b.hashes)
        if count:
            found.append(
                f"{count} of the {b.images} images of {b.split} are in {a.split} too, so results "
                f"on {b.split} would be too good"
            )
    return found


def _class_remarks(inspections: Sequence[Inspection]) -> list[str]:
    """Sentences on the balance of the classes in the split that is trained on."""
    training = next((each for each in inspections if each.split in _TRAINING), None)
    if training is None:
        return []
    counts = dict(zip(training.classes, training.objects, strict=True))
    remarks = spelled_alike(training.classes)
    others = {
        name
        for each in inspections
        for name, count in zip(each.classes, each.objects, strict=True)
        if count and name not in counts
    }
    counts |= dict.fromkeys(sorted(others), 0)
    none = [name for name, count in counts.items() if not count]
    if none:
        remarks.append(
            f"{training.split} has no object of {counted(len(none), 'class', 'classes')}: "
            f"{short_list(none)}"
        )
    few = [f"{name} ({count})" for name, count in counts.items() if 0 < count < _FEW]
    if few:
        remarks.append(
            f"{training.split} has fewer than {_FEW} objects of "
            f"{counted(len(few), 'class', 'classes')}: {short_list(few)}"
        )
    present = {name: count for name, count in counts.items() if count}
    if present and max(present.values()) >= _UNBALANCED * min(present.values()):
        most, least = max(present, key=present.__getitem__), min(present, key=present.__getitem__)
        remarks.append(
            f"the classes are not balanced: {present[most]} objects of {most}, "
            f"{present[least]} of {least}"
        )
    return remarks
