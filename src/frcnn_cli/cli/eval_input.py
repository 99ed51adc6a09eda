"""Where the detections of `frcnn eval` come from: a file, or a network at work."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..data.registry import absolute
from ..errors import unknown_name
from .console import ProgressLine, say_error, stderr
from .eval_tables import class_table
from .options import open_named, proposal_source

if TYPE_CHECKING:
    from ..config import DetectConfig
    from ..data.dataset import Dataset
    from ..structures import Detections

RUNS = Path("runs/eval")
GO_ON = "the same command goes on from there"


@dataclass(frozen=True)
class Found:
    """Detections of the images of a data set, whose classes number them."""

    images: Dataset
    detections: list[Detections]
    origin: dict[str, Any]  # for the answer
    new: int = 0  # images that a network looked at
    seconds: float = 0.0  # that it took


@dataclass(frozen=True)
class DatasetSpec:
    """A data set as it was asked for."""

    name: str
    data: Path | None
    split: str | None

    def open(self) -> Dataset:
        """All of it."""
        return open_named(self.name, self.data, self.split, ("test", "val"), None)

    def describe(self, images: Dataset) -> dict[str, str | None]:
        """For the header of a file of detections; `dataset_spec` reads it."""
        return {
            "dataset": absolute(self.name),
            "data": None if self.data is None else str(self.data.resolve()),
            "split": None if self.name.startswith("coco:") else images.split,
        }


def dataset_spec(
    files: list[Path], dataset: str | None, data: Path | None, split: str | None
) -> DatasetSpec:
    """The data set asked for, else the one that a file of detections names."""
    if dataset is not None or data is not None:
        return DatasetSpec(dataset or "voc", data, split)
    from ..evaluation.detection_log import read_header

    headers = [read_header(path) for path in files if not path.is_dir()]
    source = next((header.source for header in headers if header is not None), {})
    name, folder, own = (source.get(key) for key in ("dataset", "data", "split"))
    if not isinstance(name, str):
        return DatasetSpec("voc", None, split)
    return DatasetSpec(
        name,
        Path(folder) if isinstance(folder, str) else None,
        split or (own if isinstance(own, str) else None),
    )


def from_file(path: Path, whole: Dataset, limit: int | None, quiet: bool) -> Found:
    """Detections that were saved, by whatever program."""
    from ..evaluation.detection_files import load_detections
    from ..evaluation.detection_log import read_header

    origin = {"detections": str(path)}
    header = None if path.is_dir() else read_header(path)
    if header is not None:
        origin["weights"] = str(header.source.get("weights"))
        if not quiet:
            _say_classes(whole, header.classes, origin["weights"])
    detections = load_detections(path, whole, limit)
    return Found(whole.limited(limit), detections, origin)


def from_network(
    weights: Path,
    whole: Dataset,
    limit: int | None,
    place: dict[str, str | None],
    settings: DetectConfig,
    proposals: str,
    save: Path | None,
    device: str,
    workers: int,
    batch: int,
    quiet: bool,
) -> Found:
    """Detections of a network, those of an earlier run that was stopped among them."""
    from ..evaluation.detection_log import DetectionLog, Header
    from ..evaluation.evaluate import detect_all, known_detections, source_of
    from ..inference.detector import Detector
    from ..runtime.device import keep_freed_memory

    keep_freed_memory()
    detector = Detector.load(weights, proposal_source(quiet, proposals), settings, device)
    images = whole.limited(limit).with_classes(detector.classes)
    if not quiet:
        _say_classes(whole, detector.classes, weights.stem)
        trained_on = str(detector.header.provenance.get("data", "")).partition(",")[0]
        if _holds(trained_on, whole):
            stderr.print(f"these weights were trained on {trained_on}: they have seen these images")
    header = Header(detector.classes, {**place, **source_of(detector, weights)})
    if save is None:
        digest = hashlib.sha256(header.line().encode()).hexdigest()[:8]
        name = f"{whole.name}-{whole.split}-{weights.stem}-{digest}".replace(":", "-")
        save = RUNS / f"{name}.jsonl"
    with DetectionLog(save, header) as log:
        new = len(images) - len(known_detections(log, images))
        if new < len(images) and not quiet:
            stderr.print(f"{len(images) - new} of {len(images)} images are in {save} already")
        start = time.perf_counter()
        with ProgressLine("detecting", new, "images", quiet) as progress:
            try:
                detections = detect_all(detector, images, log, workers, progress.advance, batch)
            except KeyboardInterrupt:
                done = len(images) - new + progress.done
                say_error(f"stopped: {done} of {len(images)} images are in {save}", GO_ON)
                raise typer.Exit(130) from None
        seconds = time.perf_counter() - start
    origin = {"weights": str(weights), "detections": str(save)}
    return Found(images, detections, origin, new, seconds)


def only(found: Found, names: list[str]) -> Found:
    """The classes named; all of them where none is."""
    if not names:
        return found
    from ..evaluation.evaluate import only_classes

    for name in names:
        if name not in found.images.classes:
            raise unknown_name("class", name, found.images.classes)
    labels = [found.images.classes.index(name) + 1 for name in names]
    return replace(
        found,
        images=found.images.with_classes(names),
        detections=only_classes(found.detections, labels),
    )


def _holds(trained_on: str, images: Dataset) -> bool:
    """Whether data that weights name ("voc2007 trainval") holds these images.

    Of folders in VOC layout nothing is known: all are called voc.
    """
    names, _, split = trained_on.rpartition(" ")
    splits = ("train", "val", "trainval") if split == "trainval" else (split,)
    return images.name != "voc" and images.name in names.split("+") and images.split in splits


def _say_classes(whole: Dataset, classes: tuple[str, ...], owner: str) -> None:
    from ..data.dataset import match_classes

    match = match_classes(whole.classes, classes)
    if match.only_here or match.only_there:
        stderr.print(class_table(match.only_there, match.only_here, owner, whole.name))
