"""The shipped weights on photographs, and data beside the checkout where there is any."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from frcnn_cli.checkpoints.weights import load_weights
from frcnn_cli.cli.app import app
from frcnn_cli.data.voc import find_root, load_voc
from frcnn_cli.runtime.paths import DEFAULT_WEIGHTS, find_weights

SHARED = Path(__file__).parents[2] / "shared"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="no data beside the checkout")


def best_scores(*paths: Path) -> dict[str, dict[str, float]]:
    """The best score of each class that the default weights find, by photograph."""
    result = CliRunner().invoke(app, ["detect", *map(str, paths), "--json"])
    assert result.exit_code == 0, result.output
    scores: dict[str, dict[str, float]] = {}
    for each in json.loads(result.stdout):
        best = scores.setdefault(Path(each["image"]).stem, {})
        for detection in each["detections"]:
            label = detection["label"]
            best[label] = max(best.get(label, 0), detection["score"])
    return scores


def test_default_weights_are_small_and_compressed() -> None:
    path = find_weights(DEFAULT_WEIGHTS)
    assert path.stat().st_size <= 12e6
    _, header = load_weights(path)
    assert len(header.classes) == 20
    assert header.ranks == {"fc6": 128, "fc7": 128}


def test_the_cat_is_a_cat_and_the_people_are_people() -> None:
    skimage = pytest.importorskip("skimage")
    matplotlib = pytest.importorskip("matplotlib")
    photographs = Path(skimage.__file__).parent / "data"
    portrait = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    found = best_scores(photographs / "chelsea.png", photographs / "astronaut.png", portrait)
    assert max(found["chelsea"], key=lambda label: found["chelsea"][label]) == "cat"
    assert "person" in found["astronaut"]
    assert "person" in found["grace_hopper"]


@needs_shared
def test_photographs_of_the_reference_code() -> None:
    folder = SHARED / "data" / "fastrcnn_demo"
    found = best_scores(*(folder / f"{name}.jpg" for name in ("000542", "001551", "000004")))
    assert "cat" in found["000542"]
    assert "tvmonitor" in found["001551"]
    assert "car" in found["000004"]


@needs_shared
def test_voc2007_is_read_whole() -> None:
    root = find_root(SHARED / "data" / "VOCdevkit", "2007")
    dataset = load_voc(root, "voc2007", "trainval", ())
    assert len(dataset) == 5008
    assert len(dataset.classes) == 20
    difficult = [flag for each in dataset.annotations for flag in each.difficult]
    assert (len(difficult) - sum(difficult), sum(difficult)) == (12_601, 3_054)


@needs_shared
def test_training_on_a_users_own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    flags = "--recipe modern --iterations 2 --limit 4 --scales 240 --max-size 320 --json"
    data = ["--data", str(SHARED / "data" / "BCCD")]
    init = ["--init", str(SHARED / "weights" / "squeezenet1_1_imagenet.pth")]
    result = CliRunner().invoke(app, ["train", *data, *init, *flags.split()])
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert load_weights(Path(printed["weights"]))[1].classes == ("Platelets", "RBC", "WBC")


@needs_shared
@pytest.mark.slow
def test_average_precision_on_the_first_validation_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where the detections are saved
    arguments = ["eval", "voc2007", "--split", "val", "--limit", "200", "--json"]
    data = ["--data", str(SHARED / "data" / "VOCdevkit")]
    result = CliRunner().invoke(app, [*arguments, *data])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["map"] > 0.35


MEASURE = """
import sys
from pathlib import Path
from frcnn_cli.cli.app import main
try:
    main()
finally:  # what Python and torch take while they end is not of interest
    lines = Path("/proc/self/status").read_text().splitlines()
    print("peak", next(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""


def peak(photo: Path, out: Path) -> int:
    """The most memory that `frcnn detect` takes for a photograph and its drawing, in bytes."""
    command = [sys.executable, "-c", MEASURE, "detect", str(photo), "--out", str(out)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(result.stdout.split()[-1]) * 1024


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured as Linux tells it")
@pytest.mark.parametrize("name", ["photo.jpg", "photo.png"])
def test_the_memory_that_the_largest_photograph_takes(tmp_path: Path, name: str) -> None:
    """Less than 5 bytes for each of its 67 million pixels, from its file to its drawing."""
    small, large = tmp_path / "small.png", tmp_path / name
    Image.linear_gradient("L").convert("RGB").save(small)
    Image.linear_gradient("L").convert("RGB").resize((8192, 8192)).save(large)
    assert large.stat().st_size < 5e6
    beyond = peak(large, tmp_path / "out") - peak(small, tmp_path / "out")
    assert 2**26 < beyond < 5 * 2**26
    with Image.open(tmp_path / "out" / "photo.jpg") as drawing:
        assert drawing.size == (8192, 8192)
