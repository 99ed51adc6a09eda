"""The tables of frcnn compress."""

from __future__ import annotations

from dataclasses import replace

import pytest

from frcnn_cli.cli.compress_tables import show_costs
from frcnn_cli.compression.cost import Cost

COST = Cost(
    bytes=4_000_000, parameters=2_000_000, head_flops=10**6, milliseconds=8.0, peak_bytes=10**9
)


@pytest.mark.parametrize(("before", "after"), [(10**9, 0), (0, 10**9), (0, 0)])
def test_memory_that_is_not_known_has_no_row(
    capsys: pytest.CaptureFixture[str], before: int, after: int
) -> None:
    show_costs(COST, replace(COST, bytes=1_000_000))
    rows = capsys.readouterr().out.splitlines()
    assert any(row.split() == ["│", "file,", "MB", "│", "4.0", "│", "1.0", "│", "4.00", "│"]
               for row in rows)  # fmt: skip
    assert any("peak memory, MB" in row and "1,000.0" in row for row in rows)
    show_costs(replace(COST, peak_bytes=before), replace(COST, peak_bytes=after))
    known = capsys.readouterr().out.splitlines()
    assert not any("peak memory" in row for row in known)
    assert len(known) == len(rows) - 1
