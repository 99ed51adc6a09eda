"""Freed memory, by the page faults of a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys, torch
from frcnn_cli.runtime.device import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for step in range(4):
    before = faults()
    maps = [torch.ones(12_000_000) for _ in range(3)]  # 48 MB each
    del maps
print(faults() - before)
"""


@pytest.mark.slow  # two new processes that import torch
@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_freed_memory_is_used_again() -> None:
    counts = {}
    for mode in ("give", "keep"):
        result = subprocess.run(
            [sys.executable, "-c", SCRIPT, mode],
            capture_output=True,
            text=True,
            check=True,
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")},
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
        )
        counts[mode] = int(result.stdout)
    if counts["give"] < 500:
        pytest.skip("this system gives large pages, or another allocator is in use")
    assert counts["keep"] < 500
