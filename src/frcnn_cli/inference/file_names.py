"""Names of images and classes in the names and columns of the files that hold results."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

_MAX_CLASS_BYTES = 60  # of a class name in a file name


def voc_column(stem: str) -> str:
    """The stem without spaces, which separate the columns of VOC's files."""
    return "_".join(stem.split())


def class_file_names(classes: Sequence[str]) -> dict[str, str]:
    """Class name -> a unique text that can be part of a file name."""
    names: dict[str, str] = {}
    uses: Counter[str] = Counter()  # of the names without and with numbers, in small letters
    for name in classes:
        short = "".join(c if c.isprintable() and c not in "/\\" else "_" for c in name)
        short = short.lstrip(".") or "_"
        short = base = os.fsencode(short)[:_MAX_CLASS_BYTES].decode(errors="ignore")
        while uses[short.casefold()]:
            uses[base.casefold()] += 1
            short = f"{base}-{uses[base.casefold()]}"
        uses[short.casefold()] += 1
        names[name] = short
    return names
