"""The state of a training run, from which it is resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..errors import DataError, reason

STATE_FILE = "state.pt"
STATE_KEYS = {
    "iteration", "validated", "best", "images", "classes", "pixels", "provenance", "ranks",
    "deltas", "model", "optimizer",
}  # fmt: skip
RESUME_HINT = "start again without --resume"


def read_state(run: Path) -> dict[str, Any]:
    """The training state in a run's folder; nothing in it is executed.

    Raises:
        DataError: there is none, or it is damaged.
    """
    path = run / STATE_FILE
    if not path.is_file():
        raise DataError(f"no training state {path}", RESUME_HINT)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds
        raise DataError(f"{path} cannot be resumed: {reason(error)}", RESUME_HINT) from None
    if not isinstance(state, dict) or not state.keys() >= STATE_KEYS:
        raise DataError(f"{path} is not a training state", RESUME_HINT)
    return state
