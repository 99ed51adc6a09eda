import pytest
import torch
from torch.nn import functional as F

from frcnn_cli.models.efficientnet import Convolution
from frcnn_cli.ops import fused_conv
from frcnn_cli.ops.conv import Conv2d

DTYPES = [
    torch.float32,
    pytest.param(
        torch.bfloat16,
        marks=pytest.mark.skipif(
            not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="no bfloat16 here"
        ),
    ),
]
ACTIVATIONS = {"relu": torch.relu, "relu6": F.relu6}


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)  # in a single one, torch convolves with 1×1 kernels without oneDNN
    yield
    torch.set_num_threads(before)


def maps(channels, height, width, dtype=torch.float32, images=1):
    generator = torch.Generator().manual_seed(height)
    x = 8 * torch.randn(images, channels, height, width, generator=generator)
    return x.to(dtype).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("kernel", "groups", "stride"), [(1, 1, 1), (3, 24, 1), (5, 1, 2)])
def test_the_same_as_two_operations(dtype, activation, kernel, groups, stride):
    layer = torch.nn.Conv2d(24, 48, kernel, stride, kernel // 2, groups=groups).to(dtype)
    with torch.no_grad():
        for x in (maps(24, 37, 30, dtype), maps(24, 1, 1, dtype, images=2)):
            assert fused_conv.can_fuse(x, layer.weight)
            fused = fused_conv.convolve(
                x, layer.weight, layer.bias, activation,
                stride=layer.stride, padding=layer.padding, groups=groups,
            )  # fmt: skip
            assert torch.equal(fused, ACTIVATIONS[activation](layer(x)))
            assert fused.max() > 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("size", [(8, 9), (9, 8), (7, 7), (10, 10), (2, 1)])
def test_tensorflows_padding_without_padded_maps(dtype, kernel, size):
    layer = Convolution(16, 16, kernel, 2, groups=16, relu6=True).to(dtype)
    x = maps(16, *size, dtype)
    with torch.no_grad():
        fused = layer(x)
    height, width = size
    after = kernel // 2
    padded = F.pad(x, (after - 1 + width % 2, after, after - 1 + height % 2, after))
    expected = F.relu6(F.conv2d(padded, layer.weight, layer.bias, 2, groups=16))
    assert torch.equal(fused, expected)
    assert torch.equal(layer(x), expected)  # with a gradient


def test_a_convolution_with_relu_is_fused_in_detection_alone(monkeypatch):
    layer, x = Conv2d(8, 8, 1), maps(8, 50, 60)
    calls = []
    convolve = fused_conv.convolve

    def counted(*args, **kwargs):
        calls.append(args)
        return convolve(*args, **kwargs)

    monkeypatch.setattr(fused_conv, "convolve", counted)
    expected = layer(x).relu()
    assert layer(x, relu=True).requires_grad
    assert not calls
    with torch.inference_mode():
        assert torch.equal(layer(x, relu=True), expected)
    assert len(calls) == 1


def test_what_is_not_fused():
    layer, x = torch.nn.Conv2d(8, 8, 1), maps(8, 5, 6)
    assert not fused_conv.can_fuse(x, layer.weight)  # needs a gradient
    with torch.no_grad():
        assert not fused_conv.can_fuse(x.contiguous(), layer.weight)
        assert not fused_conv.can_fuse(x[:0], layer.weight)
        assert not fused_conv.can_fuse(x.double(), layer.weight.double())
        assert not fused_conv.can_fuse(x.double(), layer.weight)
        with torch.autocast("cpu", torch.bfloat16):
            assert not fused_conv.can_fuse(x, layer.weight)
