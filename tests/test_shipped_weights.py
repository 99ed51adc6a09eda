"""The card names each file of weights, the wheel takes the right ones, the recipe is as written."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from frcnn_cli.checkpoints.weights import read_header
from frcnn_cli.runtime.paths import DEFAULT_WEIGHTS

ROOT = Path(__file__).parent.parent
CARD = (ROOT / "weights" / "README.md").read_text(encoding="utf-8")
SHIPPED = sorted((ROOT / "weights").glob("*.safetensors"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_card_has_name_and_checksum(path: Path) -> None:
    (row,) = [line for line in CARD.splitlines() if f"`{path.name}`" in line and "|" in line]
    assert hashlib.sha256(path.read_bytes()).hexdigest() in row


def test_wheel_takes_those_trained_on_trainval() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    taken = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert set(taken) == {
        f"weights/{path.name}" for path in SHIPPED if path.stem.endswith("-voc07")
    }
    assert f"weights/{DEFAULT_WEIGHTS}.safetensors" in taken


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_options_of_the_recipe_reach_the_command() -> None:
    """A comma in what `$(call` is given would end the argument, and drop the options after it."""
    command = ["make", "-nB", "weights", "weights-val"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    options = r"--scales \S+ --max-size \d+"
    written = set(re.findall(options, (ROOT / "Makefile").read_text(encoding="utf-8")))
    assert written == set(re.findall(options, printed))
    assert written


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_headers_say_what_the_recipe_writes(path: Path) -> None:
    command = ["make", "-nB", "weights", "weights-val"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    exports = re.findall(rf"weights export \S+ --out \S+/{path.name}(.*)", printed)
    options = dict(re.findall(r"--([a-z-]+) (\S+)", exports[0]))
    header = read_header(path)
    calibration = header.calibration
    numbers = () if calibration is None else (calibration.slope, calibration.offset)
    assert options.get("views", "") == ",".join(map(str, header.views))
    assert options.get("calibration", "") == ",".join(map(str, numbers))
