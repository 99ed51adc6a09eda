"""A data set as a command or a file of detections names it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config import VAL_SHARE
from ..data.dataset import Dataset
from ..data.registry import FORMATS, absolute_name, open_dataset
from ..data.splits import ALL
from .detection_log import read_header

DEFAULT_DATASET = "voc"
DEFAULT_SPLITS = ("test", "val")


@dataclass(frozen=True)
class DatasetReference:
    """What `open_dataset` needs to open a data set."""

    name: str  # such as voc2007 or coco:FILE
    data: Path | None = None  # its folder
    split: str | None = None  # None: the first of DEFAULT_SPLITS that it has
    val_share: float = VAL_SHARE
    renamed: tuple[str, ...] = ()  # the values of --map of the run that the weights are from

    def open(self, on_message: Callable[[str], None]) -> Dataset:
        """Open the data set, of one without splits the part val; `on_message` tells of downloads.

        Raises:
            ConfigError, DataError: see `open_dataset`.
        """
        return open_dataset(
            self.name,
            self.data,
            self.split,
            DEFAULT_SPLITS,
            on_message,
            part="val",
            val_share=self.val_share,
        )

    def describe(self, dataset: Dataset) -> dict[str, str | float | list[str] | None]:
        """For a log's header: the opened data set by absolute paths; `find_reference` reads it."""
        split: str | None = dataset.split
        if self.split is None and (dataset.split == ALL or self._is_file):
            split = None  # the data set has no splits
        described: dict[str, str | float | list[str] | None] = {
            "dataset": absolute_name(self.name),
            "data": None if self.data is None else str(self.data.resolve()),
            "split": split,
        }
        if dataset.val_share not in (None, VAL_SHARE):
            described["val_share"] = dataset.val_share
        if self.renamed:
            described["renamed"] = list(self.renamed)
        return described

    @property
    def _is_file(self) -> bool:
        """Whether the name is that of a file, which is one split."""
        format_name, _, place = self.name.partition(":")
        is_place = format_name in FORMATS and place
        path = Path(place if is_place else self.name).expanduser()
        return path.suffix in (".json", ".csv") or (format_name == "coco" and not path.is_dir())


def find_reference(
    files: Sequence[Path],
    name: str | None,
    data: Path | None,
    split: str | None,
    val_share: float | None = None,
    renamed: Sequence[str] = (),
) -> DatasetReference:
    """The data set that the caller names, else the one that a file of detections names.

    Args:
        files: files or folders of detections, of which the first log counts.
        name, data, split, val_share: what the caller names; a data set is named by `name` or
            `data`.
        renamed: see `DatasetReference`.
    Raises:
        DataError: a file cannot be read.
    """
    headers = [read_header(path) for path in files if not path.is_dir()]
    source = next((header.source for header in headers if header is not None), {})
    logged_share = source.get("val_share", VAL_SHARE)
    share = logged_share if val_share is None else val_share
    share = share if isinstance(share, float) else VAL_SHARE
    if name is not None or data is not None:
        return DatasetReference(name or DEFAULT_DATASET, data, split, share, tuple(renamed))
    logged_name, logged_data, logged_split = (
        value if isinstance(value, str) else None
        for value in (source.get(key) for key in ("dataset", "data", "split"))
    )
    if logged_name is None:
        return DatasetReference(DEFAULT_DATASET, None, split, share)
    folder = Path(logged_data) if logged_data is not None else None
    names = source.get("renamed")
    renamed = [each for each in names if isinstance(each, str)] if isinstance(names, list) else []
    return DatasetReference(logged_name, folder, split or logged_split, share, tuple(renamed))
