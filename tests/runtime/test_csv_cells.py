from __future__ import annotations

import itertools

import pytest

from frcnn_cli.runtime.csv_cells import cell, plain_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("=1+1", "'=1+1"),
        ("-a.png", "'-a.png"),
        ("+a", "'+a"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("'=1", "''=1"),
        ("'quoted'", "'quoted'"),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_cells(text: str, expected: str) -> None:
    assert cell(text) == expected


def test_every_text_is_found_again() -> None:
    texts = ["".join(letters) for n in range(5) for letters in itertools.product("'=a-", repeat=n)]
    cells = [cell(text) for text in texts]
    assert [plain_text(each) for each in cells] == texts
    assert not any(each.startswith(("=", "-")) for each in cells)
