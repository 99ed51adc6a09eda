"""Text in the cells of CSV files, which a spreadsheet would otherwise take for a formula.

A cell that begins with =, +, -, @, a tab or a line end gets an apostrophe in front (OWASP, "CSV
Injection"). A cell that begins with apostrophes and then one of these gets one more, so that
`plain_text` finds every text again.
"""

from __future__ import annotations

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_QUOTE = "'"


def cell(text: str) -> str:
    """The cell to write for a text."""
    return _QUOTE + text if text.lstrip(_QUOTE).startswith(_FORMULA) else text


def plain_text(cell: str) -> str:
    """The text that a cell was written for."""
    is_marked = cell.startswith(_QUOTE) and cell.lstrip(_QUOTE).startswith(_FORMULA)
    return cell[1:] if is_marked else cell
