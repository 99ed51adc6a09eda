"""The Typer app: `frcnn` and its commands."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import warnings
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from .. import __version__
from ..errors import FrcnnError, out_of_memory, reason
from ..runtime.launcher import is_first_process
from ..training.interruption import InterruptedRun
from .bench import bench
from .compress import compress
from .console import say_error
from .detect import detect
from .eval import evaluate
from .propose import propose
from .train import TrainCommand, train
from .weights import weights


class Group(TyperGroup):
    """Prints an error as one line and exits with status 1; FRCNN_DEBUG=1 shows its traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that `ctx` names."""
        try:
            return super().invoke(ctx)
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
    """A warning as text; one about an image without the place in the program."""
    if category.__name__ == "ImageWarning":
        return f"{message}\n"
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
    app()
