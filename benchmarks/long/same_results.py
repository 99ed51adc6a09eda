"""Show that a change of the code's structure left every result the same, bit for bit.

    python benchmarks/long/same_results.py write before.json     # with the code as it was
    python benchmarks/long/same_results.py check before.json     # with the code as it is now

Only commands of `frcnn` are run, in float32, each in a process of its own, on VOC2007 in the
folder that FRCNN_DATA names; ImageNet weights come from --init. What is compared: proposals of 50
images, detections of both shipped weights files on 100 images of `val`, the figures of a report,
the weights after 20 iterations of two recipes on one thread, and the weights and ranks that
compression makes of them, plain and calibrated. About nine minutes on two cores.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from safetensors.numpy import load_file

SHIPPED = ("squeezenet1_1-voc07", "vgg16-voc07")
TRAIN = [
    *("train", "voc2007", "--split", "train", "--limit", 60, "--iterations", 20),
    *("--scales", "300,400", "--max-size", 700, "--precision", "fp32"),
    *("--device", "cpu", "--jobs", 1, "--quiet", "--init"),
]


def digest(content: bytes) -> str:
    """A short name for these bytes."""
    return hashlib.sha256(content).hexdigest()[:16]


def frcnn(*arguments: object, threads: int = 1) -> str:
    """Run a command of the toolkit and return what it printed."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "frcnn_cli", *map(str, arguments)]
    return subprocess.run(
        command, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def tensors(path: Path) -> dict[str, str]:
    """The type, shape and bits of every tensor in a weights file."""
    return {
        key: f"{array.dtype} {array.shape} {digest(array.tobytes())}"
        for key, array in sorted(load_file(path).items())
    }


def figures(page: str) -> list[str]:
    """The numbers in the table cells and the curves of a report."""
    cells = [re.sub(r"<[^>]*>", "", cell) for cell in re.findall(r"<td.*?</td>", page, re.DOTALL)]
    numbers = [number for cell in cells for number in re.findall(r"[\d.]+", cell)]
    curves = [digest(path.encode()) for path in re.findall(r' d="([^"]*)"', page)]
    return numbers + curves


def collect(folder: Path, init: Path) -> dict[str, object]:
    """Everything that must stay the same."""
    found: dict[str, object] = {}
    frcnn("propose", "voc2007", "--split", "val", "--limit", 50, "--quiet", threads=2)
    entries = sorted((Path(os.environ["FRCNN_HOME"]) / "proposals").glob("*/*/*.boxes"))
    found["proposals"] = {"/".join(e.parts[-3:]): digest(e.read_bytes()) for e in entries}
    for name in SHIPPED:
        log = folder / f"{name}.jsonl"
        data = ("voc2007", "--split", "val", "--limit", 100)
        frcnn("eval", *data, "-w", name, "--save", log, "--quiet", "--jobs", 2, threads=2)
        found[name] = [digest(line.encode()) for line in log.read_text().splitlines()[1:]]
        out = folder / f"report-{name}"
        answer = json.loads(
            frcnn("eval", *data, "--from", log, "--report", out, "--json", "--quiet")
        )
        found[f"figures {name}"] = [answer["map"], answer["ap"], answer["recall"]]
        found[f"report {name}"] = figures((out / "index.html").read_text(encoding="utf-8"))
    os.chdir(folder)
    for recipe in ("paper", "modern"):
        frcnn(*TRAIN, init, "--recipe", recipe, "--name", recipe)
        weights = folder / "runs" / "train" / recipe / "last.safetensors"
        found[f"trained {recipe}"] = tensors(weights)
        for kind, calibrate in (("plain", "none"), ("aware", "voc2007")):
            small = folder / f"{recipe}-{kind}.safetensors"
            options = ("--rank", "fc6=256,fc7=64", "--calibrate", calibrate, "--images", 12)
            frcnn("compress", "-w", weights, *options, "--out", small, "--quiet", "--jobs", 1)
            found[f"compressed {recipe} {kind}"] = tensors(small)
            described = json.loads(frcnn("weights", "show", small, "--json"))
            found[f"ranks {recipe} {kind}"] = described["ranks"]
    further = ("--weights", SHIPPED[0], "--recipe", "modern", "--iterations", 3)
    frcnn(*TRAIN[:-1], *further, "--name", "further")
    found["trained further"] = tensors(folder / "runs/train/further/last.safetensors")
    return found


def main() -> None:
    """Write the results to a file, or check them against it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("write", "check"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--init", type=Path, required=True, help="SqueezeNet 1.1, ImageNet")
    given = parser.parse_args()
    file, init = given.file.resolve(), given.init.resolve()
    for name in ("FRCNN_DATA",):
        os.environ[name] = str(Path(os.environ[name]).resolve())
    with tempfile.TemporaryDirectory() as home:
        os.environ["FRCNN_HOME"] = home
        found = json.loads(json.dumps(collect(Path(home), init)))
    if given.action == "write":
        file.write_text(json.dumps(found, indent=1) + "\n")
        print(f"{len(found)} groups of results in {file}")
        return
    before = json.loads(file.read_text())
    different = [key for key in before.keys() | found.keys() if before.get(key) != found.get(key)]
    for key in sorted(different):
        print(f"different: {key}")
    if different:
        raise SystemExit(1)
    print(f"the same bits in all {len(found)} groups: {', '.join(found)}")


if __name__ == "__main__":
    main()
