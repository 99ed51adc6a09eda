"""Commands in this process, and what they answer."""

from __future__ import annotations

import shlex

from typer.testing import CliRunner

from frcnn_cli.cli.app import app


def run(*arguments: object):
    words = [word for each in arguments for word in shlex.split(str(each))]
    return CliRunner().invoke(app, words)


def failure(result) -> str:
    """The one line of a failure; it must be one, with a hint and without a traceback."""
    assert result.exit_code == 1, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, result.stderr
    return lines[0]
