import numpy as np
import pytest
import torch
from torch import nn

from frcnn_cli.errors import WeightsError
from frcnn_cli.models.low_rank import break_even_rank, low_rank_layer, truncate


def random_layer(inputs, outputs, seed=0):
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(outputs, inputs, generator=generator) / inputs**0.5)
        layer.bias.copy_(torch.randn(outputs, generator=generator))
    return layer


def product(pair):
    return (pair[1].weight.double() @ pair[0].weight.double()).detach().numpy()


@pytest.mark.parametrize(("inputs", "outputs"), [(30, 20), (20, 30), (25, 25), (7, 1), (1, 7)])
def test_full_rank_is_the_same_layer(inputs, outputs):
    layer = random_layer(inputs, outputs)
    pair = truncate(layer, min(inputs, outputs))
    x = torch.randn(16, inputs, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(pair(x), layer(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rank", [1, 2, 7, 15, 19, 20])
@pytest.mark.parametrize(("inputs", "outputs"), [(30, 20), (20, 30)])
def test_the_error_is_that_of_eckart_and_young(inputs, outputs, rank):
    layer = random_layer(inputs, outputs)
    weight = layer.weight.detach().double().numpy()
    tail = np.linalg.svd(weight, compute_uv=False)[rank:]
    error = weight - product(truncate(layer, rank))
    assert np.linalg.norm(error) == pytest.approx(np.sqrt((tail**2).sum()), rel=1e-4, abs=1e-4)
    assert np.linalg.norm(error, 2) == pytest.approx(max(tail, default=0), rel=1e-4, abs=1e-4)


def test_a_matrix_of_low_rank_loses_nothing():
    layer = random_layer(40, 30)
    with torch.no_grad():
        layer.weight.copy_(random_layer(3, 30).weight @ random_layer(40, 3, seed=1).weight)
    np.testing.assert_allclose(product(truncate(layer, 3)), layer.weight.detach(), atol=1e-4)


def test_the_shape_of_the_pair():
    layer = random_layer(30, 20)
    first, second = truncate(layer, 4)
    assert first.weight.shape == (4, 30)
    assert first.bias is None
    assert second.weight.shape == (20, 4)
    assert torch.equal(second.bias, layer.bias)
    shapes = [tuple(p.shape) for p in low_rank_layer(30, 20, 4).parameters()]
    assert shapes == [(4, 30), (20, 4), (20,)]


def test_sigma_is_in_the_first_layer():
    layer = random_layer(30, 20)
    first, second = truncate(layer, 5)
    second_weight = second.weight.detach().double()
    torch.testing.assert_close(
        second_weight.T @ second_weight, torch.eye(5, dtype=torch.float64), rtol=0, atol=1e-5
    )
    expected = np.linalg.svd(layer.weight.detach().double().numpy(), compute_uv=False)[:5]
    np.testing.assert_allclose(first.weight.detach().double().norm(dim=1), expected, rtol=1e-5)


def test_the_layer_is_not_changed_and_the_pair_can_learn():
    layer = random_layer(6, 5)
    before = layer.weight.detach().clone()
    pair = truncate(layer, 2)
    assert all(parameter.requires_grad for parameter in pair.parameters())
    with torch.no_grad():
        pair[1].bias.add_(1)
    assert torch.equal(layer.weight, before)
    assert not torch.equal(layer.bias, pair[1].bias)


@pytest.mark.parametrize("rank", [-1, 0, 21, 30])
def test_a_rank_out_of_range_is_an_error(rank):
    with pytest.raises(WeightsError, match=rf"rank {rank} is out of range") as caught:
        truncate(random_layer(30, 20), rank)
    assert caught.value.hint == "1..20"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_an_error(value):
    layer = random_layer(6, 5)
    with torch.no_grad():
        layer.weight[2, 3] = value
    with pytest.raises(WeightsError, match="NaN or infinite"):
        truncate(layer, 2)


def test_break_even_rank():
    assert break_even_rank(nn.Linear(25088, 4096, device="meta")) == pytest.approx(3521.1228)
    assert break_even_rank(nn.Linear(10, 10)) == 5


def test_weights_at_the_break_even_rank():
    layer = nn.Linear(60, 30)
    rank = break_even_rank(layer)
    assert rank == 20
    pair = low_rank_layer(60, 30, int(rank))
    assert sum(part.weight.numel() for part in pair) == layer.weight.numel()
