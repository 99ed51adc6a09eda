"""CSV files of boxes as data sets; csv_table.py reads one file."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from ..errors import DataError
from .csv_columns import HINT, is_csv_of_boxes
from .csv_table import read_table
from .dataset import Dataset
from .splits import (
    ALL,
    SPLITS,
    choose_file,
    choose_split,
    find_split_files,
    own_split,
    unsplit_notes,
)
from .table import table_dataset

SUFFIXES = (".csv", ".tsv")


def find_csv_files(folder: Path) -> dict[str, list[Path]]:
    """The files of boxes in a folder, by split; see `find_split_files`."""
    return find_split_files(folder, SUFFIXES, is_csv_of_boxes)


def load_csv(
    file_or_folder: Path,
    image_folder: Path | None,
    split: str | None,
    default_splits: Sequence[str],
) -> Dataset:
    """Read a CSV file of boxes, or that of one split in a folder; classes are sorted by name.

    Args:
        file_or_folder: FILE or DIR of csv:FILE and csv:DIR.
        image_folder: the folder of the images; None: they are looked for near the file.
        split: train, val or test; a file alone has splits where one of its columns names them.
    Raises:
        DataError: there is no such file, a column is missing, or a row holds no box.
    """
    name = f"csv:{file_or_folder.resolve().name}"
    is_folder = file_or_folder.is_dir()
    files = find_csv_files(file_or_folder) if is_folder else {ALL: [file_or_folder]}
    only = next(iter(files), ALL)
    table = None
    if len(files) == 1 and only not in SPLITS:
        path = choose_file(name, files, None, ())
        table = read_table(path)
    if table is not None and table.splits:
        chosen = choose_split(dict.fromkeys(table.splits.values()), name, split, default_splits)
        own, classes = table.of_split(chosen), table.classes
    else:
        path = choose_file(name, files, split, default_splits)
        own = table or read_table(path)
        chosen = own_split(path, file_or_folder) if is_folder else ALL
        # A class may be missing from this split; labels must be the same in every split.
        others = [each for each in chain.from_iterable(files.values()) if each != path]
        classes = own.classes.union(*(read_table(each).classes for each in others))
    if not classes:
        raise DataError(f"{path} has no boxes", HINT)
    dataset = table_dataset(
        own,
        name=name,
        split=chosen,
        classes=sorted(classes),
        file=path,
        image_folder=image_folder,
        root=image_folder or (file_or_folder if is_folder else path.parent),
    )
    return dataset.with_notes(*unsplit_notes(files, chosen, path))
