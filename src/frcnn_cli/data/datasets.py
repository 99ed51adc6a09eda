"""Data sets by name: where they are, and which split is meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DataError, unknown_name
from ..paths import data_dir, home

if TYPE_CHECKING:
    from .voc import VocDataset


# The year of a VOC challenge, whose data can be downloaded; None for a user's folder.
DATASETS: dict[str, str | None] = {"voc2007": "2007", "voc2012": "2012", "voc": None}
VOC_SPLITS = ("train", "val", "trainval", "test")


def open_dataset(
    name: str,
    data: Path | None,
    split: str | None,
    default_splits: tuple[str, ...],
    say: Callable[[str], None],
) -> VocDataset:
    """The named data set, from `data`, from FRCNN_DATA, or downloaded after saying so.

    Args:
        name: a key of DATASETS; "voc" is any folder in VOC layout.
        split: a list of the data set; None takes the first of `default_splits` that it has.
        say: told what is about to be downloaded.
    Raises:
        ConfigError: unknown name. DataError: not found, or nothing in it.
    """
    from .download import download_voc
    from .voc import find_root, load_voc  # here, so that the names alone cost no numpy

    if name not in DATASETS:
        raise unknown_name("data set", name, DATASETS)
    year = DATASETS[name]
    folder = data_dir(data)
    if folder is None and year is None:
        raise DataError("no data set given", "name one (voc2007), or give a folder with --data")
    if folder is None:
        assert year is not None
        folder = home() / "data"
        # the test images of 2012 are not published with annotations
        public = [each for each in default_splits if (year, each) != ("2012", "test")]
        wanted = split or public[0]
        if wanted not in VOC_SPLITS:  # before anything is fetched
            raise unknown_name("split", wanted, VOC_SPLITS)
        kind = "test" if wanted == "test" else "trainval"
        done = folder / f"voc{year}-{kind}.complete"
        if not done.exists():
            say(f"downloading VOC{year} {kind} to {folder} (about 0.5 GB; 2 GB for VOC2012)")
            download_voc(folder, year, kind)
            done.touch()
        split = wanted
    return load_voc(find_root(folder, year), name, split, default_splits)
