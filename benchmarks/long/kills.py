"""Kill every command at random moments: nothing is lost or done twice, and the bits are the same.

    python benchmarks/long/kills.py --kills 1000

Each round starts a command, kills it with SIGKILL at a random moment, starts it again, and so on
for a few kills; then it lets the command end. What it leaves is compared with the files of a run
that nobody disturbed. After every kill, each file that has its final name must be whole. Commands
run in processes that are forked from this one, in which everything is imported already, so that a
kill costs a fraction of a second. On one thread; Linux and macOS.

The data are drawn, and the network is tiny. The rows: `propose` with eight processes that share a
cache, of which one is killed; `train` in float32 and in bfloat16, each with validations, and with
cached features; `compress`; `eval` into a log that is continued; and `detect`.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

import torch

from frcnn_cli.cli.app import app
from frcnn_cli.compression import cost
from frcnn_cli.proposers.cache import ProposalSource
from synthetic import write_voc
from tiny import NAME, add_tiny_backbone

WRITERS = 8
KILLS_PER_ROUND = 5
MADE = "made.txt"  # the names of the cache entries that were made, each in a line
CACHE = Path("home/proposals")
TRAIN = (
    f"train voc --data voc --split train --eval-split val --backbone {NAME} --init tiny.pth "
    "--iterations 12 --rois-per-batch 16 --scales 100 --max-size 160 --eval-every 3 --eval-limit 2 "
    "--device cpu --jobs 1 --quiet --name run"
)
RUN = Path("runs/train/run")
COMPRESS = "compress -w w.safetensors --rank 4 --calibrate voc/JPEGImages --out c.safetensors"
EVAL = "eval voc --data voc --split val -w w.safetensors --save d.jsonl --quiet --jobs 1"
DETECT = "detect more/JPEGImages -w w.safetensors --out out --format csv,coco,yolo,voc --overwrite"
TIMES = ("images_per_second", "waited", "seconds")  # columns of metrics.csv that no run repeats


class Row(NamedTuple):
    """A command, and how it is started again after a kill."""

    command: Callable[[], str]
    results: Callable[[], dict[str, bytes]]  # final name -> what must be the same
    writers: int = 1
    grows: bool = False  # a file of results may be the beginning of the whole one


def files(*patterns: str) -> Callable[[], dict[str, bytes]]:
    """The files of these patterns, except for unfinished ones."""

    def read() -> dict[str, bytes]:
        found = {path for pattern in patterns for path in Path().glob(pattern) if path.is_file()}
        return {str(p): p.read_bytes() for p in sorted(found) if not p.name.endswith(".part")}

    return read


def training() -> dict[str, bytes]:
    """The weights and validations of the run, and its metrics without times."""
    found = files(str(RUN / "*.safetensors"), str(RUN / "validation.csv"))()
    if (RUN / "metrics.csv").exists():
        with (RUN / "metrics.csv").open(newline="") as file:
            rows = [
                {k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)
            ]
        found["metrics"] = repr(rows).encode()
    return found


def compressed() -> dict[str, bytes]:
    """The tensors of the compressed weights, whose header tells measured times too."""
    path = Path("c.safetensors")
    if not path.exists():
        return {}
    return {name: tensor.numpy().tobytes() for name, tensor in load_file(path).items()}


def train_again(options: str) -> Callable[[], str]:
    """Begin a run; or resume it, if it has a checkpoint."""

    def command() -> str:
        if (RUN / "state.pt").exists():
            return f"train --resume {RUN} --quiet"
        shutil.rmtree(RUN, ignore_errors=True)
        return TRAIN + options

    return command


ROWS = {
    "propose, 8 processes": Row(
        lambda: "propose more/JPEGImages --quiet --jobs 1", files(f"{CACHE}/*/**/*"), WRITERS
    ),
    "train, float32": Row(train_again(" --precision fp32"), training),
    "train, bfloat16": Row(train_again(" --precision bf16"), training),
    "train, cached features": Row(
        train_again(" --precision fp32 --cache-features --train-from fc6"), training
    ),
    "compress": Row(lambda: f"{COMPRESS} --overwrite --quiet --jobs 1", compressed),
    "eval": Row(lambda: EVAL, files("d.jsonl"), grows=True),
    "detect": Row(lambda: f"{DETECT} --quiet", files("out/**/*")),
}


def start(command: str) -> int:
    """Fork a process that runs a command; returns its number."""
    process = os.fork()
    if process:
        return process
    status = 70
    with contextlib.suppress(BaseException):
        nowhere = os.open(os.devnull, os.O_RDWR)
        errors = os.open("errors.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for number, file in ((0, nowhere), (1, nowhere), (2, errors)):
            os.dup2(file, number)
        try:
            app(command.split())
        except SystemExit as stop:
            status = int(stop.code or 0)
    os._exit(status)


def here(command: str) -> None:
    """Run a command in this process."""
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        try:
            app(command.split())
        except SystemExit as stop:
            if stop.code:
                raise


def wait(process: int) -> int:
    """Wait for the end of a process; returns its exit status, -9 for a killed one."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def finish(processes: list[int]) -> None:
    """Wait for processes, each of which must succeed."""
    for process in processes:
        status = wait(process)
        if status:
            raise SystemExit(f"status {status}: {Path('errors.txt').read_text()[-2000:]}")


def check_whole(row: Row, whole: dict[str, bytes], at_end: bool) -> None:
    """Compare the results that there are with those of the undisturbed run."""
    found = row.results()
    if at_end and found.keys() != whole.keys():
        raise SystemExit(f"lost or made twice: {sorted(found.keys() ^ whole.keys())}")
    for name, content in found.items():
        expected = whole.get(name)
        if row.results is training and not at_end:
            continue  # of an earlier iteration; what matters is how the run ends
        begun = row.grows and not at_end and expected is not None and expected.startswith(content)
        if content != expected and not begun:
            raise SystemExit(f"{name} is not what an undisturbed run writes")


def one_round(row: Row, whole: dict[str, bytes], rng: random.Random, seconds: float) -> Counter:
    """Kill a command a few times, and let it end.

    Args:
        seconds: that the undisturbed command takes.
    Returns:
        The number of kills, and of processes that had ended already.
    """
    counts: Counter[str] = Counter()
    running = [start(row.command()) for _ in range(row.writers)]
    while running and counts["kills"] < KILLS_PER_ROUND:
        time.sleep(rng.uniform(0, seconds))
        for process in [each for each in running if has_ended(each)]:
            counts["late"] += 1
            running.remove(process)
        if not running:
            break
        killed = rng.choice(running)
        os.kill(killed, signal.SIGKILL)
        if wait(killed) == -signal.SIGKILL:
            counts["kills"] += 1
        running.remove(killed)
        if row.writers == 1:
            check_whole(row, whole, at_end=False)
        running.append(start(row.command()))
    finish(running)
    return counts


def has_ended(process: int) -> bool:
    """Whether a process has ended; it must have succeeded."""
    ended, status = os.waitpid(process, os.WNOHANG)
    if ended and status:
        raise SystemExit(f"it failed: {Path('errors.txt').read_text()[-2000:]}")
    return bool(ended)


def clean() -> None:
    """Remove what the commands make, except for the cache."""
    for path in map(Path, ("runs", "out", "c.safetensors", "d.jsonl", MADE)):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def made_twice() -> int:
    """How many cache entries were made again, though they were there."""
    names = Path(MADE).read_text().split() if Path(MADE).exists() else []
    return len(names) - len(set(names))


def measure(name: str, kills: int, rng: random.Random) -> None:
    """Kill one command so many times, and print what came of it."""
    row, counts, begun = ROWS[name], Counter[str](), time.monotonic()
    is_propose = row.writers > 1

    def prepare() -> None:
        clean()
        if is_propose:
            shutil.rmtree(CACHE, ignore_errors=True)

    prepare()
    first = time.monotonic()
    finish([start(row.command()) for _ in range(row.writers)])
    seconds, whole = time.monotonic() - first, row.results()
    assert whole
    while counts["kills"] < kills:
        prepare()
        counts += one_round(row, whole, rng, seconds / (2 * KILLS_PER_ROUND if is_propose else 1))
        check_whole(row, whole, at_end=True)
        counts["rounds"] += 1
        if again := made_twice():
            raise SystemExit(f"{again} entries were made twice")
    print(
        f"{name:24} {counts['kills']:5} kills in {counts['rounds']} rounds, {counts['late']} late; "
        f"{len(whole)} results the same; {time.monotonic() - begun:.0f} s",
        flush=True,
    )


def prepare_data() -> None:
    """The data set, the weights and the functions that every command uses."""
    patch = pytest.MonkeyPatch()
    os.environ |= {"FRCNN_HOME": str(Path("home").absolute())}
    os.environ.pop("FRCNN_DATA", None)
    write_voc(Path("voc"), count=12, seed=7)
    write_voc(Path("more"), count=40, seed=8)
    add_tiny_backbone(patch, Path())
    torch.set_num_threads(1)
    # which is measured in a new process, that would not know the tiny backbone
    patch.setattr(cost, "measure_weights", lambda path, device: cost.measure_here(path, device, 1))
    store = ProposalSource.store

    def noted(self: ProposalSource, content: bytes, proposals: object) -> None:
        store(self, content, proposals)  # type: ignore[arg-type]
        with Path(MADE).open("a") as log:
            log.write(self.path(content).name + "\n")

    patch.setattr(ProposalSource, "store", noted)
    # here, so that the processes that are forked find everything imported and compiled
    here(TRAIN.replace("--name run", "--name first --precision fp32 --cache-features"))
    shutil.copy("runs/train/first/last.safetensors", "w.safetensors")
    for command in (COMPRESS, EVAL, DETECT, "propose voc/JPEGImages"):
        here(f"{command} --quiet")


def main() -> None:
    """Parse the arguments, and measure every row."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=140, help="of all rows together")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    rng = random.Random(options.seed)
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        prepare_data()
        for name in ROWS:
            measure(name, -(-options.kills // len(ROWS)), rng)
        os.chdir(before)


if __name__ == "__main__":
    main()
