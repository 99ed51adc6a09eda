from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import FrozenBatchNorm2d

from frcnn_cli.errors import ConfigError
from frcnn_cli.models.folding import FixedNorm, FrozenNorm, fold_norms, fold_state


class NormWithActivation(nn.BatchNorm2d):
    """As timm's BatchNormAct2d: what follows the norm is a part of it."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.drop = nn.Identity()
        self.act = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.drop(super().forward(x)))


class Standardised(nn.Conv2d):
    """Computes its weights anew in every pass, so no norm can be folded into it."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class Twice(nn.Module):
    """Runs a part twice: the whole, its convolution or its norm."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self.part = part
        self.conv = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        if self.part == "output":
            between = self.conv(x)
            return self.norm(between) + between
        x = self.norm(self.conv(x))
        return self.norm(x) if self.part == "norm" else self.norm(self.conv(x))


MODELS = {  # name -> how to build it, and the convolution of each norm
    "usual": (lambda: nn.Sequential(nn.Conv2d(3, 5, 3, bias=False), nn.BatchNorm2d(5)), ["0"]),
    "with a bias": (lambda: nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5, 1e-2)), ["0"]),
    "grouped": (lambda: nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6)), ["0"]),
    "two": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(inplace=True),
            nn.Conv2d(5, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
        ),
        ["0", "3"],
    ),
    "torchvision's frozen": (
        lambda: nn.Sequential(nn.Conv2d(3, 5, 3), FrozenBatchNorm2d(5)), ["0"],
    ),
    "with an activation": (
        lambda: nn.Sequential(nn.Conv2d(3, 5, 3, bias=False), NormWithActivation(5)), ["0"],
    ),
    "without gain": (
        lambda: nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5, affine=False)), ["0"],
    ),
    "after an activation": (
        lambda: nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), NormWithActivation(5)), [None],
    ),
    "first": (lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 5, 3)), [None]),
    "of vectors": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 48, 5), nn.BatchNorm1d(5)), [None],
    ),
    "standardised weights": (
        lambda: nn.Sequential(Standardised(3, 5, 3), nn.BatchNorm2d(5)), [None],
    ),
    "output used twice": (lambda: Twice("output"), [None]),
    "norm used twice": (lambda: Twice("norm"), [None]),
    "convolution used twice": (lambda: Twice("convolution"), [None]),
}  # fmt: skip


def with_random_statistics(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(4)
    for module in model.modules():
        if hasattr(module, "running_mean"):
            for tensor, least, most in (
                (module.running_mean, -0.5, 0.5), (module.running_var, 0.2, 3.0),
                (module.weight, 0.3, 2.0), (module.bias, -1.0, 1.0),
            ):  # fmt: skip
                if tensor is not None:
                    tensor.detach().uniform_(least, most, generator=generator)
    return model.eval()


@pytest.mark.parametrize("name", MODELS)
def test_a_folded_model_computes_what_it_did(name: str) -> None:
    build, convolutions = MODELS[name]
    torch.manual_seed(1)
    model = with_random_statistics(build())
    images = torch.randn(2, 3, 6, 8)
    with torch.no_grad():
        expected = model(images)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    norms = fold_norms(model, torch.zeros(2, 3, 6, 8))
    assert [norm.convolution for norm in norms] == convolutions
    frozen = sum(isinstance(module, FrozenNorm) for module in model.modules())
    assert frozen == convolutions.count(None)
    model.train()  # the statistics stay fixed
    with torch.no_grad():
        torch.testing.assert_close(model(images), expected)
    assert fold_state(before, norms).keys() == model.state_dict().keys()


def test_a_state_that_is_folded_later_is_the_folded_model() -> None:
    build, _ = MODELS["two"]
    other, model = with_random_statistics(build()), build()
    norms = fold_norms(model, torch.zeros(1, 3, 6, 8))
    model.load_state_dict(fold_state(other.state_dict(), norms))
    images = torch.randn(1, 3, 6, 8)
    with torch.no_grad():
        torch.testing.assert_close(model(images), other(images))


@pytest.mark.parametrize(
    "change",
    [
        {"1.running_var": None},
        {"1.weight": torch.ones(4)},
        {"1.running_mean": torch.zeros(1, 5)},
        {"0.weight": torch.ones(5, 3)},
        {"0.weight": None},
    ],
    ids=str,
)
def test_weights_of_an_unfit_norm_are_missing(change: dict) -> None:
    state: dict = {**nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)).state_dict(), **change}
    state = {key: tensor for key, tensor in state.items() if tensor is not None}
    assert fold_state(state, [FixedNorm("1", 1e-5, "0")]) == {}


def test_a_norm_without_statistics_is_refused() -> None:
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5, track_running_stats=False))
    with pytest.raises(ConfigError, match="norm 1 has no fixed statistics"):
        fold_norms(model, torch.zeros(1, 3, 6, 8))
