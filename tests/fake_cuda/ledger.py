"""Counts what a program asks of a device, by place in its code."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field

OURS = ("/frcnn_cli/", "/fake_cuda/mistakes.py")  # code whose lines are the places


def place() -> str:
    """The innermost line of our own code in the current call, as in ops/nms.py:40."""
    frame = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if any(part in path for part in OURS):
            return f"{path.split('/frcnn_cli/')[-1].split('/tests/')[-1]}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"


@dataclass
class Ledger:
    """What the device was asked to do, by (place in the code, operator)."""

    waits: Counter[tuple[str, str]] = field(default_factory=Counter)
    kernels: Counter[tuple[str, str]] = field(default_factory=Counter)
    uploads: Counter[tuple[str, str]] = field(default_factory=Counter)  # bytes

    def copy(self) -> Ledger:
        return Ledger(self.waits.copy(), self.kernels.copy(), self.uploads.copy())

    def since(self, earlier: Ledger) -> Ledger:
        """What was added after an earlier copy."""
        return Ledger(
            self.waits - earlier.waits,
            self.kernels - earlier.kernels,
            self.uploads - earlier.uploads,
        )

    def by_place(self) -> dict[str, dict[str, int]]:
        """Counts for a report, the largest first."""
        return {
            name: {f"{place} {what}": n for (place, what), n in counts.most_common()}
            for name, counts in vars(self).items()
        }
