"""How many processes can make batches in the shared memory that the machine has.

The processes hand over batches in /dev/shm. Where it is full, which happens in containers (Docker
gives them 64 MB), a batch is lost without an error, and training would wait for it for ever.
"""

from __future__ import annotations

import math
import shutil
import warnings
from pathlib import Path

from ..config import TrainConfig
from ..errors import Notice

FOLDER = Path("/dev/shm")
_BATCHES_PER_WORKER = 3  # two that wait, and one that is handed over


def affordable_workers(config: TrainConfig, workers: int) -> int:
    """The number of processes, up to `workers`, whose batches fit into the shared memory."""
    # the largest batch: RGB of a byte each, both landscape and portrait
    side = math.ceil(config.max_size / config.pad_to) * config.pad_to
    batch = config.images_per_batch * 3 * side**2
    try:
        free = shutil.disk_usage(FOLDER).free
    except OSError:  # there is none
        free = 0
    most = min(workers, free // (_BATCHES_PER_WORKER * batch), _file_limit() // batch * workers)
    if most < workers:
        warnings.warn(
            f"{FOLDER} has {free / 1e6:.0f} MB free, too little for {workers} processes that make "
            f"batches: {most or 'none'} will, maybe slower (docker run --shm-size gives more)",
            Notice,
            stacklevel=2,
        )
    return most


def _file_limit() -> int:
    """The largest file that this process may write, in bytes."""
    import resource  # not on Windows, where no processes make batches

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return 2**62 if limit == resource.RLIM_INFINITY else limit
