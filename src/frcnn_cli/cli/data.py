"""The command `frcnn data`."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..config import VAL_SHARE
from ..data.registry import HELP, open_dataset, open_splits
from ..errors import DataError, FrcnnError
from ..runtime.files import check_absent, write_atomically
from .console import dumps, progress_lines, stderr, stdout
from .data_tables import show_check
from .options import (
    Config,
    Data,
    Jobs,
    Json,
    Limit,
    Overwrite,
    Quiet,
    Split,
    ValShare,
    tell_unused_share,
)

if TYPE_CHECKING:
    from ..data.check_data import DataCheck
    from ..data.dataset import Dataset

data = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
FOLDER = Path("runs/data")


@data.callback()
def explain() -> None:
    """Find mistakes in a data set.

    Example: frcnn data check mydata
    """


@data.command("check")
def check(
    dataset: Annotated[str, typer.Argument(help=HELP)],
    *,
    data: Data = None,
    split: Split = None,
    val_share: ValShare = None,
    limit: Limit = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            help="JPEG file for a picture of sample annotations [default: a file in runs/data].",
            show_default=False,
        ),
    ] = None,
    overwrite: Overwrite = False,
    jobs: Jobs = None,
    json: Json = False,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Look at every image and object of a data set.

    The exit status is 1 if training would suffer. All splits are looked at, unless --split names
    one. Images that cannot be read, objects outside
    of their images, repeated or too small for the search, and splits that share images are counted;
    and some of the annotations are drawn.

    Example: frcnn data check mydata
    """
    from ..data.check_data import check_data

    share = VAL_SHARE if val_share is None else val_share
    if split is None:
        splits = open_splits(dataset, data, stderr.print, share)
    else:
        splits = [open_dataset(dataset, data, split, on_message=stderr.print, val_share=share)]
    if not quiet:
        tell_unused_share(val_share, splits)
    splits = [each.limited(limit) for each in splits]
    target = _picture_file(splits[0], picture, overwrite)
    found = check_data(splits, threads=jobs, progress=progress_lines(quiet))
    drawn = replace(splits[0], are_stored=found.splits[0].are_stored)
    unwritten = _draw(drawn, target)
    if json:
        print(dumps(check_json(found, None if unwritten else target)))
    else:
        for note in () if quiet else dict.fromkeys(note for each in splits for note in each.notes):
            stderr.print(note)
        show_check(found)
        if unwritten is None:
            stdout.print(f"sample annotations: {target}", soft_wrap=True)
    if unwritten is not None and picture is not None:
        raise unwritten
    if unwritten is not None and not quiet:
        stderr.print(f"no picture of sample annotations (--picture FILE): {unwritten.message}")
    if found.problems:
        rest = len(found.problems) - 1
        raise DataError(
            f"training would suffer: {found.problems[0]}" + (f"; and {rest} more" if rest else ""),
            "; ".join(_advice(found)) or "mend the data",
        )


def _advice(found: DataCheck) -> list[str]:
    """What can be done about the problems that need no other data."""
    advice = {
        "damaged": "--skip-damaged leaves out images that cannot be read",
        "tiny": "cut the images and their annotations into tiles, in which the objects are larger, "
        "train on these, and give eval and detect --tile",
    }
    return [text for flaw, text in advice.items() if any(each.hurts(flaw) for each in found.splits)]


def check_json(found: DataCheck, drawn: Path | None) -> dict[str, Any]:
    """The JSON object that --json prints; `drawn` is the picture, None where there is none."""
    splits = []
    for each in found.splits:
        row = asdict(each)
        for key in ("sizes", "sides", "hashes", "classes", "are_stored", "turned"):
            del row[key]
        row["objects"] = dict(zip(each.classes, each.objects, strict=True))
        splits.append(row)
    return {
        "splits": splits,
        "problems": list(found.problems),
        "remarks": list(found.remarks),
        "picture": None if drawn is None else str(drawn),
    }


def _picture_file(dataset: Dataset, picture: Path | None, overwrite: bool) -> Path:
    """The file of the picture of sample annotations; without an option, one in FOLDER."""
    name = f"{dataset.name}-{dataset.split}.jpg".replace(":", "-").replace("/", "-")
    path = picture or FOLDER / name
    # unlike Path.resolve, no error for links in circles
    if os.path.realpath(path) in map(os.path.realpath, dataset.paths):
        raise DataError(f"{path} is one of the images", "choose another --picture")
    if picture is not None:
        check_absent(picture, overwrite, "--picture")
    return path


def _draw(dataset: Dataset, path: Path) -> FrcnnError | None:
    """Write the picture of sample annotations.

    Returns:
        None; the error where it cannot be written, which must not hide what was found.
    """
    from ..inference.annotation_grid import annotation_grid

    grid = annotation_grid(dataset)
    try:
        write_atomically(path, lambda part: grid.save(part, format="JPEG", quality=90))
    except FrcnnError as error:
        return error
    return None
