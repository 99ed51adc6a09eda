"""The checkpoint of a run: its weights file, and the training state from which it is resumed.

Weights files predict true deltas: the normalisation of the targets is folded into bbox_pred. The
training state keeps that layer as it is trained.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checkpoints.torch_file import read_torch_file
from ..checkpoints.weights import WeightsHeader, save_weights
from ..errors import ConfigError, DataError, FrcnnError, reason
from ..runtime.files import write_atomically
from ..runtime.paths import WEIGHTS_FILE
from .learner import Learner

STATE_FILE = "state.pt"
# key -> what it must be; files may come from anybody
STATE_TYPES: dict[str, Callable[[Any], bool]] = {
    "iteration": lambda value: type(value) is int and value >= 0,
    "validated": lambda value: type(value) is int and value >= 0,
    "best": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "images": lambda value: isinstance(value, str),
    "classes": lambda value: isinstance(value, list) and all(isinstance(n, str) for n in value),
    "pixels": lambda value: len(value) == 2 and all(map(_is_colour, value)),
    "provenance": lambda value: isinstance(value, dict) and "init" in value,
    "ranks": lambda value: isinstance(value, dict) and all(type(n) is int for n in value.values()),
    "deltas": lambda value: isinstance(value, Tensor) and value.dtype == torch.float32,
    "model": lambda value: (
        isinstance(value, dict) and all(isinstance(tensor, Tensor) for tensor in value.values())
    ),
    "optimizer": lambda value: value.keys() >= {"state", "param_groups"},
}
_KEPT = {  # what torch's optimisers keep of a parameter, by the name of the setting
    "sgd": {"momentum_buffer"},
    "adamw": {"step", "exp_avg", "exp_avg_sq"},
}
RESUME_HINT = "start again without --resume"


def checkpoint_header(learner: Learner, **history: object) -> WeightsHeader:
    """The header for the learner's weights as they are now.

    Args:
        history: more entries for the header's provenance.
    """
    provenance = {
        **learner.header.provenance,
        "iterations": learner.iteration,
        "settings": asdict(learner.config),
        **history,
    }
    return replace(learner.header, provenance=provenance)


def save_checkpoint(folder: Path, learner: Learner, *, validated: int, best: float) -> None:
    """Write the weights, then the training state, each of them atomically.

    A run that is killed between the two is resumed from the earlier state. Of several processes the
    first one writes; all of them check the weights.

    Args:
        validated: the iteration of the last validation. best: its highest mean average precision.
    Raises:
        FrcnnError: the weights are not finite, or cannot be written.
    """
    network, header = learner.network, learner.header
    if not all(parameter.isfinite().all() for parameter in network.parameters()):
        raise FrcnnError(
            f"the weights are not finite after iteration {learner.iteration}",
            "try a smaller --lr; an earlier checkpoint in the run's folder is intact",
        )
    if not learner.world.first:
        return
    deltas = learner.batches.statistics.deltas
    with learner.saved_form():
        save_weights(folder / WEIGHTS_FILE, network, checkpoint_header(learner))
    state = {
        "iteration": learner.iteration,
        "validated": validated,
        "best": best,
        "images": learner.batches.digest,
        "classes": list(header.classes),
        "pixels": [header.pixels.mean, header.pixels.std],
        "provenance": header.provenance,
        "ranks": header.ranks,
        "geometry": header.geometry,
        "deltas": torch.from_numpy(np.stack([deltas.mean, deltas.std])),
        "model": network.state_dict(),
        "optimizer": learner.optimizer.state_dict(),
        "average": {} if learner.average is None else learner.average.state(),
    }
    write_atomically(folder / STATE_FILE, lambda part: torch.save(state, part), durable=True)


def read_state(folder: Path) -> dict[str, Any]:
    """Read the training state in a run's folder; nothing in it is executed.

    Raises:
        DataError: there is no training state, or it is damaged.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        raise DataError(f"no training state {path}", RESUME_HINT)
    try:
        state = read_torch_file(path)
    except Exception as error:  # of many types
        raise DataError(f"{path} cannot be resumed: {reason(error)}", RESUME_HINT) from None
    if not isinstance(state, dict) or not state.keys() >= STATE_TYPES.keys():
        raise DataError(f"{path} is not a training state", RESUME_HINT)
    for key, is_right in STATE_TYPES.items():
        if not _holds(is_right, state[key]):
            raise DataError(f"{path} is damaged: `{key}` is something else", RESUME_HINT)
    return state


def _is_colour(value: Any) -> bool:
    """Whether a value is one number for each of red, green and blue."""
    return len(value) == 3 and all(isinstance(each, int | float) for each in value)


def _holds(is_right: Callable[[Any], bool], value: Any) -> bool:
    try:
        return is_right(value)
    except (TypeError, AttributeError, KeyError):  # of a value of quite another type
        return False


def restore(learner: Learner, state: dict[str, Any]) -> None:
    """Put the network, the optimiser and the iteration of a training state into a learner.

    Raises:
        DataError: the state is of other images, classes, proposals or of another network.
        ConfigError: the run has done more iterations than `config.iterations`, or has another
            optimiser.
    """
    if state["iteration"] > learner.config.iterations:
        raise ConfigError(
            f"the run has done {state['iteration']:,} iterations already",
            "give --iterations a larger number, or leave it out",
        )
    deltas = learner.batches.statistics.deltas
    same_targets = np.array_equal(state["deltas"].numpy(), np.stack([deltas.mean, deltas.std]))
    same_images = state["images"] == learner.batches.digest
    same_classes = state["classes"] == list(learner.header.classes)
    if not (same_images and same_classes and same_targets):
        raise DataError(
            "the data set or its proposals have changed since the run began", RESUME_HINT
        )
    try:
        if not all(tensor.is_floating_point() for tensor in state["model"].values()):
            raise TypeError("a weight is no fraction")
        learner.network.load_state_dict(state["model"])
        kept = {name for each in state["optimizer"]["state"].values() for name in each}
        if kept and kept != _KEPT[learner.config.optimizer]:
            raise ConfigError(
                f"the run has another optimizer than {learner.config.optimizer}",
                "leave out --optimizer",
            )
        _restore_optimizer(learner.optimizer, state["optimizer"])
        if learner.average is not None:
            learner.average.restore(state.get("average") or {})
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        message = f"the state is of another network: {reason(error)}"
        raise DataError(message, RESUME_HINT) from None
    learner.iteration = state["iteration"]


def _restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Put what an optimiser kept of each parameter into another one, whose settings stay.

    Raises:
        ValueError: it cannot have kept this. Other exceptions of torch.
    """
    own = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, settings in zip(optimizer.param_groups, own, strict=True):
        group.update(settings)
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            if not isinstance(value, Tensor) or value.shape not in (parameter.shape, ()):
                raise ValueError(f"{name} has not the shape of its parameter")
            if not torch.isfinite(value).all():
                raise ValueError(f"{name} is not finite")
