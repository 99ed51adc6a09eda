import numpy as np
import pytest
import torch
from torch import nn

from frcnn_cli.errors import WeightsError
from frcnn_cli.models.low_rank import (
    OutputMoments,
    break_even_rank,
    low_rank_layer,
    onto_inputs,
    output_basis,
    random_pair,
    singular_basis,
    truncate_outputs,
)
from frcnn_cli.models.low_rank import truncate as truncate_by
from reference import whitened_low_rank


def random_layer(inputs, outputs, seed=0):
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(outputs, inputs, generator=generator) / inputs**0.5)
        layer.bias.copy_(torch.randn(outputs, generator=generator))
    return layer


def truncate(layer, rank):
    return truncate_by(layer, singular_basis(layer), rank)


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
    assert caught.value.hint == "expected 1 to 20"


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


def inputs_of(kind, count, width, seed=5):
    """Inputs of a layer: correlated and never negative as behind a ReLU, or worse."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=generator) / width
    x = (torch.randn(count, width, generator=generator) @ mixing).relu()
    if kind == "dead":  # half of the inputs are always zero: a singular second moment
        x[:, ::2] = 0
    if kind == "few":  # fewer samples than directions
        x = x[:5]
    return x


def moments_of(layer, x, parts=3):
    moments = OutputMoments(len(layer.bias), torch.device("cpu"))
    for part in x.chunk(parts):
        moments.add(part @ layer.weight.detach().T)
    return moments


@pytest.mark.parametrize(("inputs", "outputs"), [(30, 20), (20, 30)])
def test_moments_are_those_of_all_outputs_together(inputs, outputs):
    layer = random_layer(inputs, outputs)
    x = inputs_of("plain", 400, inputs)
    y = (x @ layer.weight.detach().T).double()
    moments = moments_of(layer, x, parts=7)
    assert moments.count == 400
    torch.testing.assert_close(moments.mean, y.mean(0), rtol=1e-6, atol=1e-8)
    expected = torch.cov(y.T, correction=0)
    torch.testing.assert_close(moments.about(moments.mean), expected, rtol=1e-4, atol=1e-6)
    second = y.T @ y / len(y)
    torch.testing.assert_close(
        moments.about(torch.zeros(outputs, dtype=torch.float64)), second, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("kind", ["plain", "dead", "few"])
@pytest.mark.parametrize("rank", [1, 4, 11, 19])
@pytest.mark.parametrize(("inputs", "outputs"), [(30, 20), (20, 30)])
def test_as_good_as_whitening_the_inputs(inputs, outputs, rank, kind):
    """With centred inputs, so that the mean gives no advantage over the textbook's way."""
    layer = random_layer(inputs, outputs)
    x = inputs_of(kind, 300, inputs)
    x = x - x.mean(0)
    ours = product(truncate_by(layer, output_basis(layer, moments_of(layer, x)), rank))
    weight = layer.weight.detach().double().numpy()
    theirs = whitened_low_rank(weight, x.double().numpy(), rank)

    def error(approximation):
        return np.linalg.norm((weight - approximation) @ x.double().numpy().T)

    scale = np.linalg.norm(weight @ x.double().numpy().T)
    assert error(ours) <= error(theirs) + 2e-3 * scale


@pytest.mark.parametrize("rank", [1, 5, 12, 20])
@pytest.mark.parametrize("kind", ["singular", "outputs"])
def test_truncating_the_outputs_is_truncating_the_layer(rank, kind):
    layer, x = random_layer(30, 20), inputs_of("plain", 200, 30)
    basis = singular_basis(layer)
    if kind == "outputs":
        basis = output_basis(layer, moments_of(layer, x))
    pair = truncate_outputs(layer, basis, rank)
    assert [tuple(p.shape) for p in pair.parameters()] == [(rank, 20), (20, rank), (20,)]
    expected = truncate_by(layer, basis, rank)(x)
    torch.testing.assert_close(pair(layer(x)), expected, rtol=1e-4, atol=1e-5)
    with torch.no_grad():  # also after training
        pair[0].weight.add_(0.3)
        pair[1].bias.sub_(1)
    torch.testing.assert_close(onto_inputs(layer, pair)(x), pair(layer(x)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("inputs", "outputs"), [(64, 48), (40, 56)])
def test_the_error_on_other_inputs_is_below_that_of_the_singular_vectors(inputs, outputs):
    layer = random_layer(inputs, outputs)
    x = inputs_of("plain", 4000, inputs)
    bases = output_basis(layer, moments_of(layer, x[:2000])), singular_basis(layer)
    held_out = x[2000:]
    exact = layer(held_out)
    for rank in range(1, min(inputs, outputs)):
        aware, plain = (
            (truncate_by(layer, basis, rank)(held_out) - exact).norm().item() for basis in bases
        )
        assert aware < plain


def test_the_mean_of_the_outputs_costs_no_rank():
    layer = random_layer(30, 20)
    x = 0.01 * inputs_of("plain", 200, 30) + 5
    pair = truncate_by(layer, output_basis(layer, moments_of(layer, x)), 1)
    torch.testing.assert_close(pair(x).mean(0), layer(x).mean(0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_damaged_weights_have_no_output_basis(value):
    layer = random_layer(6, 5)
    moments = moments_of(layer, inputs_of("plain", 20, 6))
    with torch.no_grad():
        layer.weight[2, 3] = value
    with pytest.raises(WeightsError, match="NaN or infinite"):
        output_basis(layer, moments)


def test_a_random_pair_keeps_the_scale_of_its_input() -> None:
    torch.manual_seed(0)
    x = torch.randn(256, 400)
    layer = nn.Linear(400, 300)
    pair = random_pair(layer, 40)
    assert [tuple(each.weight.shape) for each in pair] == [(40, 400), (300, 40)]
    assert pair(x).relu().square().mean().item() == pytest.approx(1, rel=0.2)


def test_directions_without_variance_are_ordered_by_the_weights() -> None:
    layer = random_layer(12, 9)
    line = inputs_of("plain", 1, 12) * torch.linspace(-1, 1, 50)[:, None]
    pair = truncate_by(layer, output_basis(layer, moments_of(layer, line)), 4)
    weight = layer.weight.detach().double().numpy()
    tail = np.linalg.svd(weight, compute_uv=False)[3:]  # one direction is the line's
    assert np.square(weight - product(pair)).sum() <= 1.001 * np.square(tail).sum()
