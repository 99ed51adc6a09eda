from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from frcnn_cli.ops import conv2d as module

SHAPES = [
    ((2, 8, 9, 7), (6, 8, 3, 3), (1, 1), (1, 1)),
    ((1, 4, 20, 11), (5, 4, 5, 5), (2, 2), (2, 2)),
    ((3, 6, 4, 4), (2, 6, 1, 1), (1, 1), (0, 0)),
    ((1, 3, 12, 10), (7, 3, 4, 3), (3, 2), (2, 0)),
]


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything goes the way of wide layers on a processor with AVX2."""
    monkeypatch.setattr(module, "WIDE", 1)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(("x_shape", "weight_shape", "stride", "padding"), SHAPES)
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_are_torchs(
    x_shape, weight_shape, stride, padding, biased, order
) -> None:
    torch.manual_seed(0)
    results = []
    x, weight = torch.randn(x_shape), torch.randn(weight_shape)
    bias = torch.randn(weight_shape[0]) if biased else None
    for function in (F.conv2d, module.conv2d):
        leaves = [each.clone().to(memory_format=order).requires_grad_() for each in (x, weight)]
        if bias is not None:
            leaves.append(bias.clone().requires_grad_())
        out = function(*leaves[:2], leaves[2] if biased else None, stride, padding)
        torch.manual_seed(1)
        gradients = torch.autograd.grad(out, leaves, torch.randn(out.shape))
        results.append([out.detach(), *gradients])
    assert out.grad_fn.name() == "_PlainWeightGradientBackward"
    for expected, got in zip(*results, strict=True):
        assert torch.allclose(expected, got, atol=1e-4)


@pytest.mark.usefixtures("narrow")
def test_gradients_that_nobody_wants_are_not_made() -> None:
    x, weight = torch.randn(1, 4, 6, 6), torch.randn(4, 4, 3, 3, requires_grad=True)
    module.conv2d(x, weight, None, (1, 1), (1, 1)).sum().backward()
    assert x.grad is None
    assert weight.grad is not None


def test_narrow_layers_are_torchs_own() -> None:
    x, weight = torch.randn(1, 4, 6, 6), torch.randn(4, 4, 3, 3, requires_grad=True)
    out = module.conv2d(x, weight, None, (1, 1), (1, 1))
    assert out.grad_fn is not None
    assert out.grad_fn.name() == "ConvolutionBackward0"
