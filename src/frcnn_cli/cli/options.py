"""Options that several commands share, and functions that open the files and data they name."""

from __future__ import annotations

import difflib
import threading
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ..config import VAL_SHARE, DetectConfig
from ..data.registry import open_dataset
from ..errors import ConfigError, reason
from ..runtime.paths import DEFAULT_WEIGHTS, RUNS, find_weights, last_run, run_weights
from ..runtime.safe_read import read_text
from ..settings import MAX_SETTINGS_BYTES
from .console import ProgressLine, stderr

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..data.dataset import Dataset
    from ..proposers.cache import ProposalSource
    from ..proposers.exchange.layouts import Layout


def read_settings(path: Path) -> dict[str, Any]:
    """The settings in a TOML file.

    Raises:
        ConfigError: the file is not TOML. DataError: it cannot be read.
    """
    text = read_text(path, "expected TOML", MAX_SETTINGS_BYTES)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also of numbers with many digits
        raise ConfigError(
            f"cannot read the settings in {path}: {reason(error)}", "expected TOML"
        ) from None


def load_config(ctx: typer.Context, value: Path | None) -> Path | None:
    """Use the settings of a TOML file for options that neither a flag nor a variable gives.

    Args:
        ctx: of the command, whose `default_map` is extended. value: path of the file.
    Raises:
        ConfigError: the file is not TOML, or has a setting that the command lacks.
        DataError: the file cannot be read.
    """
    if value is None:
        return None
    settings = read_settings(value)
    known = [p.name for p in ctx.command.params if p.name and p.name not in ("config", "help")]
    for key in settings:
        if key not in known:
            near = difflib.get_close_matches(key[:80], known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(
                f"unknown setting {key!r:.80} in {value}", f"{hint}known: {', '.join(known)}"
            )
    repeated = {p.name: p.multiple or p.nargs != 1 for p in ctx.command.params}
    fitting = {key: _fitting(each, repeated[key]) for key, each in settings.items()}
    ctx.default_map = {**(ctx.default_map or {}), **fitting}
    return value


def _fitting(value: Any, is_repeated: bool) -> Any:
    """A setting in the form that its option takes: a list, or values joined by commas."""
    if is_repeated:
        return [value] if isinstance(value, str) else value
    return ",".join(map(str, value)) if isinstance(value, list) else value


Config = Annotated[
    Path | None,
    typer.Option(
        "--config", callback=load_config, is_eager=True, help="Settings from a TOML file."
    ),
]
Data = Annotated[
    Path | None, typer.Option("--data", help="Folder of the data set [default: FRCNN_DATA].")
]
Split = Annotated[
    str | None,
    typer.Option("--split", help="Split of the data set; in VOC layout a list in ImageSets/Main."),
]
Classes = Annotated[
    list[str] | None,
    typer.Option(
        "--classes",
        help="Only these classes: cat,dog; or one each time that the option is given "
        "[default: all].",
        show_default=False,
    ),
]
Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="A=B",
        help="Call class A of the data set B; may be given several times.",
        show_default=False,
    ),
]
Tile = Annotated[
    int | None,
    typer.Option(
        min=64,
        help="Detect in overlapping tiles of this side too, pixels: for small objects in large "
        "images.",
    ),
]
SkipDamaged = Annotated[
    bool, typer.Option("--skip-damaged", help="Leave out images that cannot be read.")
]
ValShare = Annotated[
    float | None,
    typer.Option(
        "--val-share",
        help="Share of the images that is kept for validation, where the data has no split for it "
        f"[default: {VAL_SHARE}; with weights, theirs].",
        show_default=False,
    ),
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Only the first N images.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but results and errors.")]
Json = Annotated[bool, typer.Option("--json", help="Results as JSON on stdout.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist already.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Jobs = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, help="Threads [default: one for each core].")
]
Method = Annotated[
    str,
    typer.Option(
        "--proposals",
        metavar="METHOD|FILE",
        help="fast, single or quality (selective search), dense (sliding windows), or a file of "
        "boxes that `frcnn propose` or `frcnn detect` imports.",
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        "-w",
        help="Name or path of a weights file; last, best or the name of a run in "
        f"{RUNS} [default: the last run, else {DEFAULT_WEIGHTS}].",
        show_default=False,
    ),
]


def proposal_source(quiet: bool, proposals: str = "fast", threads: int = 1) -> ProposalSource:
    """The source of proposals that --proposals names, with its kernels compiled.

    Args:
        quiet: print no message about the compilation.
        proposals: a key of PROPOSERS, or the path of a file.
        threads: number of threads that propose for one image.
    Raises:
        ConfigError: no such method. DataError: the file cannot be read.
    """
    import numpy as np

    from ..proposers.registry import FILE
    from ..proposers.registry import proposal_source as find_source

    source = find_source(proposals, threads)
    if source.method.name != FILE:
        message = (
            "preparing selective search; the first time it is compiled, which takes half a minute"
        )
        notice = threading.Timer(3.0, stderr.print, [message])
        if not quiet:
            notice.start()
        source.method.propose(np.zeros((8, 8, 3), np.uint8))
        notice.cancel()
    return source


def import_proposals(
    file: Path,
    paths: list[Path],
    source: ProposalSource,
    layout: Layout | None,
    quiet: bool,
    ids: Sequence[str] | None = None,
    used: int = DetectConfig.max_proposals,
) -> dict[str, Any]:
    """Import a file of boxes into the cache, and print its format and the layout of the boxes.

    Args:
        paths: the images that the boxes are for. layout: of the boxes; None to detect it.
        ids: of the images in their data set. used: boxes of an image that will be used at most.
    Returns:
        The format and the layout, for --json.
    Raises:
        FrcnnError: see `import_boxes`.
    """
    from ..proposers.exchange.importer import import_boxes

    with ProgressLine("importing", len(paths), "images", quiet) as progress:
        result = import_boxes(file, paths, source, layout, progress.advance, ids)
    if not quiet:
        stderr.print(f"{file}: {result.format}; {result.layout}; boxes for {result.images} images")
    if result.unused and not quiet:
        stderr.print(f"  boxes for {result.unused} other images are left out")
    if result.most_boxes > used and not quiet:
        stderr.print(
            f"  images have up to {result.most_boxes:,} boxes; the first {used:,} are used "
            "(--max-proposals of frcnn detect, eval and train)"
        )
    return {"format": result.format, "layout": str(result.layout)}


def open_named(
    name: str,
    data: Path | None,
    split: str | None,
    default_splits: tuple[str, ...],
    limit: int | None,
    *,
    part: str | None = None,
    val_share: float | None = None,
    quiet: bool = False,
    skip_damaged: bool = False,
    renamed: Sequence[str] | None = None,
) -> Dataset:
    """Open the first `limit` images of a data set, and look at each image file.

    Messages on downloads, and notes on what is left out or changed, go to stderr.

    Args:
        name, data, split, default_splits, part, val_share: see `open_dataset`.
        quiet: print no notes.
        skip_damaged: see `check_dataset`. renamed: the values of --map.
    Raises:
        ConfigError, DataError: see `open_dataset` and `check_dataset`.
    """
    share = VAL_SHARE if val_share is None else val_share
    dataset = open_dataset(
        name, data, split, default_splits, stderr.print, part=part, val_share=share
    )
    dataset = dataset.limited(limit).renamed(parse_map(renamed, dataset.classes))
    return check_images(dataset, quiet=quiet, skip_damaged=skip_damaged)


def tell_unused_share(val_share: float | None, datasets: Sequence[Dataset]) -> None:
    """Say so where --val-share is given but no data set is divided by content."""
    if val_share is not None and all(each.val_share is None for each in datasets):
        names = " and ".join(f"{each.name} {each.split}" for each in datasets)
        stderr.print(f"--val-share changes nothing: {names} is not divided by content")


def check_images(
    dataset: Dataset, *, quiet: bool, need_pixels: bool = True, skip_damaged: bool = False
) -> Dataset:
    """Look at each image file of a data set, and print the notes of the data set on stderr.

    Args:
        quiet: print no notes. need_pixels, skip_damaged: see `check_dataset`.
    Raises:
        DataError: see `check_dataset`.
    """
    from ..data.checks import check_dataset

    checked = check_dataset(dataset, need_pixels, skip_damaged)
    for note in () if quiet else checked.notes:
        stderr.print(f"{checked.name} {checked.split}: {note}")
    return checked


def choose_weights(weights: str | None, quiet: bool) -> Path:
    """The file that --weights names, else that of the last run, which is told, else the default's.

    Raises:
        ConfigError, WeightsError: see `find_weights`.
    """
    run = last_run() if weights is None else None
    if run is None:
        return find_weights(weights or DEFAULT_WEIGHTS)
    if not quiet:
        stderr.print(f"weights: {run_weights(run)}, of the last run (--weights takes others)")
    return run_weights(run)


class RunData(NamedTuple):
    """The data set that a run was trained on."""

    name: str | None = None  # as it was named; None where it is not known
    folder: Path | None = None
    renamed: tuple[str, ...] = ()  # the values of --map


def data_of_run(weights: Path) -> RunData:
    """The data set that the run of a weights file was trained on, if it is in the run's folder."""
    from ..training.runs import SETTINGS_FILE, read_settings

    settings = read_settings(weights.parent) if (weights.parent / SETTINGS_FILE).is_file() else {}
    name, data, renamed = (settings.get(key) for key in ("dataset", "data", "renamed"))
    if not isinstance(name, str):
        return RunData()
    values = renamed if isinstance(renamed, list) else []
    return RunData(name, Path(str(data)) if data else None, tuple(map(str, values)))


def class_names(given: Sequence[str] | None, known: Sequence[str]) -> tuple[str, ...]:
    """The classes that --classes names; a value that is no class is split at its commas.

    Args:
        given: the values of the option. known: all classes.
    """
    names: list[str] = []
    for value in given or ():
        parts = [part.strip() for part in value.split(",")]
        names += [value] if value in known else filter(None, parts)
    return tuple(dict.fromkeys(names))


def parse_map(given: Sequence[str] | None, known: Sequence[str]) -> dict[str, str]:
    """The new names of classes that --map gives; class names may hold = themselves.

    Args:
        given: the values of the option. known: all classes of the data set.
    Raises:
        ConfigError: a value has no =, or no class before it.
    """
    names = {}
    for text in given or ():
        places = [place for place, letter in enumerate(text) if letter == "="]
        if not places or not text[places[-1] + 1 :].strip():
            raise ConfigError(f"--map {text!r} is not understood", "expected A=B: couch=sofa")
        own = next((place for place in places if text[:place].strip() in known), places[0])
        names[text[:own].strip()] = text[own + 1 :].strip()
    return names


def on_command_line(ctx: typer.Context, *names: str) -> dict[str, Any]:
    """The options among the parameters of these names that are on the command line itself.

    Those of variables and files of settings, which may be for other commands too, are not.

    Returns:
        Their values by their flags without dashes, for `refuse`.
    """
    given = {}
    for parameter in ctx.command.params:
        source = ctx.get_parameter_source(parameter.name or "")
        if parameter.name in names and source is not None and source.name == "COMMANDLINE":
            value = ctx.params[parameter.name]
            flags = parameter.secondary_opts if value is False else parameter.opts
            given[max(flags, key=len).lstrip("-")] = value
    return given


def refuse(purpose: str, **options: object) -> None:
    """Raise a ConfigError for options that are given, but would change nothing.

    Args:
        purpose: what they are for. options: their values by name; None where they are not given.
    """
    names = [f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None]
    if names:
        verb, them = ("is", "it") if len(names) == 1 else ("are", "them")
        raise ConfigError(f"{' and '.join(names)} {verb} {purpose}", f"leave {them} out")


def no_notes(note: str) -> None:
    """Take a note and print nothing, for --quiet."""


def image_files(sources: list[str], quiet: bool = False) -> list[Path]:
    """List the image files that paths, folders and glob patterns stand for, each once.

    Args:
        quiet: do not print which files of a folder are skipped.

    Raises:
        ImageError: a file does not exist. DataError: a folder or pattern gives no image.
    """
    from ..data.images import SUFFIXES
    from ..data.sources import find_files

    return find_files(sources, SUFFIXES, on_note=no_notes if quiet else stderr.print)
