"""Runs readers on mutated files, in a process with limits on memory and time.

    python harness.py COUNT SEED

Prints JSON: for each reader, how many cases were read and refused, the longest time of a case in
seconds, and the most memory in bytes that a case took beyond what the process had before it.
Anything else than a value or a FrcnnError ends it with the traceback, and the file that caused it
is kept.
"""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from seeds import READERS

from frcnn_cli.errors import FrcnnError

MEMORY = 2**30  # bytes beyond what the process has at its start
SECONDS = 10  # for a case


def mutated(rng: np.random.Generator, seeds: list[bytes]) -> bytes:
    """A seed with some bytes changed, removed, repeated, or taken from another seed."""
    content = bytearray(seeds[rng.integers(len(seeds))])
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(len(content) + 1))
        length = int(2 ** rng.uniform(0, 7))
        kind = rng.integers(7)
        if kind == 0:
            content[at : at + length] = rng.bytes(min(length, 8))
        elif kind == 1:
            del content[at : at + length]
        elif kind == 2:
            content[at:at] = content[at : at + length] * int(rng.integers(1, 50))
        elif kind == 3:
            other = seeds[rng.integers(len(seeds))]
            place = int(rng.integers(len(other) + 1))
            content[at : at + length] = other[place : place + length]
        elif kind == 4:
            size = int(rng.choice([1, 2, 4, 8]))
            value = int(rng.choice([0, 1, 2**7, 2**15, 2**31 - 1, 2**32 - 1, 2**63 - 1]))
            content[at : at + size] = (value & (256**size - 1)).to_bytes(size, "little")
        elif kind == 5 and at < len(content):
            content[at] ^= 1 << int(rng.integers(8))
        else:
            content = content[:at] if rng.integers(4) == 0 else content
    return bytes(content)


def memory(key: str) -> int:
    """The memory of this process, VmRSS, or the most since `forget_peak`, VmHWM; in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024


def forget_peak() -> None:
    """Let VmHWM begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


def run(name: str, count: int, seed: int) -> dict[str, object]:
    """Read `count` mutated files with a reader, and measure."""
    read: Callable[[Path], object] = READERS[name].read
    rng = np.random.default_rng([seed, len(name)])
    seeds, counts, longest, most = READERS[name].seeds(), {"read": 0, "refused": 0}, 0.0, 0
    path = Path(tempfile.mkdtemp()) / READERS[name].file
    for content in seeds:  # what is imported at the first use is no part of a case
        path.write_bytes(content)
        with contextlib.suppress(FrcnnError):
            read(path)
    pages = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (pages + MEMORY, resource.RLIM_INFINITY))
    for _ in range(count):
        path.write_bytes(mutated(rng, seeds))
        forget_peak()
        before = memory("VmRSS")
        signal.alarm(SECONDS)  # ends the process
        begun = time.monotonic()
        try:
            read(path)
            counts["read"] += 1
        except FrcnnError as error:
            counts["refused"] += 1
            if "\n" in error.message:
                raise ValueError(f"more than one line: {error.message}") from None
        longest = max(longest, time.monotonic() - begun)
        signal.alarm(0)
        most = max(most, memory("VmHWM") - before)
    path.unlink()
    return {**counts, "longest": round(longest, 3), "bytes": most}


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # Pillow's, about damaged files
    cases, random_seed = int(sys.argv[1]), int(sys.argv[2])
    results = {}
    for reader in READERS:
        try:
            results[reader] = run(reader, cases, random_seed)
        except BaseException:
            print(f"{reader}: the file is in {tempfile.gettempdir()}", file=sys.stderr)
            raise
    print(json.dumps(results))
