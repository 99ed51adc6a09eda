"""frcnn detect"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..config import SHOWN_SCORE, DetectConfig
from ..errors import ConfigError, DataError, ImageError
from ..runtime.paths import DEFAULT_WEIGHTS, find_weights
from .console import ProgressLine, stderr
from .options import (
    Cascade,
    Config,
    Device,
    Json,
    Method,
    Precision,
    Quiet,
    Vote,
    Weights,
    proposal_source,
)

if TYPE_CHECKING:
    from ..data.sources import Source
    from ..inference.detector import Detector
    from ..inference.profile import Profile
    from ..inference.result import Result
    from ..proposers.cache import ProposalSource

DEFAULTS = DetectConfig()
_NAME_COLUMNS = 40  # of the table, at most


def detect(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Images, videos, folders, glob patterns, http(s) addresses; - for a list on stdin."
        ),
    ],
    weights: Weights = DEFAULT_WEIGHTS,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for what --format names.")
    ] = None,
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            "-f",
            help="What goes there, one or more: picture (with boxes drawn), coco, voc, yolo, csv, "
            "crops.",
        ),
    ] = "picture",
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Look into the folders of folders too.")
    ] = False,
    every: Annotated[
        str, typer.Option(help="Frames of a video: one in so many (10), or seconds (0.5s).")
    ] = "1s",
    score: Annotated[
        float, typer.Option(min=0, max=1, help="Show detections above it.")
    ] = SHOWN_SCORE,
    nms: Annotated[
        float, typer.Option(min=0, max=1, help="IoU above which the weaker of two boxes goes.")
    ] = DEFAULTS.nms_threshold,
    soft_nms: Annotated[
        bool, typer.Option("--soft-nms", help="Lower its score by the overlap instead.")
    ] = DEFAULTS.soft_nms,
    vote: Vote = DEFAULTS.vote_threshold,
    top: Annotated[
        int, typer.Option(min=1, help="At most so many detections an image.")
    ] = DEFAULTS.max_detections,
    max_proposals: Annotated[
        int, typer.Option(min=1, help="Proposals used in each image.")
    ] = DEFAULTS.max_proposals,
    classes: Annotated[
        str, typer.Option(help="Only these, by name: cat,dog [default: all].", show_default=False)
    ] = "",
    proposals: Method = "fast",
    precision: Precision = "auto",
    cascade: Cascade = DEFAULTS.cascade,
    batch: Annotated[
        int, typer.Option(min=1, help="Images of one size in a pass; more serves a GPU.")
    ] = 1,
    profile: Annotated[
        bool, typer.Option("--profile", help="Show instead where the time of a detection goes.")
    ] = False,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Detect objects in images and videos.

    Example: frcnn detect photo.jpg --out found
    """
    from ..data.sources import is_video, names, open_sources
    from ..data.video import parse_frame_stride

    frames = parse_frame_stride(every)
    found = names(sources, sys.stdin, recursive)
    wanted = _listed(formats)
    if out is None and wanted != ["picture"]:
        raise ConfigError("--format needs a folder", "give one with --out")
    if profile and (out is not None or batch > 1):
        raise ConfigError(
            "--profile writes nothing and takes pictures one by one", "leave --out and --batch out"
        )
    settings = DetectConfig(
        score, nms, top, max_proposals, tuple(_listed(classes)), soft_nms, vote, precision, cascade
    )
    file = find_weights(weights)
    from ..inference.detector import Detector
    from ..inference.result import Failure
    from ..inference.writers import Output
    from ..proposers.registry import FILE
    from ..runtime.device import keep_freed_memory

    threads = os.cpu_count() or 1 if len(found) == 1 else 1
    source = proposal_source(quiet, proposals, threads)
    keep_freed_memory()
    detector = Detector.load(file, source, settings, device)
    if source.method.name == FILE:
        _import_proposals(Path(os.path.expanduser(proposals)), found, source, quiet)
    if profile:
        _show_profile(detector, open_sources(found, frames), json)
        return
    output = None if out is None else Output(out, wanted, detector.classes, found)
    begun = time.perf_counter()
    done, failed = 0, []
    report: _Json | _Table = _Json() if json else _Table(found, detector.classes)
    total = None if any(map(is_video, found)) else len(found)
    progress = ProgressLine("detecting", total, "images", quiet)
    with output or contextlib.nullcontext(), progress, report:
        for result in detector.run(open_sources(found, frames), batch):
            if isinstance(result, Failure):
                failed.append(result)
            else:
                report.add(result, progress)
                try:
                    if output is not None:
                        output.add(result)
                    done += 1
                except ImageError as error:
                    failed.append(Failure(result.name, error))
            progress.advance()
    if not quiet:
        seconds = time.perf_counter() - begun
        total = done + len(failed)
        where = f"; wrote {', '.join(wanted)} to {out}" if output is not None and done else ""
        stderr.print(
            f"{done} of {total} pictures in {seconds:.2f} s "
            f"with {file.stem} on {detector.device}{where}"
        )
    if len(failed) == 1 and not done:
        raise failed[0].error
    for each in failed:
        stderr.print(f"  {each.error.message}")
    if failed:
        count = done + len(failed)
        raise DataError(f"{len(failed)} of {count} images failed", "they are named above")


def _show_profile(detector: Detector, sources: Iterable[Source], json: bool) -> None:
    from ..inference.profile import profile

    result = profile(detector, sources)
    if json:
        print(dumps(asdict(result)))
    else:
        _print_profile(result, str(detector.device))
    for message in result.failures:
        stderr.print(f"  {message}", soft_wrap=True)
    if result.failures:
        count = result.pictures + len(result.failures)
        raise DataError(f"{len(result.failures)} of {count} images failed", "they are named above")


def _print_profile(result: Profile, device: str) -> None:
    total = sum(stage.milliseconds for stage in result.stages)
    print(f"{'stage':<10}{'ms':>9}{'share':>8}{'floor ms':>10}{'of floor':>10}")
    for stage in result.stages:
        floor = "" if stage.floor is None else f"{stage.floor:>10.1f}"
        if stage.floor is not None and stage.milliseconds:
            floor += f"{stage.floor / stage.milliseconds:>10.0%}"
        share = stage.milliseconds / total
        print(f"{stage.name:<10}{stage.milliseconds:>9.1f}{share:>8.0%}{floor}")
    print(f"{'all':<10}{total:>9.1f}")
    print(
        f"medians of {result.pictures} pictures, {result.rois:.0f} RoIs each, "
        f"{result.distinct:.0f} of them distinct; floor at {result.gemm_flops / 1e9:.0f} GFLOP/s "
        f"and {result.copy_bytes / 1e9:.1f} GB/s, measured just now on {device}"
    )


def _import_proposals(file: Path, names: list[str], source: ProposalSource, quiet: bool) -> None:
    """Import the boxes of a file for pictures that have none of it yet."""
    from ..data.images import layout, read_bytes
    from ..data.sources import is_video
    from ..data.web import is_url
    from .exchange import import_proposals

    def lacking(path: Path) -> bool:
        return not source.path(read_bytes(path)).exists()

    pictures = []
    for name in names:
        path = Path(os.path.expanduser(name))
        with contextlib.suppress(ImageError):  # what cannot be read is told when its turn comes
            if not is_url(name) and not is_video(name):
                layout(path)
                pictures.append(path)
    if any(map(lacking, pictures)):
        import_proposals(file, pictures, source, None, quiet)


def _listed(text: str) -> list[str]:
    """The words between commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


class _Json:
    """One list, an image a line, as they come."""

    def __init__(self) -> None:
        self._before = "["

    def add(self, result: Result, progress: ProgressLine) -> None:
        """One more image."""
        print(self._before + dumps(result.to_dict()), flush=True)
        self._before = ","

    def __enter__(self) -> _Json:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            print("[]" if self._before == "[" else "]")


class _Table:
    """A line for each detection, as they come."""

    def __init__(self, names: list[str], classes: tuple[str, ...]) -> None:
        shown = max(len(Path(name).name) for name in names)
        self._image = min(max(shown, len("image")), _NAME_COLUMNS)
        self._label = max(len("nothing found"), *(len(name) for name in classes))
        self._begun = False

    def add(self, result: Result, progress: ProgressLine) -> None:
        """One more image."""
        if not self._begun:
            self._begun = True
            progress.result(self._line("image", "class", "score", "x1", "y1", "x2", "y2"))
        name = "".join(c if c.isprintable() else "?" for c in Path(result.name).name)
        if not len(result):
            progress.result(self._line(name, "nothing found").rstrip())
        for label, score, box in result:
            numbers = (f"{value:.0f}" for value in box)
            progress.result(self._line(name, label, f"{score:.2f}", *numbers))
            name = ""

    def _line(self, name: str, label: str, *numbers: str) -> str:
        columns = "".join(f"{number:>7}" for number in numbers)
        return f"{name:<{self._image}}  {label:<{self._label}}{columns}"

    def __enter__(self) -> _Table:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing is left to say."""
