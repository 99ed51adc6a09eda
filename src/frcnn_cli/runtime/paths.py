"""Finds the folders of proposals, weights and data sets.

The home of the program is the folder FRCNN_HOME if that is set; else the checkout that this package
runs from; else a folder in the user's cache ($XDG_CACHE_HOME/frcnn, or ~/.cache/frcnn).
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from ..errors import DataError, FrcnnError, WeightsError, unknown_name

PACKAGE = Path(__file__).parent.parent
DEFAULT_WEIGHTS = "efficientnet_lite0-voc07"
WEIGHTS_SUFFIX = ".safetensors"
RUNS = Path("runs/train")  # of the working folder; each run has a folder in it
WEIGHTS_FILE = f"last{WEIGHTS_SUFFIX}"
BEST_FILE = f"best{WEIGHTS_SUFFIX}"  # with the best validation so far
# of the stages that come after fine-tuning, the last one first
STAGE_FILES = {name: f"{name}{WEIGHTS_SUFFIX}" for name in ("boxes", "svm")}


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
    """The folder of the user's cache, which is among the temporary files where there is no home.

    Raises:
        FrcnnError: that folder is not the user's own: see `_own_temporary_folder`.
    """
    named = os.environ.get("XDG_CACHE_HOME")
    if named:
        return Path(named)
    try:
        return Path.home() / ".cache"
    except RuntimeError:  # no HOME, and no entry in the list of users
        return _own_temporary_folder(f"cache-{os.getuid()}")


def _own_temporary_folder(name: str) -> Path:
    """A folder among the temporary files that only this user can write to, made where it is absent.

    Raises:
        FrcnnError: somebody else made it, or can write to it, and may have put weights there.
    """
    folder = Path(tempfile.gettempdir()) / name
    with contextlib.suppress(OSError):  # what cannot be made is told when it is written to
        folder.mkdir(mode=0o700)
    try:
        status = folder.lstat()
    except OSError:
        return folder
    is_own = status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if not (is_own and stat.S_ISDIR(status.st_mode)):
        raise FrcnnError(
            f"{folder} is not a folder of yours alone", "set FRCNN_HOME to a folder of your own"
        )
    return folder


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


def known_weights() -> dict[str, Path]:
    """The weights that can be given by name, in the folders of weights."""
    known: dict[str, Path] = {}
    for folder in reversed(weights_dirs()):
        known |= {file.stem: file for file in sorted(folder.glob(f"*{WEIGHTS_SUFFIX}"))}
    return known


def last_run() -> Path | None:
    """The folder in RUNS whose weights are the newest; None if there is none."""
    files = sorted(RUNS.glob(f"*/{WEIGHTS_FILE}"), key=lambda path: path.stat().st_mtime)
    return files[-1].parent if files else None


def run_weights(folder: Path) -> Path:
    """The weights of a run: those of its last stage where it has several, else the best ones where
    it was validated, else the last ones."""
    finetuned, best = folder / WEIGHTS_FILE, folder / BEST_FILE
    for file in (folder / name for name in STAGE_FILES.values()):
        # an older one is of fewer iterations of fine-tuning
        if file.is_file() and file.stat().st_mtime >= finetuned.stat().st_mtime:
            return file
    return best if best.is_file() else finetuned


def _weights_of_run(name: str) -> Path | None:
    """The file that "last", "best" or the name of a run stands for; None if it is none of these.

    Raises:
        WeightsError: there is no run, or it has no best weights.
    """
    if name in ("last", "best"):
        run = last_run()
        if run is None:
            raise WeightsError(f"no run in {RUNS} has weights", "train one: frcnn train FOLDER")
        path = run / (WEIGHTS_FILE if name == "last" else BEST_FILE)
        if not path.is_file():
            raise WeightsError(f"{run} was not validated", "take last, or train with --eval-every")
        return path
    if Path(name).name == name and (RUNS / name / WEIGHTS_FILE).is_file():
        return run_weights(RUNS / name)
    return None


def find_weights(name_or_path: str) -> Path:
    """The path of a weights file.

    Args:
        name_or_path: a path; a name (`squeezenet1_1-voc07`); `last` or `best`, of the last run in
            RUNS; or the name of a run there.
    Raises:
        WeightsError: there is no such file. ConfigError: there are no weights of that name.
    """
    path = Path(os.path.expanduser(name_or_path))
    with contextlib.suppress(OSError):  # too long for a file name
        if path.is_file():
            return path
    known = known_weights()
    if name_or_path in known:
        return known[name_or_path]
    of_run = _weights_of_run(name_or_path)
    if of_run is not None:
        return of_run
    if path.suffix or len(path.parts) > 1:
        raise WeightsError(f"no weights file {path}", "give the path of a .safetensors file")
    runs = [file.parent.name for file in sorted(RUNS.glob(f"*/{WEIGHTS_FILE}"))]
    raise unknown_name("weights", name_or_path, [*known, *runs])


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
