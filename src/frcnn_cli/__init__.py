"""Fast R-CNN: propose regions, train, compress, detect and evaluate.

From Python, on a photograph:

    from frcnn_cli import Detector
    result = Detector.load()("photo.jpg")

The commands `data check`, `propose`, `train`, `compress` and `eval` are functions too:
`check_data`, `propose`, `train`, `compress` and `evaluate`. docs/api.md has an example of each.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .compression.compress import compress
    from .config import CompressConfig, DetectConfig, TrainConfig, TrainRuntimeConfig
    from .data.check_data import check_data
    from .data.registry import open_dataset, open_splits
    from .evaluation.evaluate import evaluate
    from .inference.detector import Detector
    from .inference.result import Result
    from .proposers.propose import propose
    from .recipes import recipe
    from .training.initialisation import Initialisation
    from .training.train import train

__version__ = "0.1.0"

# Public name -> its module, which is imported when the name is used: torch takes seconds.
_MODULES = {
    "CompressConfig": "config",
    "DetectConfig": "config",
    "Detector": "inference.detector",
    "Initialisation": "training.initialisation",
    "Result": "inference.result",
    "TrainConfig": "config",
    "TrainRuntimeConfig": "config",
    "check_data": "data.check_data",
    "compress": "compression.compress",
    "evaluate": "evaluation.evaluate",
    "open_dataset": "data.registry",
    "open_splits": "data.registry",
    "propose": "proposers.propose",
    "recipe": "recipes",
    "train": "training.train",
}
__all__ = [
    "CompressConfig",
    "DetectConfig",
    "Detector",
    "Initialisation",
    "Result",
    "TrainConfig",
    "TrainRuntimeConfig",
    "check_data",
    "compress",
    "evaluate",
    "open_dataset",
    "open_splits",
    "propose",
    "recipe",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    """The public names, for completion in a notebook."""
    return [*__all__, "__version__"]
