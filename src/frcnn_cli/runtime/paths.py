"""Where proposals, weights and data sets live.

Home is FRCNN_HOME if set; else the checkout that this package runs from; else the user's cache
folder ($XDG_CACHE_HOME/frcnn, ~/.cache/frcnn).
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ..errors import DataError, WeightsError, unknown_name

PACKAGE = Path(__file__).parent.parent
DEFAULT_WEIGHTS = "squeezenet1_1-voc07"
WEIGHTS_SUFFIX = ".safetensors"


def checkout() -> Path | None:
    """The root of the source tree, when the package runs from one."""
    root = PACKAGE.parent.parent
    return root if PACKAGE.parent.name == "src" and (root / "pyproject.toml").exists() else None


def home() -> Path:
    """The folder that holds proposals/ and weights/."""
    chosen = os.environ.get("FRCNN_HOME")
    if chosen:
        return Path(os.path.expanduser(chosen))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "frcnn"
    return checkout() or cache


def proposals_dir() -> Path:
    """The cache of proposals."""
    return home() / "proposals"


def weights_dirs() -> list[Path]:
    """Where weights are looked for by name: home, the checkout, the installed package."""
    root = checkout()
    folders = [home() / "weights", PACKAGE / "weights"]
    if root is not None:
        folders.insert(1, root / "weights")
    return folders


def find_weights(name_or_path: str) -> Path:
    """A weights file, by path or by name (`squeezenet1_1-voc07`).

    Raises:
        WeightsError: no such file. ConfigError: no such name.
    """
    path = Path(os.path.expanduser(name_or_path))
    with contextlib.suppress(OSError):  # too long for a file name
        if path.is_file():
            return path
    known: dict[str, Path] = {}
    for folder in reversed(weights_dirs()):
        known |= {file.stem: file for file in sorted(folder.glob(f"*{WEIGHTS_SUFFIX}"))}
    if name_or_path in known:
        return known[name_or_path]
    if path.suffix or len(path.parts) > 1:
        raise WeightsError(f"no weights file {path}", "give the path of a .safetensors file")
    raise unknown_name("weights", name_or_path, known)


def data_dir(given: Path | None) -> Path | None:
    """The folder of the data sets: `given`, else FRCNN_DATA, else None.

    Raises:
        DataError: it does not exist.
    """
    named = os.environ.get("FRCNN_DATA")
    folder = given or (Path(os.path.expanduser(named)) if named else None)
    if folder is not None and not folder.is_dir():
        raise DataError(f"no folder {folder}", "give the data set's folder with --data")
    return folder
