"""The Triton kernel, run by Triton's interpreter on the CPU."""

from __future__ import annotations

import importlib
import sys

import pytest
import torch

from frcnn_cli.ops.roi_pool import roi_pool

pytest.importorskip("triton")


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch):
    """The module, imported anew for the interpreter."""
    name = "frcnn_cli.ops.roi_pool_gpu"
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module(name)


def rois_of(*boxes: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(boxes, dtype=torch.float32)


EDGES = rois_of(
    (0, 0, 0, 0, 0),
    (1, 7.5, 8.5, 23.9, 24.1),  # halves round away from zero
    (0, -40, -24, 30, 50),  # partly outside
    (1, 300, 300, 400, 400),  # outside: all bins are empty
    (1, 100, 90, 20, 10),  # inverted
    (0, 3, 5, 143, 95),
    (1, 16, 16, 16 + 6 * 16, 16 + 5 * 16),  # seven and six cells: bins without a rest
)


@pytest.mark.parametrize(
    ("channels", "dtype", "side"),
    [
        (5, torch.bfloat16, 3),
        pytest.param(8, torch.float32, 7, marks=pytest.mark.slow),  # the interpreter is slow
        pytest.param(1, torch.bfloat16, 6, marks=pytest.mark.slow),
    ],
)
@pytest.mark.filterwarnings("ignore")  # numpy's, in the interpreter
def test_the_kernel_pools_as_the_cpu_does(kernel, channels, dtype, side) -> None:
    generator = torch.Generator().manual_seed(channels)
    maps = (torch.randn(2, channels, 6, 9, generator=generator) - 2).to(dtype)  # all signs
    corners = torch.rand(6, 2, 2, generator=generator).sort(dim=1).values * 150 - 10
    random = torch.cat([(torch.arange(6) % 2)[:, None].float(), corners.reshape(6, 4)], dim=1)
    rois = torch.cat([EDGES, random])
    expected = roi_pool(maps.float(), rois, (side, side), 1 / 16)  # [R, C, side, side]
    cells = maps.permute(0, 2, 3, 1).contiguous()
    found = kernel.roi_pool_bins(cells, rois, side, 1 / 16)
    assert found.dtype == dtype
    assert found.shape == (len(rois), side**2, channels)
    torch.testing.assert_close(
        found.float(), expected.permute(0, 2, 3, 1).flatten(1, 2), rtol=0, atol=0
    )


def test_no_rois(kernel) -> None:
    found = kernel.roi_pool_bins(torch.ones(1, 4, 4, 3), torch.zeros(0, 5), 6, 1 / 16)
    assert found.shape == (0, 36, 3)
