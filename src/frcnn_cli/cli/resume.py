"""The option --resume of `frcnn train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from ..errors import ConfigError
from ..runtime.paths import RUNS
from .options import load_config

LATEST = "latest"


class TrainCommand(TyperCommand):
    """Accepts --resume without a value, for the last run."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert the value LATEST after a --resume without a value."""
        completed = []
        for arg, following in zip(args, [*args, "-"][1:], strict=True):
            lacks_value = arg == "--resume" and following.startswith("-")
            completed += [arg, LATEST] if lacks_value else [arg]
        return super().parse_args(ctx, completed)


def load_run(ctx: typer.Context, folder: Path | None) -> Path | None:
    """Use the settings in the folder of the run that --resume continues, by path or by name.

    Raises:
        ConfigError, DataError: there is no run, or see `load_config`.
    """
    if folder is None:
        return None
    if str(folder) == LATEST:
        from ..training.runs import latest

        folder = latest(RUNS)
    elif not folder.exists() and (RUNS / folder).is_dir():
        folder = RUNS / folder
    settings = folder / "config.toml"
    if not settings.is_file():
        raise ConfigError(f"no run in {folder}", f"expected a folder such as {RUNS}/run")
    load_config(ctx, settings)
    return folder


def of_new_run(ctx: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
    """Refuse an option for the start of a run beside --resume, where it would change nothing.

    A value from a variable is for new runs, and gives way to the one that the run has stored.

    Raises:
        ConfigError: the option is on the command line, and --resume too.
    """
    if ctx.params.get("resume") is None or param.name is None:
        return value
    source = ctx.get_parameter_source(param.name)
    given = "" if source is None else source.name
    if given == "COMMANDLINE":
        raise ConfigError(
            f"--{param.name} is for a new run, and --resume continues one", "leave out one of them"
        )
    if given != "ENVIRONMENT":
        return value
    stored = (ctx.default_map or {}).get(param.name, param.default)
    return None if stored is None else type(value)(stored)
