from __future__ import annotations

import time

import pytest
import torch

from frcnn_cli.runtime.timing import Mark


def test_seconds_between_marks() -> None:
    device = torch.device("cpu")
    first = Mark.on(device)
    time.sleep(0.02)
    last = Mark.on(device)
    assert last.seconds_since(first) == pytest.approx(last.moment - first.moment)
    assert 0.02 <= last.seconds_since(first) < 2
