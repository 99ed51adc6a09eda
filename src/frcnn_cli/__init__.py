"""Fast R-CNN: propose, train, compress, detect and evaluate.

From Python:

    from frcnn_cli import Detector
    found = Detector.load()("photo.jpg")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import DetectConfig
    from .inference.detector import Detector
    from .inference.result import Result

__all__ = ["DetectConfig", "Detector", "Result"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import what is asked for and no more: the engine takes two seconds."""
    if name == "Detector":
        from .inference.detector import Detector

        return Detector
    if name == "Result":
        from .inference.result import Result

        return Result
    if name == "DetectConfig":
        from .config import DetectConfig

        return DetectConfig
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
