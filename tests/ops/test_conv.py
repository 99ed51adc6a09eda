from __future__ import annotations

import pytest
import torch
from torch import nn

from frcnn_cli.ops import conv
from frcnn_cli.ops.conv import Conv2d, MaxPool2d

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def noise(*shape, layout=torch.contiguous_format, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).contiguous(memory_format=layout)


@pytest.fixture
def winograd_calls(monkeypatch):
    """One item for each call of NNPACK, which takes small maps too in these tests."""
    monkeypatch.setattr(conv, "_MIN_CELLS", 0)
    calls, before = [], torch._nnpack_spatial_convolution
    monkeypatch.setattr(
        torch,
        "_nnpack_spatial_convolution",
        lambda *arguments: calls.append(1) or before(*arguments),
    )
    return calls


@pytest.mark.skipif(not torch.backends.nnpack.is_available(), reason="needs NNPACK")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 3), (1, 6, 6), (1, 37, 50), (2, 13, 9)])
@pytest.mark.parametrize("bias", [True, False])
def test_winograd_is_the_convolution(layout, shape, bias, winograd_calls) -> None:
    torch.manual_seed(0)
    layer = Conv2d(64, 128, 3, padding=1, bias=bias).to(memory_format=layout)
    x = noise(shape[0], 64, *shape[1:], layout=layout)
    exact = nn.functional.conv2d(
        x.double(), layer.weight.double(), layer.bias.double() if bias else None, padding=1
    )
    with torch.inference_mode():
        result = layer(x)
    assert winograd_calls
    torch.testing.assert_close(result.double(), exact, rtol=0, atol=1e-4)


@pytest.mark.skipif(not torch.backends.nnpack.is_available(), reason="needs NNPACK")
def test_the_first_two_layers_of_vgg16(winograd_calls) -> None:
    """The first gives contiguous maps; so the second is Winograd's though it has 64 outputs."""
    torch.manual_seed(0)
    first, second = (
        Conv2d(inputs, 64, 3, padding=1).to(memory_format=torch.channels_last) for inputs in (3, 64)
    )
    x = noise(1, 3, 20, 30, layout=torch.channels_last)
    with torch.inference_mode():
        maps = first(x)
        assert maps.is_contiguous()
        torch.testing.assert_close(maps, nn.Conv2d.forward(first, x), rtol=1e-4, atol=1e-5)
        assert not winograd_calls
        result = second(maps)
        assert len(winograd_calls) == 1
        torch.testing.assert_close(result, nn.Conv2d.forward(second, maps), rtol=1e-3, atol=1e-4)
        second(maps.to(memory_format=torch.channels_last))
        assert len(winograd_calls) == 1


@pytest.mark.parametrize(
    "layer",
    [
        Conv2d(63, 128, 3, padding=1),
        Conv2d(64, 63, 3, padding=1),
        Conv2d(64, 127, 3, padding=1).to(memory_format=torch.channels_last),
        Conv2d(64, 128, 3),
        Conv2d(64, 128, 3, padding=1, stride=2),
        Conv2d(64, 128, 5, padding=1),
        Conv2d(64, 128, 3, padding=1, groups=2),
        Conv2d(64, 128, 3, padding=1, dtype=torch.float64),
        Conv2d(64, 128, 3, padding=1, dtype=torch.bfloat16),
    ],
)
def test_other_convolutions_are_left_to_torch(layer, winograd_calls) -> None:
    x = noise(1, layer.in_channels, 9, 11).to(layer.weight.dtype)
    if layer.weight.is_contiguous(memory_format=torch.channels_last):
        x = x.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        result = layer(x)
        plain = layer._conv_forward(x, layer.weight, layer.bias)
    assert not winograd_calls
    assert torch.equal(result, plain)


@pytest.mark.skipif(not torch.backends.nnpack.is_available(), reason="needs NNPACK")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 13, 9), (1, 20, 30)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cells", [0, 10_000])
def test_gradients_of_winograd_are_those_of_the_convolution(
    layout, shape, bias, cells, winograd_calls, monkeypatch
) -> None:
    monkeypatch.setattr(conv, "_MIN_CELLS_WEIGHT_GRADIENT", cells)
    torch.manual_seed(0)
    layer = Conv2d(64, 128, 3, padding=1, bias=bias).to(memory_format=layout)
    exact = nn.Conv2d(64, 128, 3, padding=1, bias=bias).double()
    exact.load_state_dict(layer.state_dict())
    x = noise(shape[0], 64, *shape[1:], layout=layout)
    weight = noise(shape[0], 128, *shape[1:], layout=layout, seed=1)
    gradients = []
    for convolution, dtype in ((exact, torch.float64), (layer, torch.float32)):
        leaf = x.to(dtype).requires_grad_()
        (convolution(leaf) * weight.to(dtype)).sum().backward()
        gradients.append([leaf.grad, *(p.grad for p in convolution.parameters())])
    assert len(winograd_calls) == 2 * shape[0]
    for expected, got in zip(*gradients, strict=True):
        scale = expected.abs().max()
        torch.testing.assert_close(got.double() / scale, expected / scale, rtol=0, atol=1e-4)


@pytest.mark.skipif(not torch.backends.nnpack.is_available(), reason="needs NNPACK")
def test_small_maps_are_left_to_torch(winograd_calls, monkeypatch) -> None:
    monkeypatch.setattr(conv, "_MIN_CELLS", 12)
    layer = Conv2d(64, 128, 3, padding=1)
    for shape, calls in (((2, 64, 1, 11), 0), ((2, 64, 3, 4), 2)):
        x = noise(*shape).requires_grad_()
        result = layer(x)
        assert len(winograd_calls) == calls
        result.sum().backward()
        assert len(winograd_calls) == 2 * calls
        plain = nn.Conv2d.forward(layer, x)
        torch.testing.assert_close(result, plain, rtol=0, atol=1e-4)
        (expected,) = torch.autograd.grad(plain.sum(), x)
        torch.testing.assert_close(x.grad, expected, rtol=0, atol=1e-4)
        winograd_calls.clear()


def test_gradients_that_are_not_needed_are_not_computed(winograd_calls) -> None:
    layer = Conv2d(64, 128, 3, padding=1)
    x = noise(1, 64, 5, 5)
    layer(x).sum().backward()
    assert x.grad is None
    assert len(winograd_calls) == 1
    layer.requires_grad_(False)
    assert not layer(x).requires_grad


def test_evaluation_with_gradients_is_left_to_torch(winograd_calls) -> None:
    layer = Conv2d(64, 128, 3, padding=1).eval()
    layer(noise(1, 64, 5, 5)).sum().backward()
    with torch.no_grad():
        layer(noise(1, 64, 5, 5))
    assert not winograd_calls
    assert layer.weight.grad is not None


def test_without_nnpack(monkeypatch, winograd_calls) -> None:
    monkeypatch.setattr(conv, "_nnpack", lambda: False)
    layer = Conv2d(64, 128, 3, padding=1)
    with torch.inference_mode():
        assert layer(noise(1, 64, 5, 5)).shape == (1, 128, 5, 5)
    assert not winograd_calls


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [(4, 4), (5, 4), (4, 5), (7, 9), (36, 50)])
@pytest.mark.parametrize(
    "arguments", [(2, 2), (2, 2, 0, 1, False, True), (3, 2), (2, 1), (2, 2, 1), (2, 2, 0, 1)]
)
def test_max_pooling_gives_the_same(layout, size, arguments) -> None:
    x = noise(2, 5, *size, layout=layout)
    expected = nn.MaxPool2d(*arguments)(x)
    with torch.inference_mode():
        assert torch.equal(MaxPool2d(*arguments)(x), expected)
    assert torch.equal(MaxPool2d(*arguments)(x), expected)  # in training, below the trained layers
    gradients = []
    for layer in (MaxPool2d(*arguments), nn.MaxPool2d(*arguments)):
        leaf = x.clone().requires_grad_()
        pooled = layer(leaf)
        assert torch.equal(pooled, expected)
        pooled.square().sum().backward()
        gradients.append(leaf.grad)
    assert torch.equal(*gradients)


@pytest.mark.parametrize("channels", [3, 64])
@pytest.mark.parametrize("relu", [False, True])
def test_no_images_give_no_maps(channels: int, relu: bool) -> None:
    """As of R-CNN in an image without proposals."""
    layer = Conv2d(channels, 128, 3, padding=1).eval()
    with torch.inference_mode():
        assert layer(torch.zeros(0, channels, 40, 50), relu).shape == (0, 128, 40, 50)
