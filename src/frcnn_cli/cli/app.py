"""The Typer app: `frcnn` and its commands."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import warnings
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from .. import __version__
from ..errors import FrcnnError, out_of_memory, printable, reason
from ..runtime.launcher import is_first_process
from ..runtime.signals import STOPPING
from ..training.interruption import InterruptedRun
from . import other_tools
from .bench import bench
from .compress import compress
from .console import say_error
from .data import data
from .detect import detect
from .eval import evaluate
from .propose import propose
from .resume import TrainCommand
from .train import train
from .weights import weights

_MAY_BE_EMPTY = ("--views", "--calibration")  # of frcnn weights export


def _hide_variables(command: Any) -> None:
    """Leave the variable of every option, which follows from its name, out of the help."""
    for parameter in command.params:
        parameter.show_envvar = False
    for each in getattr(command, "commands", {}).values():
        _hide_variables(each)


class Group(TyperGroup):
    """Prints an error as one line and exits with status 1; FRCNN_DEBUG=1 shows its traceback."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        """Begin with the command line that `args` hold."""
        _hide_variables(self)
        return super().make_context(*args, **extra)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse empty arguments; as a path they would be the working folder."""
        for before, argument in zip(["", *args], args, strict=False):
            option, equals, value = argument.partition("=")
            is_option = option.startswith("--") and equals
            if not is_option:
                option, value = before if before.startswith("-") else "", argument
            if not value and option not in _MAY_BE_EMPTY:
                what = f"nothing follows {option}" if option else "an argument is empty"
                ctx.fail(f"{what}: is a variable of the shell not set?")
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a command; the names that other tools have for it get a hint."""
        if args and args[0] not in self.commands and args[0] in other_tools.COMMANDS:
            ctx.fail(f"No such command {args[0]!r}; here: {other_tools.COMMANDS[args[0]]}")
        return super().resolve_command(ctx, args)

    def _run(self, ctx: Any) -> Any:
        """Run the command; a hint is added to the error about an option that there is not."""
        try:
            return super().invoke(ctx)
        except Exception as error:  # typer does not export the type
            if type(error).__name__ == "NoSuchOption":
                name, message = (getattr(error, key) for key in ("option_name", "message"))
                error.message = message + other_tools.hint(name)  # type: ignore[attr-defined]
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command that `ctx` names."""
        try:
            return self._run(ctx)
        except FrcnnError as error:
            if os.environ.get("FRCNN_DEBUG"):
                raise
            say_error(error.message, error.hint)
            raise typer.Exit(1) from None
        except OSError as error:
            if os.environ.get("FRCNN_DEBUG") or isinstance(error, BrokenPipeError):
                raise
            say_error(reason(error))
            raise typer.Exit(1) from None
        except (MemoryError, RuntimeError) as error:
            if os.environ.get("FRCNN_DEBUG") or not out_of_memory(error):
                raise
            say_error("out of memory", "lower --batch, --max-size, --scales or --max-proposals")
            raise typer.Exit(1) from None
        except InterruptedRun as stop:
            if is_first_process():
                say_error(stop.message, stop.hint)
            raise typer.Exit(130) from None
        except KeyboardInterrupt:
            for number in STOPPING:  # another one ends the program at once, without a traceback
                signal.signal(number, signal.SIG_DFL)
            say_error("interrupted")
            raise typer.Exit(130) from None


app = typer.Typer(
    name="frcnn",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # importing rich for the help takes a tenth of a second
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "FRCNN"},
    help="Fast R-CNN: propose regions, train, compress, detect and evaluate.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"frcnn {__version__}")
        raise typer.Exit


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: Any = None
) -> str:
    """A warning as text; ours without the place in the program."""
    if category.__module__.startswith("frcnn_cli"):
        return f"{printable(str(message))}\n"
    return f"{filename}:{lineno}: {category.__name__}: {message}\n"


@app.callback()
def frcnn(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Fast R-CNN: propose regions, train, compress, detect and evaluate."""
    # Pillow warns at sizes that are far below its limit
    warnings.filterwarnings("ignore", r"Image size \(\d+ pixels\) exceeds limit")
    warnings.formatwarning = _format_warning


app.command("propose")(propose)
app.command("train", cls=TrainCommand)(train)
app.command("compress")(compress)
app.command("detect")(detect)
app.command("eval")(evaluate)
app.add_typer(data, name="data")
app.command("bench")(bench)
app.add_typer(weights, name="weights")


def main() -> None:
    """The entry point of the command `frcnn`."""
    # Importing torch makes hundreds of thousands of permanent objects. Collecting garbage among
    # them during the import and at exit would take longer than detecting in an image.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
    # file names may hold bytes that are not text
    if isinstance(sys.stdin, TextIOWrapper) and isinstance(sys.stdout, TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")
        sys.stdout.reconfigure(errors="backslashreplace")
    for number in STOPPING:
        if signal.getsignal(number) == signal.SIG_DFL:  # nohup ignores SIGHUP
            signal.signal(number, signal.default_int_handler)
    try:
        app()
    except OSError as error:  # of the output, before a command begins
        say_error(reason(error))
        sys.exit(1)
    finally:
        _finish_output()


def _finish_output() -> None:
    """Write what is left of the output; where that fails, say so and exit with status 1.

    Python would do so at its end, with a traceback.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            say_error(f"cannot write the results: {reason(error)}")
        sys.exit(1)
