"""Fully connected layers of low rank (Fast R-CNN, section 3.1).

W (u×v) is approximated by P_t W, where P_t = U_t U_t^T projects on t orthonormal directions of the
output; one layer of u·v weights becomes two of t·(u + v), U_t^T W and U_t.

- The left singular vectors of W give the truncated SVD of the paper, U_t Σ_t V_t^T: the best
  approximation of the weights.
- The principal components of the layer's outputs on real inputs give the best approximation of the
  outputs, the minimum of E‖W x − W' x‖² over all W' of rank t. Whitening x by its second moment
  C = L L^T and truncating the SVD of W L leads to the same projection, since the left singular
  vectors of W L are the eigenvectors of W C W^T = E[(W x)(W x)^T]. So the u×u moments of the
  outputs are enough, however many inputs there are, and C may be singular. The mean of W x goes
  into the bias, at no cost.

The directions are the eigenvectors of a u×u matrix: of W W^T, or of the covariance of W x.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import WeightsError

# Weight of W W^T that is added to the covariance: it orders the directions without any variance.
SHRINKAGE = 1e-3


@dataclass(frozen=True)
class Basis:
    """Orthonormal directions of a layer's output, the most important first; m = min(u, v).

    The vectors and the mean are on the device of the layer.
    """

    vectors: Tensor  # [u, m], float64, columns
    energy: Tensor  # [m], on the CPU, the squared error that leaving out each direction adds
    mean: Tensor  # [u], the mean of W x; zeros where only the weights are known


class OutputMoments:
    """Running mean and second moment of W x, in memory that does not grow with the number of x."""

    def __init__(self, outputs: int, device: torch.device) -> None:
        self.count = 0
        self._sum = torch.zeros(outputs, dtype=torch.float64, device=device)
        self._second = torch.zeros((outputs, outputs), dtype=torch.float64, device=device)

    def add(self, y: Tensor) -> None:
        """Add outputs W x of N inputs, [N, u], without the bias."""
        self.count += len(y)
        self._sum += y.sum(dim=0, dtype=torch.float64)
        self._second += (y.T @ y).double()

    @property
    def mean(self) -> Tensor:
        """E[W x], [u]."""
        return self._sum / max(self.count, 1)

    def about(self, centre: Tensor) -> Tensor:
        """E[(W x − centre)(W x − centre)^T], [u, u]."""
        shift = torch.outer(self.mean, centre)
        second = self._second / max(self.count, 1)
        return second - shift - shift.T + torch.outer(centre, centre)


def break_even_rank(layer: nn.Linear) -> float:
    """The rank at which the two layers have as many weights as the full one, u·v / (u + v)."""
    u, v = layer.weight.shape
    return u * v / (u + v)


def singular_basis(layer: nn.Linear) -> Basis:
    """The left singular vectors of the weights, with the squared singular values.

    Raises:
        WeightsError: a weight is not finite.
    """
    gram = _gram(layer)
    return _principal(layer, gram, torch.zeros_like(gram[0]))


def output_basis(layer: nn.Linear, moments: OutputMoments) -> Basis:
    """The principal components of the layer's outputs, with the variance along each.

    Raises:
        WeightsError: a weight, or a moment of the outputs, is not finite.
    """
    gram = _gram(layer)
    covariance = moments.about(moments.mean)
    weight = SHRINKAGE * covariance.trace() / gram.trace().clamp(min=1e-300)
    return _principal(layer, covariance + weight * gram, moments.mean)


def _gram(layer: nn.Linear) -> Tensor:
    weight = layer.weight.detach().double()
    if not weight.isfinite().all():
        raise WeightsError("a weight is NaN or infinite", "these weights are damaged: train again")
    return weight @ weight.T


def _principal(layer: nn.Linear, moment: Tensor, mean: Tensor) -> Basis:
    if not moment.isfinite().all():
        raise WeightsError(
            "the outputs of a layer are too large for float32", "these weights are damaged"
        )
    energy, vectors = torch.linalg.eigh(moment)  # ascending
    full = min(layer.weight.shape)
    return Basis(vectors.flip(1)[:, :full], energy.flip(0)[:full].clamp(min=0).cpu(), mean)


def low_rank_layer(inputs: int, outputs: int, rank: int) -> nn.Sequential:
    """A layer for U_t^T W, without a bias, followed by one for U_t; their weights are to be set.

    Args:
        inputs: v. outputs: u. rank: t.
    """
    return nn.Sequential(nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs))


def random_pair(layer: nn.Linear, rank: int) -> nn.Sequential:
    """A pair with random weights, to train in the place of a layer that is followed by a ReLU.

    The pair keeps the scale of its input, as He's initialisation of a single layer does.
    """
    pair = low_rank_layer(layer.in_features, layer.out_features, rank)
    first, second, bias = pair.parameters()
    nn.init.kaiming_normal_(first, nonlinearity="linear")
    nn.init.kaiming_normal_(second, nonlinearity="relu")
    nn.init.zeros_(bias)
    return pair


def truncate(layer: nn.Linear, basis: Basis, rank: int) -> nn.Sequential:
    """The pair for a layer whose outputs are projected on the first directions of a basis.

    Args:
        layer: u×v weights and a bias. rank: t in 1..min(u, v).
    Raises:
        WeightsError: the rank is out of range.
    """
    weight, bias = layer.weight.detach().double(), layer.bias.detach().double()
    directions = _first_directions(layer, basis, rank)
    return _pair(directions.T @ weight, directions, bias + _residual(basis.mean, directions))


def truncate_outputs(layer: nn.Linear, basis: Basis, rank: int) -> nn.Sequential:
    """The pair that projects outputs W x + b of a layer on the first directions of a basis.

    It is `truncate` with W x + b as the input instead of x, and so replaces a u×u layer.

    Args:
        layer, basis, rank: see `truncate`.
    Raises:
        WeightsError: the rank is out of range.
    """
    directions = _first_directions(layer, basis, rank)
    centre = basis.mean + layer.bias.detach().double()
    return _pair(directions.T, directions, _residual(centre, directions))


def onto_inputs(layer: nn.Linear, pair: nn.Sequential) -> nn.Sequential:
    """Combine a layer with a pair from `truncate_outputs`, into one pair that takes x as the input.

    Args:
        layer: u×v weights and a bias. pair: takes the layer's outputs W x + b.
    """
    weight, bias = layer.weight.detach().double(), layer.bias.detach().double()
    first, second, offset = (parameter.detach().double() for parameter in pair.parameters())
    return _pair(first @ weight, second, offset + second @ (first @ bias))


def _first_directions(layer: nn.Linear, basis: Basis, rank: int) -> Tensor:
    """The first directions of a basis, [u, t]."""
    outputs, inputs = layer.weight.shape
    full = min(outputs, inputs)
    if not 1 <= rank <= full:
        raise WeightsError(
            f"rank {rank} is out of range for a {outputs}×{inputs} layer", f"expected 1 to {full}"
        )
    return basis.vectors[:, :rank]


def _residual(vector: Tensor, directions: Tensor) -> Tensor:
    """The part of a vector [u] that is orthogonal to the directions [u, t]."""
    return vector - directions @ (directions.T @ vector)


@torch.no_grad()
def _pair(first: Tensor, second: Tensor, bias: Tensor) -> nn.Sequential:
    pair = low_rank_layer(first.shape[1], len(second), len(first)).to(first.device)
    pair.load_state_dict({"0.weight": first, "1.weight": second, "1.bias": bias})
    return pair
