"""Fields of configurations: their help texts, their options, and the values that are allowed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from .errors import ConfigError


@dataclass(frozen=True)
class Range:
    """The interval of numbers that a setting may have; `str` gives it in words."""

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False  # `low` itself is not allowed
    high_open: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return above and below

    def __str__(self) -> str:
        parts = []
        if self.low > -math.inf:
            parts.append(f"{'above' if self.low_open else 'at least'} {self.low:g}")
        if self.high < math.inf:
            parts.append(f"{'below' if self.high_open else 'at most'} {self.high:g}")
        return " and ".join(parts)


# of a file of settings: the parser takes the square of the length of a dotted key
MAX_SETTINGS_BYTES = 2**14
MAX_VALUES = 20  # of a setting that has several numbers, such as scales: each is a pass
FRACTION = Range(0, 1)
COUNT = Range(1)


def setting(default: Any, help: str, within: Range | None = None, flag: str | None = None) -> Any:
    """A field of a configuration.

    Args:
        help: the help text of its option.
        within: the allowed numbers; for a tuple, those allowed for each element. A value of None
            is always allowed.
        flag: the name of its option, where that differs from the field's; "" for no option.
    """
    return field(default=default, metadata={"help": help, "within": within, "flag": flag})


# Whether a rule is kept, the setting that breaks it otherwise, and what is expected of that one.
Rule = tuple[bool, str, str]


def flag_of(config: type, name: str) -> str:
    """The option of a field, without the leading dashes; "" where it has none."""
    own = next(each for each in fields(config) if each.name == name).metadata.get("flag")
    return name.replace("_", "-") if own is None else own


def check(config: Any) -> None:
    """Check that the values of a configuration are in range and go together, by its `rules`.

    Raises:
        ConfigError: a value is out of range, or does not go with another.
    """
    for each in fields(config):
        value, within = getattr(config, each.name), each.metadata.get("within")
        if within is None or value is None:
            continue
        if not all(one in within for one in (value if isinstance(value, tuple) else (value,))):
            raise _out_of_range(config, each.name, str(within))
        if isinstance(value, tuple) and len(value) > MAX_VALUES:
            raise _out_of_range(config, each.name, f"at most {MAX_VALUES} values")
    for is_kept, name, expected in config.rules() if hasattr(config, "rules") else ():
        if not is_kept:
            raise _out_of_range(config, name, expected)


def _out_of_range(config: Any, name: str, expected: str) -> ConfigError:
    value, flag = getattr(config, name), flag_of(type(config), name)
    values = value if isinstance(value, tuple) else (value,)
    shown = [one if isinstance(one, str) else f"{one:g}" for one in values[:MAX_VALUES]]
    text = ",".join([*shown, *(["…"] if len(values) > MAX_VALUES else [])])
    return ConfigError(f"--{flag} {text} is out of range", f"expected {expected}")
