"""Run folders: runs/train/<name>, then <name>-2, <name>-3 …; their logs; stopping a run."""

from __future__ import annotations

import json
import math
import platform
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

import numpy
import torch

from .. import __version__
from ..errors import DataError
from ..runtime.files import write_atomically

SETTINGS_FILE = "config.toml"


def create(parent: Path, name: str) -> Path:
    """Make a new folder of that name, or of the name with the next free number.

    Raises:
        DataError: the folder cannot be made.
    """
    number = 1
    while True:
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1
        except OSError as error:
            raise DataError(
                f"cannot make {folder}: {error.strerror}", "choose another --name"
            ) from None


def latest(parent: Path, state_file: str) -> Path:
    """The run that was last written to.

    Raises:
        DataError: there is none.
    """
    states = sorted(parent.glob(f"*/{state_file}"), key=lambda path: path.stat().st_mtime)
    if not states:
        raise DataError(f"no run to go on with in {parent}", "name its folder: --resume FOLDER")
    return states[-1].parent


def describe(folder: Path, settings: Mapping[str, object]) -> None:
    """Write config.toml, which makes the same run again with --config, and environment.json.

    Raises:
        DataError: a path is not UTF-8, which TOML is.
    """
    lines = [f"{key} = {_toml(value)}\n" for key, value in settings.items() if value is not None]
    try:
        text = "".join(lines).encode()
    except UnicodeEncodeError:
        raise DataError("a path is not UTF-8, so config.toml cannot name it", "rename it") from None

    def write(part: Path) -> None:
        part.write_bytes(text)

    write_atomically(folder / SETTINGS_FILE, write)
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
    (folder / "environment.json").write_text(json.dumps(environment, indent=2) + "\n")


def _toml(value: object) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # inf, nan
    # JSON's strings, other numbers and truth values are TOML's too
    text = json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
    return text.replace("\x7f", "\\u007f")  # but this


class StopSignal:
    """Within the block, SIGINT and SIGTERM only set `asked`; outside the main thread nothing."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> None:
        self._before: dict[int, object] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self.__exit__()  # a second one ends the program at once

    def __exit__(self, *exception: object) -> None:
        while self._before:
            signal.signal(*self._before.popitem())  # type: ignore[arg-type]
