"""Compiles the make-believe CUDA runtime, and runs `cases.py` with it in a process of its own.

python tests/fake_cuda/launch.py [CASE ...]

prints what was asked of the device, by place in the code.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PATIENCE = 600  # seconds; it takes less than 30


def missing() -> str | None:
    """Why this machine cannot run it; None if it can."""
    if sys.platform != "linux":
        return "needs Linux, where a library can be preloaded"
    if shutil.which("cc") is None:
        return "needs a C compiler, cc"
    if torch.version.cuda is None:
        return "this torch is a build without CUDA"
    return None


def build(folder: Path) -> None:
    """Compile the runtime, and give it the names under which torch looks for CUDA's."""
    runtime = folder / "libcudart.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-pthread", "-o", runtime, HERE / "shim.c"]
    subprocess.run(command, check=True)
    shutil.copy(runtime, folder / "libcuda.so.1")


def launch(*names: str) -> dict[str, Any]:
    """Run the cases of these names, or all of them; see `cases.main` for the report.

    Raises:
        SubprocessError: the process did not come to its end; what it wrote is on stderr.
    """
    with TemporaryDirectory() as name:
        folder, report = Path(name), Path(name) / "report.json"
        build(folder)
        environment = {
            **os.environ,
            "LD_PRELOAD": str(folder / "libcudart.so"),
            "LD_LIBRARY_PATH": str(folder),
            "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), str(ROOT / "src")]),
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "fake_cuda.cases", str(report), *names]
        subprocess.run(command, env=environment, check=True, timeout=PATIENCE)
        return json.loads(report.read_text())


if __name__ == "__main__":
    print(json.dumps(launch(*sys.argv[1:]), indent=1))
