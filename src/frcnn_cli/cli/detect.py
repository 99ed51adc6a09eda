"""The command `frcnn detect`."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..config import SHOWN_SCORE, DetectConfig
from ..errors import ConfigError, DataError, FrcnnError, ImageError
from ..runtime.files import check_writable
from ..settings import check
from .config_options import FromConfig, options_of, parse_list
from .console import ProgressLine, stderr
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
    image_names = list_sources(sources, sys.stdin or (), recursive, on_note)
    format_names = list(parse_list(formats, "format", tuple[str, ...]))
    given = on_command_line(ctx, "formats", "overwrite")
    if out is None and (given or format_names != ["picture"]):
        needing = " and ".join(f"--{name}" for name in given or ("format",))
        raise ConfigError(f"{needing} without a folder for the files", "give one with --out")
    if out is not None:
        check_writable(out / "…")
    if profile and (out is not None or batch > 1 or tile is not None):
        raise ConfigError(
            "--profile writes nothing and takes whole images one by one",
            "leave out --out, --batch and --tile",
        )
    file = choose_weights(weights, quiet)
    threads = os.cpu_count() or 1 if len(image_names) == 1 else 1
    source = proposal_source(quiet, proposals, threads)
    settings = replace(settings, classes=class_names(classes, read_header(file).classes))
    detector = _load(file, source, settings, device)
    file_of_boxes = Path(os.path.expanduser(proposals))
    _import_proposals(file_of_boxes, image_names, source, settings.max_proposals, quiet)
    opened = open_sources(image_names, stride)
    if profile:
        from ..inference.profile import profile as measure

        show_profile(measure(detector, opened), str(detector.device), json)
        return
    from ..inference.writers import Output

    output = None
    if out is not None:
        output = Output(out, format_names, detector.classes, image_names, overwrite)
    begun = time.perf_counter()
    done, full, found, failures = _detect_all(
        detector, opened, image_names, output, batch=batch, tile=tile, json=json, quiet=quiet
    )
    if not quiet:
        seconds = time.perf_counter() - begun
        where = f"; wrote {', '.join(format_names)} to {out}" if output and done else ""
        stderr.print(
            f"{done} of {done + len(failures)} images in {seconds:.2f} s "
            f"with {file.stem} on {detector.device}{where}"
        )
        if full:
            most = settings.max_detections
            stderr.print(f"{full} of {done} images have {most} detections, the most of --top")
        if done and not found and (settings.score_threshold or 0) > _LOW_SCORE:
            stderr.print(
                f"nothing has a score above {settings.score_threshold:g}: --score {_LOW_SCORE:g} "
                "shows what is less certain"
            )
    _raise_failures(failures, done)


def _load(file: Path, source: ProposalSource, settings: DetectConfig, device: str) -> Detector:
    from ..inference.detector import Detector
    from ..runtime.device import keep_freed_memory

    keep_freed_memory()
    return Detector.load(file, source, settings, device)


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
) -> tuple[int, int, int, list[Failure]]:
    """Detect in every source, show the results and write them to `output`.

    Returns:
        The number of images that were done, the number of these that have as many detections as
        is allowed, the number of all detections, and the failures of the others.
    """
    from ..data.sources import is_video
    from ..inference.result import Failure
    from ..inference.tiling import detect_tiled

    done, full, found = 0, 0, 0
    failures: list[Failure] = []
    shown: JsonLines | Table = JsonLines() if json else Table(names, detector.classes)
    total = None if any(map(is_video, names)) else len(names)
    progress = ProgressLine("detecting", total, "images", quiet)
    results = detector.run(sources, batch)
    if tile is not None:
        results = detect_tiled(detector, sources, tile, batch)
    with output or contextlib.nullcontext(), progress, shown:
        for result in results:
            if isinstance(result, Failure):
                failures.append(result)
            else:
                shown.add(result, progress)
                full += len(result) == detector.config.max_detections
                found += len(result)
                try:
                    if output is not None:
                        output.add(result)
                    done += 1
                except ImageError as error:
                    failures.append(Failure(result.name, error))
            progress.advance()
    return done, full, found, failures


def _raise_failures(failures: list[Failure], done: int) -> None:
    """List the images that failed, and raise an error if there are any."""
    if len(failures) == 1 and not done:
        raise failures[0].error
    for failure in failures:
        stderr.print(f"  {failure.error.message}")
    if failures:
        count = done + len(failures)
        raise DataError(f"{len(failures)} of {count} images failed", "they are named above")


def _import_proposals(
    file: Path, names: list[str], source: ProposalSource, used: int, quiet: bool
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
        import_proposals(file, paths, source, None, quiet, used=used)
