"""An exponential moving average of the weights during training.

Averages of the weights of many iterations are less noisy than the last ones (Polyak and Juditsky,
"Acceleration of stochastic approximation by averaging", 1992). Training itself is not changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The average of the parameters of a network that are trained.

    In the first iterations the decay is lower, (1 + n) / (10 + n) after n updates, so that the
    initial weights do not count for long.

    Args:
        decay: weight of the old average, 0..1.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        named = {name: each for name, each in network.named_parameters() if each.requires_grad}
        self._names = list(named)
        self._parameters: list[Tensor] = list(named.values())
        self._averages = [each.detach().clone() for each in self._parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Add the parameters as they are now."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self._averages, self._parameters, 1 - decay)
        self.updates += 1

    @contextmanager
    def in_network(self) -> Iterator[None]:
        """A context in which the network has the averages; then it has the same bits as before."""
        own = [each.detach().clone() for each in self._parameters]
        self._write(self._averages)
        try:
            yield
        finally:
            self._write(own)

    @torch.no_grad()
    def _write(self, tensors: Sequence[Tensor]) -> None:
        for parameter, tensor in zip(self._parameters, tensors, strict=True):
            parameter.copy_(tensor)

    def state(self) -> dict[str, Tensor]:
        """The averages by the name of the parameter, and the number of updates."""
        averages = dict(zip(self._names, self._averages, strict=True))
        return {**averages, "updates": torch.tensor(self.updates)}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` returned.

        Raises:
            KeyError, RuntimeError: it is of another network.
        """
        for name, average in zip(self._names, self._averages, strict=True):
            if state[name].shape != average.shape:
                raise RuntimeError(f"{name} has another shape")
            average.copy_(state[name])
        self.updates = int(state["updates"])
