"""A method of proposing regions: a function, and the settings that its result depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..structures import Proposals


@dataclass(frozen=True)
class Method:
    """A method of proposing regions. It can be pickled if its function can."""

    name: str
    propose: Callable[[NDArray[np.uint8]], Proposals]  # of an [H, W, 3] RGB image
    settings: dict[str, object]  # everything that changes the result; as JSON part of the digest

    @property
    def digest(self) -> str:
        """The name and a hash of the settings; the name of the method's folder in the cache."""
        text = json.dumps([self.name, self.settings], sort_keys=True)
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
