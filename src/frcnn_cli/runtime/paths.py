"""Finds the folders of proposals, weights and data sets.

The home of the program is the folder FRCNN_HOME if that is set; else the checkout that this package
runs from; else a folder in the user's cache ($XDG_CACHE_HOME/frcnn, or ~/.cache/frcnn).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from ..errors import DataError, WeightsError, unknown_name

PACKAGE = Path(__file__).parent.parent
DEFAULT_WEIGHTS = "squeezenet1_1-voc07"
WEIGHTS_SUFFIX = ".safetensors"


def checkout() -> Path | None:
    """The root of the source tree that the package runs from; None for an installed package."""
    root = PACKAGE.parent.parent
    return root if PACKAGE.parent.name == "src" and (root / "pyproject.toml").exists() else None


def home() -> Path:
    """The home of the program: the folder that holds proposals/, weights/ and data/."""
    from_environment = os.environ.get("FRCNN_HOME")
    if from_environment:
        return Path(os.path.expanduser(from_environment))
    return checkout() or _user_cache() / "frcnn"


def _user_cache() -> Path:
    """The folder of the user's cache, which is among the temporary files where there is no home."""
    named = os.environ.get("XDG_CACHE_HOME")
    if named:
        return Path(named)
    try:
        return Path.home() / ".cache"
    except RuntimeError:  # no HOME, and no entry in the list of users
        return Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"


def proposals_dir() -> Path:
    """The folder of the proposal cache."""
    return home() / "proposals"


def weights_dirs() -> list[Path]:
    """The folders that are searched for weights, in order: in home, the checkout, the package."""
    root = checkout()
    folders = [home() / "weights", PACKAGE / "weights"]
    if root is not None:
        folders.insert(1, root / "weights")
    return folders


def find_weights(name_or_path: str) -> Path:
    """The path of a weights file that is given by path or by name (`squeezenet1_1-voc07`).

    Raises:
        WeightsError: there is no such file. ConfigError: there are no weights of that name.
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


def data_dir(folder: Path | None) -> Path | None:
    """The folder of the data set: `folder`, else that in FRCNN_DATA, else None.

    Raises:
        DataError: the folder does not exist.
    """
    from_environment = os.environ.get("FRCNN_DATA")
    if folder is None and from_environment:
        folder = Path(os.path.expanduser(from_environment))
    if folder is not None and not folder.is_dir():
        raise DataError(f"no folder {folder}", "check --data or FRCNN_DATA")
    return folder
