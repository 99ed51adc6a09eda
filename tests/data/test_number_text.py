from __future__ import annotations

import time
from math import isnan

import pytest

from frcnn_cli.data.number_text import (
    has_decimal_comma,
    may_be_thousands,
    number_or_text,
    parse_number,
)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1), (" -2.5 ", -2.5), ("+3.", 3), (".5", 0.5), ("1e2", 100), ("2.5E-1", 0.25),
        ("1,5", 1.5), ("12,34", 12.34), ("0,125", 0.125), ("1234,567", 1234.567), 
        ("1,2345", 1.2345), (",5", 0.5), ("-0,5", -0.5),
    ],
)  # fmt: skip
def test_numbers(text: str, number: float) -> None:
    assert parse_number(text) == pytest.approx(number)


@pytest.mark.parametrize(
    "text",
    ["", "nan", "inf", "1_000", "1 234", "1'234", "1,234", "-12,345", "1,234,567", "1,234.5", "5%",
     "5px", "0x10", "٣", "1e", "1.2.3", "--1", "1,"],
)  # fmt: skip
def test_texts_that_are_not_certainly_a_number(text: str) -> None:
    assert isnan(parse_number(text))


@pytest.mark.parametrize("value", ["1e999", "-1e10", 1e10, "x", None, True, [1], "nan"])
def test_values_that_are_no_number_of_json(value: object) -> None:
    assert isnan(number_or_text(value))
    assert number_or_text(" 2,5 ") == number_or_text(2.5) == 2.5


def test_a_long_text_takes_no_time() -> None:
    start = time.process_time()
    assert isnan(parse_number("1" * 20_000 + "x"))
    assert time.process_time() - start < 1


def test_a_decimal_comma_elsewhere_decides() -> None:
    assert may_be_thousands("1,234")
    assert not may_be_thousands("0,234")
    assert not has_decimal_comma(["1,234", "12", "1.5", "1,234,567"])
    assert has_decimal_comma(["1,234", "0,5"])
    assert parse_number("1,234", comma_is_point=True) == pytest.approx(1.234)
    assert isnan(parse_number("1,234,567", comma_is_point=True))
