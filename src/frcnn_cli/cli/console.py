"""Prints progress and messages on stderr, so that stdout holds only results."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ..errors import DataError, printable, shortened

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from ..runtime.progress import Progress


def dumps(value: Any) -> str:
    """JSON for stdout; NaN and infinity, which JSON does not have, become null."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        strict = json.loads(json.dumps(value), parse_constant=lambda name: None)
        return json.dumps(strict)


class _Console(Console):
    """Prints texts without the control characters that names in files may hold."""

    def print(self, *objects: Any, **options: Any) -> None:
        """See rich."""
        shown = (printable(each) if isinstance(each, str) else each for each in objects)
        super().print(*shown, **options)


# without markup, since file and class names may hold brackets
stderr = _Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)
stdout = _Console(highlight=False, markup=False, emoji=False)
PLAIN_SECONDS = 15  # between lines of progress where stderr is not a terminal


class ProgressLine:
    """The progress of one loop: a bar on a terminal, elsewhere a line every PLAIN_SECONDS.

    Args:
        label: what is done, such as "training". total: number of units; None if it is unknown.
        unit: such as "images". quiet: show no progress.
    """

    def __init__(self, label: str, total: int | None, unit: str, quiet: bool = False) -> None:
        self.label, self.total, self.unit, self.quiet = label, total, unit, quiet
        self.done = 0
        self._begun = self._printed_at = time.monotonic()
        self._bar: Bar | None = None

    def __enter__(self) -> ProgressLine:
        if stderr.is_terminal and not self.quiet:
            # imported here, since it takes 30 ms, which would slow down `frcnn --help`
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}", markup=False),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=stderr,
                transient=True,
                redirect_stdout=False,  # results must stay on stdout
            )
            self._task = self._bar.add_task(self.label, total=self.total, rate="")
            self._bar.start()
        return self

    def advance(self, note: str = "") -> None:
        """Count one more unit; `note` is shown after the rate."""
        self.done += 1
        now = time.monotonic()
        rate = self.done / max(now - self._begun, 1e-9)
        text = f"{rate:.1f} {self.unit}/s {note}".strip()
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, rate=text)
        elif not self.quiet and self.done != self.total and now - self._printed_at > PLAIN_SECONDS:
            count, left = f"{self.done}", ""
            if self.total is not None:
                count = f"{self.done}/{self.total}"
                left = f", {(self.total - self.done) / rate / 60:.1f} min left"
            stderr.print(f"{self.label}: {count}, {text}{left}")
            self._printed_at = now

    def result(self, line: str) -> None:
        """Print a line of results on stdout while the loop runs, above the bar if there is one."""
        if self._bar is not None and stdout.is_terminal:
            self._bar.console.print(line)
        else:
            stdout.print(line, soft_wrap=True)

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def progress_lines(quiet: bool) -> Progress:
    """The Progress that shows every stage as a ProgressLine."""

    @contextmanager
    def show(stage: str, total: int, unit: str) -> Iterator[Callable[[str], None]]:
        with ProgressLine(stage, total, unit, quiet) as line:
            yield line.advance

    return show


def raise_failures(messages: Sequence[str], count: int) -> None:
    """List what is wrong with the images that failed, and raise an error if there are any.

    Args:
        messages: one for each of these. count: of all images.
    """
    for message in messages:
        stderr.print(f"  {message}")
    if messages:
        raise DataError(f"{len(messages)} of {count} images failed", "they are named above")


def say_error(message: str, hint: str = "") -> None:
    """Print an error in red on stderr, and a hint below it."""
    with contextlib.suppress(OSError, ValueError):  # nobody may be left to read it
        print(_styled(printable(shortened(f"error: {message}")), "31"), file=sys.stderr)
        if hint:
            print(f"  {printable(shortened(hint))}", file=sys.stderr)


def _styled(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if stderr.is_terminal and not stderr.no_color else text
