from __future__ import annotations

import pytest
import torch

from frcnn_cli.ops.winograd import weight_gradient
from reference import convolution_weight_gradient

SHAPES = [
    (1, 1, 1, 1, 1),
    (1, 3, 2, 1, 9),
    (2, 5, 4, 3, 4),
    (1, 4, 5, 4, 8),
    (3, 2, 7, 5, 13),
    (2, 16, 9, 12, 17),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("threads", [1, 2])
def test_against_the_definition(shape, layout, threads) -> None:
    images, inputs, outputs, height, width = shape
    generator = torch.Generator().manual_seed(sum(shape))
    x = torch.randn((images, inputs, height, width), generator=generator)
    gradient = torch.randn((images, outputs, height, width), generator=generator)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        result = weight_gradient(x.to(memory_format=layout), gradient.to(memory_format=layout))
    finally:
        torch.set_num_threads(before)
    expected = torch.from_numpy(convolution_weight_gradient(x.numpy(), gradient.numpy()))
    scale = expected.abs().max()
    torch.testing.assert_close(result.double() / scale, expected / scale, rtol=0, atol=3e-5)


def test_without_images() -> None:
    result = weight_gradient(torch.zeros(0, 3, 8, 8), torch.zeros(0, 5, 8, 8))
    assert torch.equal(result, torch.zeros(5, 3, 3, 3))
