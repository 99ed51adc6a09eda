from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image
from typer.main import get_command

from commands import failure, run
from frcnn_cli.cli.app import app

COMMANDS = get_command(app).commands["data"].commands  # type: ignore[attr-defined]
TRAIN = "train --iterations 4 --backbone tiny --scales 100 --max-size 160 --rois-per-batch 16"


@pytest.fixture
def folder(voc_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set whose `test` does not repeat `val`."""
    monkeypatch.chdir(voc_folder.parent)
    (voc_folder / "ImageSets" / "Main" / "test.txt").unlink()
    return voc_folder


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    assert run("data", name, "--help").exit_code == 0
    example = re.search(r"Example: frcnn data (\w+)(.*)", COMMANDS[name].help)
    assert example is not None
    assert example[1] == name
    flags = {flag for option in COMMANDS[name].params for flag in option.opts}
    assert all(word in flags for word in shlex.split(example[2]) if word.startswith("-"))


def test_a_sound_data_set(folder: Path) -> None:
    result = run("data check", folder)
    assert result.exit_code == 0, result.output
    assert f"read {folder} as VOC" in result.stderr
    assert "voc:voc train: 4 images of 140×100 to 160×120 pixels, 4 objects" in result.stdout
    assert "voc:voc val: 4 images" in result.stdout
    assert re.search(r"ball +│ +\d+ │ +\d+ │", result.stdout)
    assert "nothing that training would suffer from" in result.stdout
    picture = Path("runs/data/voc-voc-train.jpg")
    assert f"sample annotations: {picture}" in result.stdout
    with Image.open(picture) as opened:
        assert (opened.format, opened.size) == ("JPEG", (4 * 408 + 8, 308 + 8))


def test_what_training_would_suffer_from_is_an_error(folder: Path) -> None:
    (folder / "JPEGImages" / "000001.jpg").write_text("<html>")
    shutil.copy(folder / "JPEGImages" / "000004.jpg", folder / "JPEGImages" / "000007.jpg")
    result = run("data check", folder, "--picture a.jpg --json")
    line = failure(result)
    assert "training would suffer: train: 1 of 4 images cannot be read" in line
    answer = json.loads(result.stdout)
    assert len(answer["problems"]) == 2
    assert "1 of the 4 images of val are in train too" in answer["problems"][1]
    assert answer["splits"][0]["flaws"]["damaged"] == 1
    assert sum(answer["splits"][1]["objects"].values()) == 8
    assert Path(answer["picture"]) == Path("a.jpg")
    assert Path("a.jpg").exists()


def test_one_split_and_a_picture_that_is_an_image(folder: Path) -> None:
    assert "train:" not in run("data check", folder, "--split val").stdout
    image = folder / "JPEGImages" / "000001.jpg"
    before = image.read_bytes()
    assert "is one of the images" in failure(run("data check", folder, f"--picture {image}"))
    assert image.read_bytes() == before
    assert "is one of the images" in failure(
        run("data check", folder, f"--overwrite --picture {image}")
    )


def test_images_that_are_links_in_circles_are_told(folder: Path) -> None:
    image = folder / "JPEGImages" / "000001.jpg"
    image.unlink()
    image.symlink_to(image.name)
    result = run("data check", folder)
    assert isinstance(result.exception, SystemExit)
    assert "1 of 4 images cannot be read" in result.output.replace("\n", " ")
    shown = run("propose", folder / "JPEGImages" / "000002.jpg", image, "--show shown")
    assert "000001.jpg" in failure(shown)


def test_a_picture_replaces_no_file_that_was_there(folder: Path) -> None:
    Path("mine.jpg").write_text("mine")
    assert "mine.jpg exists already" in failure(run("data check", folder, "--picture mine.jpg"))
    assert Path("mine.jpg").read_text() == "mine"
    run("data check", folder, "--overwrite --picture mine.jpg")
    assert Path("mine.jpg").read_bytes() != b"mine"
    for _ in range(2):  # files in runs/ are our own
        assert run("data check", folder).exit_code == 0


def test_a_picture_that_cannot_be_written_hides_no_findings(folder: Path) -> None:
    Path("runs").write_text("a file where the folder would be")
    result = run("data check", folder)
    assert result.exit_code == 0, result.output
    assert "nothing that training would suffer from" in result.stdout
    assert "sample annotations" not in result.stdout
    note = "no picture of sample annotations (--picture FILE): cannot write runs/data/"
    assert note in result.stderr
    assert json.loads(run("data check", folder, "--json").stdout)["picture"] is None
    named = run("data check", folder, "--picture runs/a.jpg")
    assert "cannot write runs/a.jpg" in failure(named)
    assert "nothing that training would suffer from" in named.stdout


def test_a_dry_run_shows_the_same_facts(init: Path, folder: Path) -> None:
    result = run(TRAIN, f"--init {init} --eval-every 2 --split train --dry-run", folder)
    assert result.exit_code == 0, result.output
    assert "voc:voc train: 4 images of 140×100 to 160×120 pixels" in result.stderr
    assert "voc:voc val: 4 images" in result.stderr
    assert not Path("runs").exists()


@pytest.mark.parametrize("command", ["train", "propose", "eval"])
def test_skip_damaged_goes_on_without_them(
    weights: Path, init: Path, folder: Path, command: str
) -> None:
    for name in ("000002", "000004"):
        path = folder / "JPEGImages" / f"{name}.jpg"
        path.write_bytes(path.read_bytes()[:800])
    line = {
        "train": f"{TRAIN} --init {init} --split val --dry-run",
        "propose": "propose --proposals dense --split val",
        "eval": f"eval --split val --weights {weights}",
    }[command].split(" ", 1)
    line = f"{line[0]} {folder} {line[1]}"
    refused = run(line)
    assert "2 of 4 images cannot be read" in failure(refused)
    assert "--skip-damaged" in refused.stderr
    result = run(line, "--skip-damaged")
    assert result.exit_code == 0, result.output
    assert "left out 2 of 4 images that cannot be read" in result.stderr
    assert all(f"{name}.jpg is damaged" in result.stderr for name in ("000002", "000004"))
