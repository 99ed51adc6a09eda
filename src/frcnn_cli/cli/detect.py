"""The command `frcnn detect`."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..config import SHOWN_SCORE, DetectConfig
from ..errors import ConfigError, FrcnnError, ImageError, with_image
from ..runtime.files import check_writable
from ..settings import check
from .config_options import FromConfig, options_of, parse_list
from .console import ProgressLine, raise_failures, stderr
from .detect_output import JsonLines, Table, show_profile
from .options import (
    Classes,
    Config,
    Device,
    Json,
    Method,
    Overwrite,
    Quiet,
    Tile,
    Weights,
    choose_weights,
    class_names,
    import_proposals,
    no_notes,
    on_command_line,
    proposal_source,
)

if TYPE_CHECKING:
    from ..data.sources import Source
    from ..inference.detector import Detector
    from ..inference.result import Failure
    from ..inference.writers import Output
    from ..proposers.cache import ProposalSource

_LOW_SCORE = 0.1  # that is proposed where nothing is found


@options_of(
    settings=FromConfig(
        DetectConfig,
        defaults={"score_threshold": SHOWN_SCORE, "precision": "auto"},
        without=("classes",),
    )
)
def detect(
    ctx: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Images, videos, folders, glob patterns, http(s) addresses; - for a list on stdin."
        ),
    ],
    *,
    weights: Weights = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the files of --format.")
    ] = None,
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            "-f",
            help="Files to write to --out, one or more of picture (with boxes drawn), coco, voc, "
            "yolo, csv, crops.",
        ),
    ] = "picture",
    overwrite: Overwrite = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Look in the folders inside folders too.")
    ] = False,
    every: Annotated[
        str, typer.Option(help="Distance between frames of a video: frames (10) or seconds (0.5s).")
    ] = "1s",
    settings: DetectConfig,
    classes: Classes = None,
    proposals: Method = "fast",
    batch: Annotated[
        int, typer.Option(min=1, help="Images in a pass, if of one size; more are faster on a GPU.")
    ] = 1,
    tile: Tile = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Show the time of each stage instead of detections.")
    ] = False,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Detect objects in images and videos.

    Example: frcnn detect photo.jpg --out found
    """
    from ..checkpoints.weights import read_header
    from ..data.sources import list_sources, open_sources
    from ..data.video import parse_frame_stride

    check(settings)
    stride = parse_frame_stride(every)
    on_note = no_notes if quiet else stderr.print
    names = list_sources(sources, sys.stdin or (), recursive, on_note)
    format_names = list(parse_list(formats, "format", tuple[str, ...]))
    _check_out(out, format_names, on_command_line(ctx, "formats", "overwrite"))
    if profile and (out is not None or batch > 1 or tile is not None):
        raise ConfigError(
            "--profile writes nothing and takes whole images one by one",
            "leave out --out, --batch and --tile",
        )
    file = choose_weights(weights, quiet)
    threads = os.cpu_count() or 1 if len(names) == 1 else 1
    source = proposal_source(quiet, proposals, threads)
    settings = replace(settings, classes=class_names(classes, read_header(file).classes))
    detector = _load(file, source, settings, device)
    _import_proposals(proposals, names, source, settings.max_proposals, quiet)
    opened = open_sources(names, stride)
    if profile:
        from ..inference.profile import profile as measure

        show_profile(measure(detector, opened), str(detector.device), json)
        return
    from ..inference.writers import Output

    output = None
    if out is not None:
        output = Output(out, format_names, detector.classes, names, overwrite)
    begun = time.perf_counter()
    totals = _detect_all(
        detector, opened, names, output, batch=batch, tile=tile, json=json, quiet=quiet
    )
    if not quiet:
        how = f"in {time.perf_counter() - begun:.2f} s with {file.stem} on {detector.device}"
        where = f"; wrote {', '.join(format_names)} to {out}" if output and totals.done else ""
        _show_totals(totals, f"{how}{where}", settings)
    if totals.count == len(totals.failures) == 1:
        raise totals.failures[0].error
    raise_failures([with_image(each.error, each.name) for each in totals.failures], totals.count)


def _check_out(out: Path | None, formats: list[str], given: Mapping[str, Any]) -> None:
    """Check that the files can be written, and that no option asks for files without --out.

    Args:
        given: the options for files that are on the command line, by name.
    """
    if out is not None:
        check_writable(out / "…")
    elif given or formats != ["picture"]:
        needing = " and ".join(f"--{name}" for name in given or ("format",))
        raise ConfigError(f"{needing} without a folder for the files", "give one with --out")


def _load(file: Path, source: ProposalSource, settings: DetectConfig, device: str) -> Detector:
    from ..inference.detector import Detector
    from ..runtime.device import keep_freed_memory

    keep_freed_memory()
    return Detector.load(file, source, settings, device)


@dataclass
class _Totals:
    """Counts over all images."""

    done: int = 0
    full: int = 0  # of the images that are done, those with as many detections as is allowed
    found: int = 0  # detections
    failures: list[Failure] = field(default_factory=list)

    @property
    def count(self) -> int:
        """The number of all images."""
        return self.done + len(self.failures)


def _detect_all(
    detector: Detector,
    sources: Iterable[Source],
    names: list[str],
    output: Output | None,
    *,
    batch: int,
    tile: int | None,
    json: bool,
    quiet: bool,
) -> _Totals:
    """Detect in every source, show the results and write them to `output`."""
    from ..data.sources import is_video
    from ..inference.result import Failure
    from ..inference.tiling import detect_tiled

    totals = _Totals()
    shown: JsonLines | Table = JsonLines() if json else Table(names, detector.classes)
    total = None if any(map(is_video, names)) else len(names)
    progress = ProgressLine("detecting", total, "images", quiet)
    results = detector.run(sources, batch)
    if tile is not None:
        results = detect_tiled(detector, sources, tile, batch)
    with output or contextlib.nullcontext(), progress, shown:
        for result in results:
            if isinstance(result, Failure):
                totals.failures.append(result)
            else:
                shown.add(result, progress)
                totals.full += len(result) == detector.config.max_detections
                totals.found += len(result)
                try:
                    if output is not None:
                        output.add(result)
                    totals.done += 1
                except ImageError as error:
                    totals.failures.append(Failure(result.name, error))
            progress.advance()
    return totals


def _show_totals(totals: _Totals, how: str, settings: DetectConfig) -> None:
    """Print how many images were done and `how`, and what may be done for more detections."""
    stderr.print(f"{totals.done} of {totals.count} images {how}")
    if totals.full:
        most = settings.max_detections
        stderr.print(
            f"{totals.full} of {totals.done} images have {most} detections, the most of --top"
        )
    if totals.done and not totals.found and (settings.score_threshold or 0) > _LOW_SCORE:
        stderr.print(
            f"nothing has a score above {settings.score_threshold:g}: --score {_LOW_SCORE:g} "
            "shows what is less certain"
        )


def _import_proposals(
    proposals: str, names: list[str], source: ProposalSource, used: int, quiet: bool
) -> None:
    """If --proposals is a file of boxes, import the boxes of images that have no proposals yet."""
    from ..data.images import read_bytes, read_layout
    from ..data.sources import is_video
    from ..data.web import is_url
    from ..proposers.registry import FILE

    if source.method.name != FILE:
        return
    paths = []
    for name in names:
        path = Path(os.path.expanduser(name))
        with contextlib.suppress(FrcnnError):  # reported when the image is read for detection
            if not is_url(name) and not is_video(name):
                read_layout(path)
                paths.append(path)
    if any(not source.path(read_bytes(path)).exists() for path in paths):
        file = Path(os.path.expanduser(proposals))
        import_proposals(file, paths, source, None, quiet, used=used)
