"""frcnn propose"""

from __future__ import annotations

import os
import time
from json import dumps
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..data.registry import SPECS, names_dataset
from ..errors import ConfigError, DataError
from .console import ProgressLine, stderr, stdout
from .exchange import FORMATS, exporter, import_proposals
from .options import (
    Config,
    Data,
    Jobs,
    Json,
    Limit,
    Method,
    Quiet,
    Split,
    find_source,
    image_files,
    open_named,
    proposal_source,
)
from .upkeep import administer_cache

if TYPE_CHECKING:
    from ..data.dataset import Dataset
    from ..proposers.cache import ProposalSource
    from ..proposers.propose import Proposed


def propose(
    sources: Annotated[
        list[str] | None,
        typer.Argument(help="Images, folders, glob patterns, or one data set (voc2007)."),
    ] = None,
    data: Data = None,
    split: Split = None,
    limit: Limit = None,
    proposals: Method = "fast",
    layout: Annotated[
        str | None,
        typer.Option(
            help="Columns of a file of boxes: xyxy or yxyx (0-based, half-open), xyxy0, yxyx0, "
            "xyxy1, yxyx1 (0- or 1-based, inclusive) [default: found from the image sizes].",
            show_default=False,
        ),
    ] = None,
    recall: Annotated[
        bool, typer.Option("--recall", help="Recall of 100 to 10,000 boxes of a data set.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the curve of recall into this SVG file.")
    ] = None,
    show: Annotated[
        Path | None,
        typer.Option(help="Folder for pictures of the first boxes, and the best for each object."),
    ] = None,
    export: Annotated[Path | None, typer.Option(help="Write all boxes to this file.")] = None,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            help=f"{', '.join(FORMATS)} [default: by the ending of --export; detectron2 for .pkl].",
            show_default=False,
        ),
    ] = None,
    status: Annotated[bool, typer.Option("--status", help="Say what is in the cache.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every entry, and look for those of the images.")
    ] = False,
    clean: Annotated[
        bool, typer.Option("--clean", help="Remove what is damaged or half-written.")
    ] = False,
    jobs: Jobs = None,
    json: Json = False,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Make region proposals and keep them in the cache, or take in those of another program.

    What is in the cache already is not made again, so a run that was stopped goes on where it was.

    Example: frcnn propose voc2007 --split val --recall
    """
    named = None
    paths: list[Path] = []
    first = sources[0] if sources and len(sources) == 1 else ""
    if names_dataset(first) and not Path(first).exists():
        named = open_named(first, data, split, ("trainval", "train"), limit)
        paths = list(named.paths)
    elif sources:
        paths = image_files(sources)[:limit]
    elif not (status or verify or clean):
        raise ConfigError("no images given", "name images, folders or a data set")
    if named is None and (recall or plot):
        raise ConfigError("recall needs annotations", f"name a data set: {', '.join(SPECS)}")
    if plot is not None and plot.suffix.lower() != ".svg":
        raise ConfigError(f"{plot} does not end in .svg", "the curve is drawn as SVG")
    workers = jobs or os.cpu_count() or 1
    if status or verify or clean:
        administer_cache(find_source(proposals), paths, verify, clean, json, quiet)
        return
    write = exporter(export, format_)
    source = proposal_source(quiet, proposals, workers if len(paths) < workers else 1)
    facts: dict[str, Any] = {}
    if source.method.name == "file":
        facts = import_proposals(Path(proposals), paths, source, layout, quiet)
    elif layout is not None:
        raise ConfigError("--layout is for a file of boxes", "name one with --proposals")
    run = _Run(named, recall or plot is not None or source.method.name == "file", show)
    start = time.perf_counter()
    with ProgressLine("proposals", len(paths), "images", quiet) as progress:
        run.over(paths, source, workers, progress, export is not None)
    summary = facts | run.summary(time.perf_counter() - start, source)
    if recall and facts:  # imported boxes: ours beside them
        own = _Run(named, True, None)
        with ProgressLine("our own", len(paths), "images", quiet) as progress:
            own.over(paths, proposal_source(quiet), workers, progress, False)
        summary["recall_fast"] = own.summary(0, source).get("recall", {})
    if plot is not None:
        run.plot(plot, f"{proposals} on {sources and sources[0]}, {summary['images']} images")
    if write is not None:
        write(paths, run.boxes)
        summary["export"] = str(export)
    if json:
        print(dumps(summary))
    else:
        _print(summary)
    for result in run.failed:
        assert result.error is not None
        words = result.error.message
        stderr.print(f"  {words}" if str(result.path) in words else f"  {result.path}: {words}")
    if run.failed:
        if len(paths) == 1 and run.failed[0].error is not None:
            raise run.failed[0].error
        raise DataError(f"{len(run.failed)} of {len(paths)} images failed", "they are named above")


def _pictures(folder: Path, paths: list[Path]) -> list[Path]:
    """Where the drawing of each image goes; names that are taken get a number.

    Raises:
        ConfigError: there is one of the images.
    """
    images = {path.resolve() for path in paths}
    targets: dict[Path, None] = {}
    for path in paths:
        target, number = folder / f"{path.stem}.jpg", 1
        while target in targets:
            number += 1
            target = folder / f"{path.stem}-{number}.jpg"
        if target.resolve() in images:
            raise ConfigError(f"{target} is one of the images", "choose another --show")
        targets[target] = None
    return list(targets)


class _Run:
    """One run over all images, and what is kept of each."""

    def __init__(self, named: Dataset | None, judge: bool, show: Path | None) -> None:
        self.named, self.show = named, show
        self.judge = judge and named is not None
        self.counts: list[int] = []
        self.seconds: list[float] = []
        self.cached = 0
        self.failed: list[Proposed] = []
        self._pictures: list[Path] = []  # to draw, one an image
        self.boxes: dict[int, Any] = {}  # for an export
        self._overlaps: list[Any] = []
        self._labels: list[Any] = []

    def over(
        self,
        paths: list[Path],
        source: ProposalSource,
        workers: int,
        progress: ProgressLine,
        keep: bool,
    ) -> None:
        """Propose for each image; what is kept in memory is little unless all boxes are wanted."""
        from ..evaluation.recall import CURVE, best_overlaps
        from ..proposers.propose import propose_files

        if self.show is not None:
            self._pictures = _pictures(self.show, paths)
        try:
            for result in propose_files(paths, source, workers):
                progress.advance()
                if result.proposals is None:
                    self.failed.append(result)
                    continue
                self.counts.append(len(result.proposals.boxes))
                if result.cached:
                    self.cached += 1
                else:
                    self.seconds.append(result.seconds)
                if keep:
                    self.boxes[result.index] = result.proposals.boxes
                if self.judge and self.named is not None:
                    objects = self.named.ground_truth(result.index)
                    self._overlaps.append(best_overlaps(result.proposals, objects, CURVE))
                    self._labels.append(objects.labels[~objects.difficult])
                if self.show is not None:
                    self._show(result)
        except KeyboardInterrupt:
            done = len(self.counts)
            words = f"stopped after {done} of {len(paths)} images; the same command goes on there"
            stderr.print(words)
            raise

    def _show(self, result: Proposed) -> None:
        from ..data import images
        from ..inference.drawing import draw_proposals
        from ..runtime.files import write_atomically

        assert result.proposals is not None
        image = images.decode(images.read_bytes(result.path), str(result.path))
        truth = None if self.named is None else self.named.ground_truth(result.index)
        picture = draw_proposals(image, result.proposals, truth)
        write_atomically(
            self._pictures[result.index],
            lambda part: picture.save(part, format="JPEG", quality=92),
        )

    def _objects(self) -> int:
        return sum(len(labels) for labels in self._labels)

    def _table(self, counts: tuple[int, ...]) -> dict[str, dict[str, float]]:
        import numpy as np

        from ..evaluation.recall import CURVE, recall_table

        overlaps, labels = np.concatenate(self._overlaps), np.concatenate(self._labels)
        columns = [CURVE.index(count) for count in counts]
        return recall_table(overlaps[:, columns], labels, counts)

    def summary(self, seconds: float, source: ProposalSource) -> dict[str, Any]:
        """What is printed at the end."""
        from ..evaluation.recall import COUNTS

        found: dict[str, Any] = {
            "images": len(self.counts),
            "cached": self.cached,
            "failed": len(self.failed),
            "damaged": len(set(source.damaged)),
            "boxes_per_image": round(fmean(self.counts or [0]), 1),
            "seconds": round(seconds, 2),
            "seconds_per_image": round(fmean(self.seconds or [0]), 4),
            "cache": str(source.folder),
        }
        if self._objects():
            found["objects"] = self._objects()
            found["recall"] = self._table(COUNTS)
        return found

    def plot(self, path: Path, title: str) -> None:
        """Write the curve of recall."""
        from ..evaluation.recall import CURVE
        from ..runtime.files import write_atomically
        from ..runtime.svg import Axis, Series, axis, line_chart

        if not self._objects():
            raise DataError("there is no object to find in these images", "choose another split")
        table = self._table(CURVE)
        names = {"0.5": "recall at IoU 0.5", "0.7": "recall at IoU 0.7", "mabo": "MABO"}
        lines = [
            Series(name, [(int(count), row[key]) for count, row in table.items()])
            for key, name in names.items()
        ]
        across = axis("proposals an image", CURVE, logarithmic=True)
        picture = line_chart(title, across, Axis("share of the objects, overlap", 0, 1), lines)

        def fill(part: Path) -> None:
            part.write_text(picture, encoding="utf-8")

        write_atomically(path, fill)


def _print(summary: dict[str, Any]) -> None:
    new = summary["images"] - summary["cached"]
    stdout.print(
        f"{summary['images']} images ({new} new, {summary['cached']} from the cache), "
        f"{summary['boxes_per_image']} boxes an image, {summary['seconds']} s"
        + (f", {new / max(summary['seconds'], 0.01):.1f} images/s" if new else ""),
        soft_wrap=True,
    )
    if summary["damaged"]:
        stdout.print(f"{summary['damaged']} damaged entries were made again")
    for key, of in (("recall", ""), ("recall_fast", " of our own boxes, mode fast,")):
        if not summary.get(key):
            continue
        words = f"{summary['objects']} objects; recall{of} at IoU 0.5 and 0.7:"
        stdout.print(words, soft_wrap=True)
        stdout.print(f"{'boxes':>7} {'R 0.5':>7} {'R 0.7':>7} {'ABO':>7} {'MABO':>7}")
        for count, row in summary[key].items():
            figures = " ".join(f"{row[each]:7.3f}" for each in ("0.5", "0.7", "abo", "mabo"))
            stdout.print(f"{count:>7} {figures}")
    for key, words in (("export", "wrote"), ("cache", "kept in")):
        if key in summary:
            stdout.print(f"{words} {summary[key]}", soft_wrap=True)
