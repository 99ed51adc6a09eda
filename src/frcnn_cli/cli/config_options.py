"""Makes the options of a command from the fields of a configuration.

A command that is decorated with `options_of(settings=FromConfig(DetectConfig))` has an option for
every field of DetectConfig, and receives the DetectConfig of their values as its `settings`.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Annotated, Any

import typer

from ..errors import ConfigError
from ..settings import flag_of


@dataclass(frozen=True)
class FromConfig:
    """Which fields of a configuration become options."""

    config: type
    defaults: Mapping[str, Any] = field(default_factory=dict)  # replace defaults of the class
    without: tuple[str, ...] = ()  # fields without an option
    # Options have no defaults, and the command receives a dict of the values that the user gave.
    only_given: bool = False
    # Name of a field -> what the help shows at the end of its text, for options without a default.
    default_note: Callable[[str], str] | None = None

    def parameters(self) -> list[inspect.Parameter]:
        """The parameters that give the command its options, one for each field."""
        hints = typing.get_type_hints(self.config)
        return [self._parameter(each, hints[each.name]) for each in self._fields()]

    def collect(self, arguments: dict[str, Any]) -> Any:
        """Remove the values of the fields from a command's arguments, and make the configuration.

        Returns:
            The configuration; if `only_given` is set, a dict of the values that the user gave.
        Raises:
            ConfigError: a list of numbers or names is not understood.
        """
        values = {}
        for each in self._fields():
            value = arguments.pop(self._option_name(each.name))
            if value is None and self.only_given:
                continue
            hint = typing.get_type_hints(self.config)[each.name]
            flag = flag_of(self.config, each.name)
            values[each.name] = parse_list(value, flag, hint) if _is_list(hint) else value
        return values if self.only_given else self.config(**values)

    def _fields(self) -> list[Field[Any]]:
        return [
            each
            for each in fields(self.config)
            if flag_of(self.config, each.name) and each.name not in self.without
        ]

    def _option_name(self, field_name: str) -> str:
        return flag_of(self.config, field_name).replace("-", "_")

    def _parameter(self, each: Field[Any], hint: Any) -> inspect.Parameter:
        help_text, flag = each.metadata["help"], flag_of(self.config, each.name)
        default = None if self.only_given else self.defaults.get(each.name, each.default)
        option_type = str if _is_list(hint) else hint
        if _is_list(hint) and default is not None:
            default = ",".join(map(str, default))
        if default is None and not isinstance(None, _accepted(option_type)):
            option_type = option_type | None
        has_note = "[default: " in help_text
        note = self.default_note(each.name) if self.only_given and self.default_note else ""
        if note and not has_note:
            help_text = f"{help_text} [{note}]"
        names = [f"--{flag}/--no-{flag}" if hint is bool and default else f"--{flag}"]
        shown = not (default is None or default == "" or has_note)
        option = typer.Option(*names, help=f"{help_text}.", show_default=shown)
        return inspect.Parameter(
            self._option_name(each.name),
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=Annotated[option_type, option],
        )


def options_of(**sources: FromConfig) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make the options of a command from configurations.

    Args:
        sources: parameter of the command -> the configuration whose options replace it.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        parameters = []
        for parameter in inspect.signature(command, eval_str=True).parameters.values():
            source = sources.get(parameter.name)
            own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
            parameters += own if source is None else source.parameters()

        @functools.wraps(command)
        def run(**arguments: Any) -> None:
            collected = {name: source.collect(arguments) for name, source in sources.items()}
            command(**arguments, **collected)

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return decorate


def parse_list(text: str, flag: str, hint: Any) -> tuple[Any, ...]:
    """Parse values that are separated by commas, such as "480,600" or "cat,dog".

    Args:
        flag: name of the option, for the error. hint: tuple[T, ...], where T is the type of values.
    Raises:
        ConfigError: a value is not of that type.
    """
    element_type = typing.get_args(hint)[0]
    try:
        return tuple(element_type(part.strip()) for part in text.split(",") if part.strip())
    except ValueError:
        expected = "whole numbers" if element_type is int else "numbers"
        raise ConfigError(
            f"--{flag} {text!r} is not understood", f"expected {expected}, as in 480,600"
        ) from None


def _is_list(hint: Any) -> bool:
    return typing.get_origin(hint) is tuple


def _accepted(hint: Any) -> tuple[type, ...]:
    """The types of values that a type hint accepts; for a Literal, str."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return tuple(each for each in typing.get_args(hint) if isinstance(each, type))
    return (hint,) if isinstance(hint, type) else (str,)
