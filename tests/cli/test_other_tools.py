from __future__ import annotations

import re

import pytest
from typer.main import get_command

from commands import run
from frcnn_cli.cli.app import app
from frcnn_cli.cli.other_tools import COMMANDS, OPTIONS

KNOWN = get_command(app).commands  # type: ignore[attr-defined]
FLAGS = {flag for each in KNOWN.values() for option in each.params for flag in option.opts}


@pytest.mark.parametrize("name", COMMANDS)
def test_hints_to_commands(name: str) -> None:
    result = run(name, "photo.jpg")
    assert result.exit_code == 2
    assert COMMANDS[name] in " ".join(result.stderr.split())
    words = COMMANDS[name].split()
    command = KNOWN[words[1]]
    flags = {flag for option in command.params for flag in option.opts}
    if words[2:] and not words[2].startswith("-"):
        flags = {flag for each in command.commands[words[2]].params for flag in each.opts}
    assert all(word in flags for word in words if word.startswith("-"))


@pytest.mark.parametrize("option", OPTIONS)
def test_hints_to_options_name_options_that_exist(option: str) -> None:
    named = re.findall(r"--[a-z-]+", OPTIONS[option])
    assert named or "argument" in OPTIONS[option]
    assert set(named) <= FLAGS


@pytest.mark.parametrize(
    ("command", "option"),
    [("train", "--epochs"), ("train", "--imgsz"), ("detect", "--conf"), ("eval", "--iou")],
)
def test_hints_to_options(command: str, option: str) -> None:
    result = run(command, "x", option, "3")
    assert result.exit_code == 2
    said = " ".join(result.stderr.split())
    assert f"No such option: {option}; here: {OPTIONS[option]}" in said


def test_no_hint_where_none_is_known() -> None:
    result = run("train x --frobnicate")
    assert result.exit_code == 2
    assert "here:" not in result.stderr
    assert run("trian").exit_code == 2
