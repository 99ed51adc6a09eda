from __future__ import annotations

import pytest
import torch

from frcnn_cli.inference import profile


@pytest.mark.parametrize(("rate", "side"), [(1e12, 2048), (3e9, 512), (1e6, 64)])
def test_slow_products_are_not_followed_by_larger_ones(rate, side, monkeypatch) -> None:
    """Half precision is emulated on some processors: 2048×2048 took minutes."""
    sides = []

    def fastest(work, device):
        sides.append(len(work()))
        return 2 * sides[-1] ** 3 / rate

    monkeypatch.setattr(profile, "_fastest", fastest)
    monkeypatch.setattr(profile, "_MATRIX_SIDE", 2048)
    assert profile.gemm_rate(torch.device("cpu")) == pytest.approx(rate)
    assert sides[-1] == max(sides) == side
