from __future__ import annotations

import pytest
import torch
from torch import nn

from frcnn_cli.ops import depthwise
from frcnn_cli.ops.depthwise import (
    DepthwiseConv2d,
    depthwise_convolution,
    speed_up,
    weight_gradient,
)
from reference import depthwise_weight_gradient

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def noise(*shape, dtype=torch.float32, layout=torch.contiguous_format, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(dtype).contiguous(memory_format=layout)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("images", "height", "width", "kernel", "stride", "padding"),
    [
        (2, 6, 7, 5, 1, 2),
        (1, 5, 5, 5, 1, 0),  # a result of one cell
        (1, 1, 1, 5, 1, 2),  # the kernel is larger than the map
        (2, 9, 8, 5, 2, 0),
        (1, 8, 11, 5, 2, 2),
        (1, 7, 8, 5, 3, 1),  # padding that no plane's first row begins with
        (1, 4, 3, 3, 2, 1),
        (0, 6, 6, 5, 1, 2),
    ],
)
def test_the_gradient_is_the_sum_of_products(
    layout, dtype, images, height, width, kernel, stride, padding
) -> None:
    x = noise(images, 3, height, width, dtype=dtype, layout=layout)
    sides = [(side + 2 * padding - kernel) // stride + 1 for side in (height, width)]
    gradient = noise(images, 3, *sides, dtype=dtype, layout=layout, seed=1)
    result = weight_gradient(x, gradient, kernel, stride, padding)
    expected = depthwise_weight_gradient(
        x.double().numpy(), gradient.double().numpy(), kernel, stride, padding
    )
    assert result.dtype == torch.float32
    torch.testing.assert_close(
        result[:, 0].double(), torch.from_numpy(expected), rtol=1e-5, atol=1e-5
    )


@pytest.fixture
def calls(monkeypatch):
    """One item for each gradient of weights that is ours."""
    calls = []
    monkeypatch.setattr(
        depthwise,
        "weight_gradient",
        lambda *arguments: calls.append(1) or weight_gradient(*arguments),
    )
    return calls


def gradients(convolve, layer, x):
    """The result, and the gradients of the input, the weights and the bias."""
    x = x.detach().requires_grad_()
    out = convolve(x)
    layer.zero_grad()
    (out.float() * noise(*out.shape, seed=2)).sum().backward()
    parameters = [each.grad for each in layer.parameters()]
    return [out.detach(), x.grad, *parameters]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("stride", "padding"), [(1, 2), (2, 0), (2, 2)])
def test_results_and_gradients_are_torchs(stride, padding, bias, calls) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(24, 24, 5, stride, padding, groups=24, bias=bias)
    x = noise(2, 24, 17, 22, layout=torch.channels_last)
    ours = gradients(lambda x: depthwise_convolution(layer, x), layer, x)
    assert calls == [1]
    for mine, torchs in zip(ours, gradients(layer, layer, x), strict=True):
        torch.testing.assert_close(mine, torchs, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("stride", [1, 2])
def test_under_autocast_everything_is_within_the_rounding_of_bfloat16(stride, calls) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(24, 24, 5, stride, 2, groups=24)
    x = noise(2, 24, 17, 22, layout=torch.channels_last)
    exact = gradients(layer, layer, x)
    with torch.autocast("cpu", torch.bfloat16):
        ours = gradients(lambda x: depthwise_convolution(layer, x), layer, x)
    assert calls == [1]
    assert ours[0].dtype == torch.bfloat16
    for mine, right in zip(ours, exact, strict=True):
        assert (mine.float() - right).norm() <= 0.01 * right.norm()


def test_the_threads_do_not_change_a_bit() -> None:
    x, gradient = noise(2, 37, 17, 22), noise(2, 37, 17, 22, seed=1)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results.append(weight_gradient(x, gradient, 5, 1, 2))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.Conv2d(8, 8, 5, padding=2, groups=8).requires_grad_(False),
        nn.Conv2d(8, 8, 5, padding=2, groups=8, dtype=torch.float64),
    ],
    ids=["3x3", "frozen", "float64"],
)
def test_the_others_are_left_to_torch(layer, calls) -> None:
    x = noise(1, 8, 9, 9, dtype=layer.weight.dtype).requires_grad_()
    depthwise_convolution(layer, x).sum().backward()
    assert not calls
    assert x.grad is not None


def test_depthwise_layers_of_a_network_become_ours(calls) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(8, 8, 5, padding=2, groups=8),
        nn.Conv2d(8, 8, 5, 2, 2, groups=8, bias=False),
        # the rest stays: not depthwise, two outputs a channel, dilated, not square, reflected
        nn.Conv2d(8, 8, 3, groups=2),
        nn.Conv2d(8, 16, 3, groups=8),
        nn.Conv2d(16, 16, 3, padding=2, dilation=2, groups=16),
        nn.Conv2d(16, 16, (5, 3), groups=16),
        nn.Conv2d(16, 16, 3, 1, padding="same", groups=16),
        nn.Conv2d(16, 16, 5, padding=2, groups=16, padding_mode="reflect"),
    )
    x = noise(2, 8, 27, 26)
    before = gradients(network, network, x)
    assert calls == []
    speed_up(network)
    assert [isinstance(each, DepthwiseConv2d) for each in network] == [True] * 2 + [False] * 6
    for mine, torchs in zip(gradients(network, network, x), before, strict=True):
        torch.testing.assert_close(mine, torchs, rtol=1e-4, atol=1e-4)
    assert calls == [1, 1]
