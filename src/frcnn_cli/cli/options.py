"""Options that several commands share, and what they need at the start."""

from __future__ import annotations

import difflib
import os
import threading
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..config import MAX_SIDE
from ..data.registry import open_dataset
from ..errors import ConfigError, unknown_name
from ..runtime.paths import proposals_dir
from .console import stderr

if TYPE_CHECKING:
    from ..data.dataset import Dataset
    from ..proposers.cache import ProposalSource


def load_config(ctx: typer.Context, value: Path | None) -> Path | None:
    """Put the settings of a TOML file below flags and variables, above the defaults."""
    if value is None:
        return None
    try:
        settings: dict[str, Any] = tomllib.loads(value.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(
            f"cannot read the settings in {value}: {error}", "expected TOML"
        ) from None
    known = [p.name for p in ctx.command.params if p.name and p.name not in ("config", "help")]
    for key in settings:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(
                f"unknown setting {key!r} in {value}", f"{hint}known: {', '.join(known)}"
            )
    single = [p.name for p in ctx.command.params if p.nargs == 1 and not p.multiple]
    joined = {
        key: ",".join(map(str, value)) if isinstance(value, list) and key in single else value
        for key, value in settings.items()
    }
    ctx.default_map = {**(ctx.default_map or {}), **joined}
    return value


Config = Annotated[
    Path | None,
    typer.Option(
        "--config", callback=load_config, is_eager=True, help="Settings from a TOML file."
    ),
]
Data = Annotated[
    Path | None, typer.Option("--data", help="Folder of the data set [default: FRCNN_DATA].")
]
Split = Annotated[str | None, typer.Option("--split", help="List of images in ImageSets/Main.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Only the first N images.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but results and errors.")]
Json = Annotated[bool, typer.Option("--json", help="Results as JSON on stdout.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"],
    typer.Option(help="Of the network's arithmetic; auto is bf16 where that is faster."),
]
Cascade = Annotated[
    bool,
    typer.Option(
        "--cascade/--no-cascade",
        help="With weights that carry both heads (compress --keep-full): the small one chooses "
        "the proposals that the full one scores.",
    ),
]
Vote = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        help="IoU from which on boxes of a class are averaged into the one that stays; 0: none, "
        "as in the paper.",
    ),
]
Jobs = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, help="Threads [default: one for each core].")
]
Method = Annotated[
    str,
    typer.Option(
        "--proposals",
        metavar="METHOD|FILE",
        help="fast, single or quality (selective search), dense (sliding windows), or a file of "
        "boxes, which `frcnn propose` or `frcnn detect` takes in.",
    ),
]
Weights = Annotated[str, typer.Option("--weights", "-w", help="Name or path of a weights file.")]


def numbers(text: str, flag: str) -> tuple[float, ...]:
    """The numbers in "480,600"; none in an empty text.

    Raises:
        ConfigError: one of them is none.
    """
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise ConfigError(
            f"--{flag} {text!r} is not understood", "expected numbers, as in 480,600"
        ) from None


def whole_numbers(text: str, flag: str) -> tuple[int, ...]:
    """`numbers` that are whole and above 0, as sides in pixels are."""
    found = numbers(text, flag)
    if not all(1 <= each <= MAX_SIDE and each == int(each) for each in found):
        raise ConfigError(
            f"--{flag} {text} is out of range", f"expected whole numbers from 1 to {MAX_SIDE}"
        )
    return tuple(int(each) for each in found)


def find_source(proposals: str = "fast", threads: int = 1) -> ProposalSource:
    """A method with the cache in the usual place.

    Args:
        proposals: a row of PROPOSERS, or the path of a file. threads: within one image.
    Raises:
        ConfigError: no such method. DataError: the file cannot be read.
    """
    from ..proposers.cache import ProposalSource
    from ..proposers.registry import PROPOSERS, from_file

    path = Path(os.path.expanduser(proposals))
    if proposals in PROPOSERS:
        method = PROPOSERS[proposals](threads)
    elif path.suffix or path.exists():
        method = from_file(path)
    else:
        raise unknown_name("method", proposals, PROPOSERS)
    return ProposalSource(method, proposals_dir())


def proposal_source(quiet: bool, proposals: str = "fast", threads: int = 1) -> ProposalSource:
    """What `find_source` gives, its kernels compiled."""
    import numpy as np

    from ..proposers.registry import FILE

    source = find_source(proposals, threads)
    if source.method.name != FILE:
        words = "compiling the kernels, this once: about half a minute"
        told = threading.Timer(3.0, stderr.print, [words])
        if not quiet:
            told.start()
        source.method.propose(np.zeros((8, 8, 3), np.uint8))
        told.cancel()
    return source


def open_named(
    name: str,
    data: Path | None,
    split: str | None,
    default_splits: tuple[str, ...],
    limit: int | None,
) -> Dataset:
    """Open a data set, saying on stderr what is downloaded."""
    return open_dataset(name, data, split, default_splits, stderr.print).limited(limit)


def image_files(sources: list[str]) -> list[Path]:
    """The image files that files, folders and glob patterns name, without repetition.

    Raises:
        ImageError: a file does not exist. DataError: a folder or pattern gives no image.
    """
    from ..data.images import SUFFIXES
    from ..data.sources import expand

    return expand(sources, SUFFIXES)
