"""Which images of a data set are wanted: a split of its own, or a part of one that has none."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import DataError, SplitError, UnlabelledError

if TYPE_CHECKING:  # they import numpy, which --help does without
    from .dataset import Dataset


@dataclass(frozen=True)
class Choice:
    """Which images of a data set are wanted; for the fields see `open_dataset`."""

    split: str | None
    default_splits: Sequence[str]
    part: str | None
    val_share: float

    def load(self, load: Callable[[str | None, Sequence[str]], Dataset]) -> Dataset:
        """Load them.

        Where a data set has no splits, or only one to train on, the others are made by
        `hash_split`.

        Args:
            load: called with the split and the default splits.
        Raises:
            DataError: see `load`.
        """
        from . import splits

        try:
            dataset = load(self.split, self.default_splits)
        except SplitError as error:
            asked = splits.canonical_split(self.split) if self.split is not None else self.part
            if asked == "val" and splits.only_training(error):
                return splits.own_part(load(None, splits.TRAINING), "val", self.val_share)
            if self.split is None or asked not in ("train", "val"):
                raise
            try:
                whole = load(None, ())
            except DataError:
                whole = None
            if whole is None or splits.split_in_name(whole.split) is not None:
                raise
            return splits.hash_split(whole, asked, self.val_share)
        except UnlabelledError as error:
            return self._load_labelled(load, error)
        if self.split is not None or self.part is None:
            return dataset
        is_alone = dataset.split == splits.ALL
        if dataset.split in splits.TRAINING:
            try:
                load("", ())
            except SplitError as error:
                is_alone = splits.only_training(error)
        return splits.own_part(dataset, self.part, self.val_share) if is_alone else dataset

    def _load_labelled(
        self, load: Callable[[str | None, Sequence[str]], Dataset], error: UnlabelledError
    ) -> Dataset:
        """The first default split that is annotated, where the first that there is is not.

        Raises:
            UnlabelledError: there is none; or a split is asked for.
        """
        for split in () if self.split is not None else self.default_splits:
            with contextlib.suppress(SplitError, UnlabelledError):
                return load(split, ()).with_notes(f"took split {split}: {error.message}")
        raise error
