"""The folders of runs, and the settings that are stored in them."""

from __future__ import annotations

import json
import math
import platform
import tomllib
from collections.abc import Mapping
from pathlib import Path

import numpy
import torch

from .. import __version__
from ..errors import ConfigError, DataError
from ..runtime.files import write_bytes, write_text
from ..runtime.safe_read import read_text
from ..settings import MAX_SETTINGS_BYTES
from .state import STATE_FILE

SETTINGS_FILE = "config.toml"
ENVIRONMENT_FILE = "environment.json"


def create(folder: Path) -> Path:
    """Make a folder; if it exists already, <folder>-2, <folder>-3 and so on.

    Raises:
        DataError: the folder cannot be made.
    """
    candidate, number = folder, 1
    while True:
        try:
            candidate.mkdir(parents=True)
            return candidate
        except FileExistsError:
            number += 1
            candidate = folder.with_name(f"{folder.name}-{number}")
        except OSError as error:
            raise DataError(
                f"cannot make {candidate}: {error.strerror}", "choose another --name"
            ) from None


def latest(parent: Path) -> Path:
    """The run in a folder of runs whose checkpoint is the newest.

    Raises:
        DataError: no run has a checkpoint.
    """
    states = sorted(parent.glob(f"*/{STATE_FILE}"), key=lambda path: path.stat().st_mtime)
    if not states:
        raise DataError(f"no run to continue in {parent}", "name its folder: --resume FOLDER")
    return states[-1].parent


def read_settings(folder: Path) -> dict[str, object]:
    """The settings in the folder of a run; empty if they cannot be read."""
    try:
        return tomllib.loads(read_text(folder / SETTINGS_FILE, "remove it", MAX_SETTINGS_BYTES))
    except (DataError, ValueError, RecursionError):
        return {}


def write_settings(folder: Path, settings: Mapping[str, object]) -> None:
    """Write the settings of a run as config.toml, and environment.json.

    Args:
        settings: by name; None is left out, and tuples become strings with commas, as on the
            command line. If the names are those of options, frcnn train --config repeats the run.
    Raises:
        DataError: a path is not UTF-8, which TOML is.
        ConfigError: they are too long to be read again.
    """
    lines = [f"{key} = {_toml(value)}\n" for key, value in settings.items() if value is not None]
    try:
        content = "".join(lines).encode()
    except UnicodeEncodeError:
        raise DataError("a path is not UTF-8, so config.toml cannot name it", "rename it") from None
    if len(content) > MAX_SETTINGS_BYTES:
        raise ConfigError(
            f"the settings take {len(content):,} bytes; {SETTINGS_FILE} may have "
            f"{MAX_SETTINGS_BYTES:,}",
            "rename fewer classes with --map, or rename them in the data",
        )
    write_bytes(folder / SETTINGS_FILE, content)
    environment = {
        "frcnn": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "machine": platform.machine(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
    write_text(folder / ENVIRONMENT_FILE, json.dumps(environment, indent=2) + "\n")


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        value = ",".join(map(str, value))
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # inf and nan, which JSON lacks
    # strings, other numbers and booleans of JSON are TOML too, except for this character
    text = json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
    return text.replace("\x7f", "\\u007f")
