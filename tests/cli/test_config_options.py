"""Options that are made from the fields of configurations."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields
from typing import Literal

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from frcnn_cli.cli.app import app
from frcnn_cli.cli.config_options import FromConfig, options_of, parse_list
from frcnn_cli.config import DetectConfig, TrainConfig, TrainRuntimeConfig
from frcnn_cli.errors import ConfigError
from frcnn_cli.settings import flag_of, setting


def options(command: str) -> dict[str, typer.core.TyperOption]:
    parameters = get_command(app).commands[command].params  # type: ignore[attr-defined]
    return {name: each for each in parameters for name in each.opts}


@pytest.mark.parametrize(
    ("command", "config", "without"),
    [
        ("train", TrainConfig, ()),
        ("train", TrainRuntimeConfig, ()),
        ("detect", DetectConfig, ("classes",)),
        ("eval", DetectConfig, ("score_threshold", "classes")),
    ],
)
def test_every_setting_has_its_flag(command: str, config: type, without: tuple[str, ...]) -> None:
    known = options(command)
    for each in fields(config):
        flag = flag_of(config, each.name)
        if flag and each.name not in without:
            assert each.metadata["help"] in known[f"--{flag}"].help


def test_all_training_settings_have_a_flag() -> None:
    assert all(flag_of(TrainConfig, each.name) for each in fields(TrainConfig))
    assert len(fields(TrainConfig)) == 38


def test_every_setting_has_a_help_text_that_reads_as_a_sentence() -> None:
    for config in (TrainConfig, TrainRuntimeConfig, DetectConfig):
        for each in fields(config):
            text = each.metadata["help"]
            assert text[0].isupper() or text.startswith("auto, cpu"), text
            assert not text.endswith("."), text


@dataclass(frozen=True)
class Sample:
    """A configuration with a field of every type that options support."""

    count: int = setting(3, "Count")
    rate: float = setting(0.5, "Rate", flag="speed")
    sides: tuple[int, ...] = setting((4, 5), "Sides")
    names: tuple[str, ...] = setting((), "Names [default: all]")
    size: int | None = setting(None, "Size")
    loud: bool = setting(False, "Loud")
    careful: bool = setting(True, "Careful")
    mode: Literal["a", "b"] = setting("a", "Mode")
    hidden: int = setting(7, "Hidden", flag="")


def invoke(source: FromConfig, *arguments: str):
    seen = []
    command_app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)

    @command_app.command()
    @options_of(settings=source)
    def command(name: str = "x", *, settings: Sample) -> None:
        """A command."""
        seen.append((name, settings))

    result = CliRunner().invoke(command_app, arguments)
    return result, seen


def test_defaults_are_those_of_the_configuration() -> None:
    _, seen = invoke(FromConfig(Sample))
    assert seen == [("x", Sample())]


def test_values_arrive_with_their_types() -> None:
    _, seen = invoke(
        FromConfig(Sample),
        *("--count", "9", "--speed", "1", "--sides", "1, 2", "--names", "cat,dog", "--size", "6"),
        *("--loud", "--no-careful", "--mode", "b", "--name", "y"),
    )
    expected = Sample(9, 1.0, (1, 2), ("cat", "dog"), 6, True, False, "b")
    assert seen == [("y", expected)]
    assert isinstance(seen[0][1].rate, float)


def test_other_defaults_and_fields_left_out() -> None:
    source = FromConfig(Sample, defaults={"count": 8}, without=("size",))
    result, seen = invoke(source)
    assert seen[0][1] == Sample(count=8)
    result, _ = invoke(source, "--size", "3")
    assert result.exit_code == 2


def test_only_given_options_are_collected() -> None:
    source = FromConfig(Sample, only_given=True, default_note=lambda name: f"{name} of x")
    assert invoke(source)[1] == [("x", {})]
    _, seen = invoke(source, "--sides", "7", "--speed", "2")
    assert seen == [("x", {"sides": (7,), "rate": 2.0})]
    text = " ".join(invoke(source, "--help")[0].stdout.split())
    assert "Count [count of x]." in text
    assert "Names [default: all]." in text


def test_hidden_fields_have_no_option() -> None:
    assert invoke(FromConfig(Sample), "--hidden", "1")[0].exit_code == 2


@pytest.mark.parametrize(("arguments", "status"), [(["--mode", "c"], 2), (["--count", "x"], 2)])
def test_wrong_usage(arguments: list[str], status: int) -> None:
    assert invoke(FromConfig(Sample), *arguments)[0].exit_code == status


@pytest.mark.parametrize(
    ("text", "hint", "expected"),
    [
        ("480,600", tuple[int, ...], (480, 600)),
        ("0.5", tuple[float, ...], (0.5,)),
        (" cat , dog ", tuple[str, ...], ("cat", "dog")),
        ("", tuple[int, ...], ()),
    ],
)
def test_lists(text: str, hint: object, expected: tuple) -> None:
    assert parse_list(text, "flag", hint) == expected


@pytest.mark.parametrize(("text", "hint"), [("a", tuple[int, ...]), ("1.5", tuple[int, ...])])
def test_malformed_lists(text: str, hint: object) -> None:
    with pytest.raises(ConfigError, match=f"--scales '{text}' is not understood"):
        parse_list(text, "scales", hint)


def test_the_function_keeps_its_name_and_help() -> None:
    @options_of(settings=FromConfig(Sample))
    def command(*, settings: Sample) -> None:
        """Help."""

    assert (command.__name__, command.__doc__) == ("command", "Help.")
    assert "settings" not in inspect.signature(command).parameters
