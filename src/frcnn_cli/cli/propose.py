"""The command `frcnn propose`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..data.registry import SPECS, names_dataset
from ..errors import ConfigError, FrcnnError, unknown_name, with_image
from ..runtime.files import check_absent, write_text
from .cache_admin import administer_cache
from .console import ProgressLine, dumps, raise_failures, stderr, stdout
from .options import (
    Config,
    Data,
    Jobs,
    Json,
    Limit,
    Method,
    Overwrite,
    Quiet,
    SkipDamaged,
    Split,
    ValShare,
    image_files,
    import_proposals,
    open_named,
    proposal_source,
    refuse,
    tell_unused_share,
)

if TYPE_CHECKING:
    from ..data.dataset import Dataset
    from ..proposers.cache import ProposalSource
    from ..proposers.propose import ProposeResult

FORMATS = ("mat", "detectron2", "detectron", "mmdetection", "npz", "json")  # of --export


def propose(
    sources: Annotated[
        list[str] | None,
        typer.Argument(help="Images, folders, glob patterns, or one data set (voc2007)."),
    ] = None,
    data: Data = None,
    split: Split = None,
    val_share: ValShare = None,
    limit: Limit = None,
    skip_damaged: SkipDamaged = False,
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
        bool, typer.Option("--recall", help="Show the recall of 100 to 10,000 boxes an image.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="SVG file for the recall curve.")] = None,
    show: Annotated[
        Path | None,
        typer.Option(help="Folder for images with the first boxes, and the best for each object."),
    ] = None,
    export: Annotated[Path | None, typer.Option(help="File for all boxes.")] = None,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            help=f"{', '.join(FORMATS)} [default: by the ending of --export; detectron2 for .pkl].",
            show_default=False,
        ),
    ] = None,
    overwrite: Overwrite = False,
    status: Annotated[bool, typer.Option("--status", help="Show what is in the cache.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check all entries, and that the images have one.")
    ] = False,
    clean: Annotated[
        bool, typer.Option("--clean", help="Remove damaged and half-written entries.")
    ] = False,
    jobs: Jobs = None,
    json: Json = False,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Compute region proposals, or import those of another program.

    They are kept in a cache, from which every command takes them. Images with proposals in the
    cache are skipped, so a run that was stopped continues.

    Example: frcnn propose voc2007 --split val --recall
    """
    from ..evaluation.recall import RecallMeter
    from ..inference.proposal_pictures import ProposalPictures
    from ..proposers.exchange.exporter import export_boxes, export_format
    from ..proposers.registry import FILE
    from ..proposers.registry import proposal_source as find_source

    dataset, paths = _images(sources or [], data, split, val_share, limit, quiet, skip_damaged)
    if dataset is not None and not quiet:
        tell_unused_share(val_share, [dataset])
    is_for_cache = status or verify or clean
    if not sources and not is_for_cache:
        raise ConfigError("no images given", "name images, folders or a data set")
    if dataset is None and (recall or plot):
        raise ConfigError("recall needs annotations", f"name a data set: {', '.join(SPECS)}")
    if plot is not None and plot.suffix.lower() != ".svg":
        raise ConfigError(f"{plot} does not end in .svg", "the curve is drawn as SVG")
    if dataset is None:
        refuse(
            "for a data set, not for images",
            data=data,
            split=split,
            val_share=val_share,
            skip_damaged=skip_damaged or None,
        )
    if export is None:
        refuse("for the file that --export writes", format=format_)
    if is_for_cache:
        refuse(
            "not for the cache's --status, --verify and --clean",
            recall=recall or None,
            plot=plot,
            show=show,
            export=export,
        )
        administer_cache(find_source(proposals), paths, verify, clean, json, quiet)
        return
    file_format = None if export is None else export_format(export, format_)
    for option, file in (("--export", export), ("--plot", plot)):
        if file is not None:
            _check_file(file, option, paths, overwrite)
    workers = jobs or os.cpu_count() or 1
    source = proposal_source(quiet, proposals, workers if len(paths) < workers else 1)
    imported: dict[str, Any] = {}
    ids = None if dataset is None else dataset.ids
    if source.method.name == FILE:
        imported = import_proposals(Path(proposals), paths, source, _layout(layout), quiet, ids)
    elif layout is not None:
        raise ConfigError("--layout is for a file of boxes", "name one with --proposals")
    meter = RecallMeter() if recall or plot is not None or imported else None
    pictures = None if show is None else ProposalPictures(show, paths, overwrite)
    boxes: dict[int, Any] = {}

    def use(result: ProposeResult) -> None:
        assert result.proposals is not None
        truth = None if dataset is None else dataset.ground_truth(result.index)
        if export is not None:
            boxes[result.index] = result.proposals.boxes
        if meter is not None and truth is not None:
            meter.add(result.proposals, truth)
        if pictures is not None:
            pictures.write(result.index, result.proposals, truth)

    start = time.perf_counter()
    totals = _propose_all("proposals", paths, source, workers, use, quiet)
    summary = imported | totals.summary(time.perf_counter() - start, source)
    if meter is not None and meter.objects:
        summary |= {"objects": meter.objects, "recall": _recall(meter)}
    if recall and imported and dataset is not None:
        summary["recall_fast"] = _default_recall(dataset, workers, quiet)
    if plot is not None and meter is not None:
        write_text(plot, meter.chart(f"{proposals} on {sources and sources[0]}, {totals} images"))
    if export is not None and file_format is not None:
        export_boxes(export, paths, boxes, file_format, ids)
    written = {"export": export, "plot": plot, "show": show}
    summary |= {option: str(path) for option, path in written.items() if path is not None}
    if json:
        print(dumps(summary))
    else:
        _print(summary)
    if len(paths) == len(totals.errors) == 1:
        raise totals.errors[0]
    raise_failures(totals.messages, len(paths))


def _images(
    sources: list[str],
    data: Path | None,
    split: str | None,
    val_share: float | None,
    limit: int | None,
    quiet: bool,
    skip_damaged: bool,
) -> tuple[Dataset | None, list[Path]]:
    """The data set, if `sources` names one, and the image files."""
    if len(sources) == 1 and names_dataset(sources[0]):
        splits = ("trainval", "train")
        dataset = open_named(
            sources[0],
            data,
            split,
            splits,
            limit,
            val_share=val_share,
            quiet=quiet,
            skip_damaged=skip_damaged,
        )
        return dataset, list(dataset.paths)
    return None, image_files(sources, quiet)[:limit] if sources else []


def _check_file(file: Path, option: str, images: list[Path], overwrite: bool) -> None:
    """Check that a file to write is no file that is there, least of all one of the images.

    Args:
        option: that named the file.
    """
    if file.exists() and any(file.samefile(path) for path in images):
        raise ConfigError(f"{file} is one of the images", f"choose another {option}")
    check_absent(file, overwrite, option)


def _layout(name: str | None) -> Any:
    """The layout of that name; None for None.

    Raises:
        ConfigError: there is no such layout.
    """
    from ..proposers.exchange.layouts import LAYOUTS

    if name is not None and name not in LAYOUTS:
        raise unknown_name("layout", name, LAYOUTS)
    return None if name is None else LAYOUTS[name]


@dataclass
class _Totals:
    """Counts over all images."""

    box_counts: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)  # of images that were not in the cache
    errors: list[FrcnnError] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)  # of these, with the names of their images

    def add(self, result: ProposeResult) -> None:
        if result.error is not None:
            self.errors.append(result.error)
            self.messages.append(with_image(result.error, result.path))
            return
        assert result.proposals is not None
        self.box_counts.append(len(result.proposals.boxes))
        if not result.cached:
            self.seconds.append(result.seconds)

    def __str__(self) -> str:
        return str(len(self.box_counts))

    def summary(self, seconds: float, source: ProposalSource) -> dict[str, Any]:
        """The results that are printed at the end, by their keys in --json.

        Args:
            seconds: time of the whole run.
        """
        return {
            "images": len(self.box_counts),
            "cached": len(self.box_counts) - len(self.seconds),
            "failed": len(self.errors),
            "damaged": len(set(source.damaged)),
            "boxes_per_image": round(fmean(self.box_counts or [0]), 1),
            "seconds": round(seconds, 2),
            "seconds_per_image": round(fmean(self.seconds or [0]), 4),
            "cache": str(source.folder),
        }


def _propose_all(
    label: str,
    paths: list[Path],
    source: ProposalSource,
    workers: int,
    use: Callable[[ProposeResult], None],
    quiet: bool,
) -> _Totals:
    """Propose for every image, showing the progress; call `use` with each successful result."""
    from ..proposers.propose import propose

    totals = _Totals()
    try:
        with ProgressLine(label, len(paths), "images", quiet) as progress:
            for result in propose(paths, source, workers=workers):
                progress.advance()
                totals.add(result)
                if result.proposals is not None:
                    use(result)
    except KeyboardInterrupt:
        stderr.print(f"stopped after {totals} of {len(paths)} images; the same command continues")
        raise
    return totals


def _recall(meter: Any) -> dict[str, dict[str, float]]:
    from ..evaluation.recall import COUNTS

    return meter.table(COUNTS)


def _default_recall(dataset: Dataset, workers: int, quiet: bool) -> dict[str, dict[str, float]]:
    """Recall of default selective search, to put beside that of imported boxes."""
    from ..evaluation.recall import RecallMeter

    meter = RecallMeter()

    def add(result: ProposeResult) -> None:
        assert result.proposals is not None
        meter.add(result.proposals, dataset.ground_truth(result.index))

    source = proposal_source(quiet)
    _propose_all("selective search", list(dataset.paths), source, workers, add, quiet)
    return _recall(meter)


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
    for key, owner in (("recall", ""), ("recall_fast", " of selective search, mode fast,")):
        if not summary.get(key):
            continue
        title = f"{summary['objects']} objects; recall{owner} at IoU 0.5 and 0.7:"
        stdout.print(title, soft_wrap=True)
        stdout.print(f"{'boxes':>7} {'R 0.5':>7} {'R 0.7':>7} {'ABO':>7} {'MABO':>7}")
        for count, row in summary[key].items():
            figures = " ".join(f"{row[each]:7.3f}" for each in ("0.5", "0.7", "abo", "mabo"))
            stdout.print(f"{count:>7} {figures}")
    for key in ("export", "plot", "show", "cache"):
        if key in summary:
            label = "kept in" if key == "cache" else "wrote"
            stdout.print(f"{label} {summary[key]}", soft_wrap=True)
