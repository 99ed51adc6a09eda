"""What torch's launcher tells the processes that it starts, known without importing torch."""

from __future__ import annotations

import os


def is_first_process() -> bool:
    """Whether this process is the one that prints: the only one, or the first of several."""
    return os.environ.get("RANK", "0") == "0"
