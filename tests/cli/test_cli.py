from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.main import get_command

from commands import failure, run
from formats import write_coco
from frcnn_cli import recipes
from frcnn_cli.checkpoints.weights import load_weights
from frcnn_cli.cli.app import app
from frcnn_cli.compression import cost as measure
from frcnn_cli.inference.detector import Detector

COMMANDS = get_command(app).commands  # type: ignore[attr-defined]
TRAIN = "train --iterations 4 --backbone tiny --scales 100 --max-size 160 --rois-per-batch 16"


@pytest.fixture(autouse=True)
def measured_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new process would not know the backbone `tiny`."""
    monkeypatch.setattr(
        measure, "measure_weights", lambda path, device: measure.measure_here(path, device, 2)
    )


def write_image(path: Path, mode: str = "RGB", size: tuple[int, int] = (60, 40)) -> Path:
    rng = np.random.default_rng(0)
    pixels = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    if mode == "I;16":
        pixels = Image.fromarray(rng.integers(0, 65536, (size[1], size[0]), dtype=np.uint16))
    else:
        pixels = pixels.convert(mode)
    pixels.save(path)
    return path


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    example = re.search(r"Example: frcnn (\w+) (.*)", COMMANDS[name].help)
    assert example is not None
    assert example[1] == name
    flags = {flag for option in COMMANDS[name].params for flag in option.opts}
    for word in shlex.split(example[2]):
        assert not word.startswith("-") or word in flags, word


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("detect ''", "an argument is empty: is a variable of the shell not set?"),
        ("detect a.jpg --out ''", "nothing follows --out: "),
        ("eval --weights=", "nothing follows --weights: "),
        ("weights show ''", "an argument is empty: "),
        ("weights export lost --views '' --calibration=", "unknown weights 'lost'"),
    ],
)
def test_empty_arguments_are_no_paths(command: str, told: str) -> None:
    result = run(command)
    assert result.exit_code == (1 if "lost" in command else 2)
    assert told in result.output


def test_help_is_quick_to_import() -> None:
    code = (
        "import sys, frcnn_cli.cli.app\n"
        "print([name for name in ('torch', 'numba', 'numpy') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_detection_imports_no_compiler() -> None:
    """torch._dynamo takes seconds; initialising weights on the meta device would import it."""
    code = (
        "import sys\n"
        "from frcnn_cli import Detector\n"
        "Detector.load()\n"
        "print([name for name in ('torch._dynamo', 'torchvision') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_version() -> None:
    assert run("--version").stdout.startswith("frcnn 0.")


def test_train_compress_detect_eval_from_the_command_line(init, voc_folder, tmp_path) -> None:
    result = run(TRAIN, f"--data {voc_folder} --init {init} --name a --json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["iterations"] == 4
    folder = tmp_path / answer["run"]
    files = {path.name for path in folder.iterdir() if "tfevents" not in path.name}
    assert files == {
        ".process", "batches.jpg", "config.toml", "environment.json", "last.safetensors",
        "losses.svg", "metrics.csv", "state.pt",
    }  # fmt: skip

    result = run(f"compress --weights {answer['weights']} --rank 8 --out c.safetensors --json")
    assert result.exit_code == 0, result.output
    costs = json.loads(result.stdout)
    assert costs["after"]["bytes"] < costs["before"]["bytes"]
    assert costs["after"]["head_flops"] < costs["before"]["head_flops"]
    assert [layer["rank"] for layer in costs["layers"]] == [8, 8, None, None]

    picture = voc_folder / "JPEGImages" / "000001.jpg"
    result = run(f"detect {picture} -w c.safetensors --score 0.05 --out found --json")
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)
    assert found["image"] == str(picture)
    assert (found["height"], found["width"]) == (120, 160)
    for each in found["detections"]:
        assert each["label"] in ("ball", "box", "tile")
        x1, y1, x2, y2 = each["box"]
        assert 0 <= x1 < x2 <= 160
        assert 0 <= y1 < y2 <= 120
    with Image.open("found/000001.jpg") as picture_with_boxes:
        assert picture_with_boxes.size == (160, 120)

    result = run(f"eval --data {voc_folder} --split val -w c.safetensors --json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["images"] == 4
    assert set(answer["ap"]) == {"ball", "box", "tile"}
    values = [value for value in answer["ap"].values() if value is not None]
    assert answer["map"] == pytest.approx(np.mean(values), abs=1e-5)
    assert answer["metric"].startswith("voc07 11-point")


def test_a_second_run_gets_a_folder_of_its_own_and_the_settings_repeat_it(
    init, voc_folder, tmp_path
) -> None:
    flags = f"--data {voc_folder} --init {init} --lr 0.02 --json"
    first = json.loads(run(TRAIN, flags).stdout)
    second = json.loads(run(f"train --json --config {first['run']}/config.toml").stdout)
    assert (first["run"], second["run"]) == ("runs/train/run", "runs/train/run-2")
    assert first["cls"] == second["cls"]
    assert tomllib.loads(Path(second["run"], "config.toml").read_text())["lr"] == 0.02
    one, two = (load_weights(Path(each["weights"]))[0].state_dict() for each in (first, second))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_resume_takes_the_settings_of_the_run(init, voc_folder) -> None:
    first = json.loads(run(TRAIN, f"--data {voc_folder} --init {init} --json").stdout)
    result = run(f"train --resume {first['run']} --iterations 6 --json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert (answer["run"], answer["iterations"]) == (first["run"], 6)
    rows = Path(first["run"], "metrics.csv").read_text().splitlines()
    assert len(rows) == 7


def test_a_stopped_propose_continues(voc_folder) -> None:
    first = json.loads(run(f"propose voc --data {voc_folder} --limit 3 --json").stdout)
    assert (first["images"], first["cached"]) == (3, 0)
    second = json.loads(run(f"propose voc --data {voc_folder} --json").stdout)
    assert (second["images"], second["cached"]) == (8, 3)
    assert "recall" not in second
    third = json.loads(run(f"propose {voc_folder}/JPEGImages --json").stdout)
    assert (third["images"], third["cached"]) == (8, 8)


@pytest.mark.parametrize("mode", ["RGB", "L", "I;16", "RGBA", "CMYK"])
def test_detect_reads_pictures_of_all_modes(weights, mode) -> None:
    suffix = "jpg" if mode == "CMYK" else "png"
    write_image(Path(f"picture.{suffix}"), mode)
    result = run(f"detect picture.{suffix} -w {weights} --json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)[0]["width"] == 60


def test_detect_reads_a_single_pixel(weights) -> None:
    write_image(Path("dot.png"), size=(1, 1))
    result = run(f"detect dot.png -w {weights} --json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)[0]["proposals"] == 1


def test_detect_prints_a_table(weights) -> None:
    write_image(Path("a.png"))
    result = run(f"detect a.png -w {weights} --score 1")
    assert result.exit_code == 0, result.output
    assert "a.png" in result.stdout
    assert "nothing found" in result.stdout


def test_one_broken_file_among_others_is_named_at_the_end(weights) -> None:
    for name in ("a", "c"):
        write_image(Path(f"{name}.png"))
    Path("b.png").write_text("not a picture")
    result = run(f"detect a.png b.png c.png -w {weights} --json")
    assert "1 of 3 images failed" in failure(result)
    assert "b.png is text, not an image" in result.stderr
    assert len(json.loads(result.stdout)) == 2


def test_pictures_of_the_same_name_do_not_overwrite_each_other(weights) -> None:
    for folder in ("x", "y"):
        Path(folder).mkdir()
        write_image(Path(folder, "same.png"))
    assert run(f"detect x/same.png y/same.png -w {weights} --out o").exit_code == 0
    assert sorted(path.name for path in Path("o").iterdir()) == ["same-2.jpg", "same.jpg"]


def test_glob_patterns_and_folders(weights) -> None:
    Path("many").mkdir()
    for name in ("a", "b"):
        write_image(Path("many", f"{name}.png"))
    Path("many", "notes.txt").write_text("no picture")
    for source in ("many", "'many/*.png'", "many/a.png many"):
        assert len(json.loads(run(f"detect {source} -w {weights} --json").stdout)) == 2


def truncated_jpeg() -> None:
    write_image(Path("cut.jpg"), size=(200, 200))
    Path("cut.jpg").write_bytes(Path("cut.jpg").read_bytes()[:3000])


@pytest.mark.parametrize(
    ("prepare", "arguments", "message"),
    [
        (None, "detect nothere.jpg -w W", "no such file or folder: nothere.jpg"),
        (
            lambda: Path("t.jpg").write_text("text"),
            "detect t.jpg -w W",
            "t.jpg is text, not an image",
        ),
        (truncated_jpeg, "detect cut.jpg -w W", "cut.jpg is damaged"),
        (lambda: Path("e").mkdir(), "detect e -w W", "no images in the folder e"),
        (None, "detect 'x*.jpg' -w W", "no files match x*.jpg"),
        (lambda: write_image(Path("a.png")), "detect a.png -w none", "unknown weights 'none'"),
        (
            lambda: write_image(Path("a.png")),
            "detect a.png -w none.safetensors",
            "no weights file none.safetensors",
        ),
        (
            lambda: (write_image(Path("a.png")), Path("x.safetensors").write_bytes(b"12345678")),
            "detect a.png -w x.safetensors",
            "x.safetensors is not a weights file",
        ),
        (None, "eval voc2077 -w W", "unknown data set or path 'voc2077'"),
        (None, "eval -w W", "no data set given"),
        (None, "eval --data nowhere -w W", "no folder nowhere"),
        (lambda: Path("d").mkdir(), "eval --data d -w W", "d is not a data set in VOC layout"),
        (None, "train --data V --backbone vgg61", "unknown backbone 'vgg61'"),
        (None, "train --data V --recipe papre", "unknown recipe 'papre'"),
        (None, "train --data V --lr 0", "--lr 0 is out of range"),
        (None, "train --data V --split nosplit", "voc has no split 'nosplit'"),
        (None, "train --data V --backbone alexnet --init I", "weights of another model"),
        (None, "train --data V --backbone tiny --init nofile", "no weights file nofile"),
        (None, "train --resume nowhere", "no run in nowhere"),
        (None, "compress --weights W --rank 500", "rank 500 is out of range"),
        (None, "compress --weights W --rank 30", "no layer would become smaller"),
        (None, "compress --weights W --rank fc8=4", "unknown layer 'fc8'"),
        (None, "compress --weights W --rank fc6=4,8", "--rank fc6=4,8 is not understood"),
        (None, "compress --weights W --rank 8.5", "--rank 8.5 is not understood"),
        (None, "compress --weights W --energy 1.5", "--energy 1.5 is out of range"),
        (None, "compress --weights W --speedup nan", "--speedup nan is out of range"),
        (None, "compress --weights W --rank 8 --params 0.2", "--rank and --params exclude"),
        (None, "compress --weights W --map-drop 0.3", "--map-drop needs a data set"),
        (None, "compress --weights W --finetune 5", "--finetune needs a data set"),
        (None, "compress --weights W --out c.txt", "c.txt is no name for weights"),
        (None, "compress -w W --rank 8 --calibrate nofolder", "no such file or folder: nofolder"),
        (None, "compress --weights W --rank fc6=8,fc6=4", "--rank fc6=8,fc6=4 is not understood"),
        (None, "compress --weights W --rank ,", "--rank , is not understood"),
        (None, "compress -w W --rank 0 --calibrate nofolder", "rank 0 is out of range"),
        (None, f"compress --weights W --rank {'9' * 5000}", "is not understood"),
        (None, "compress --weights W --split val", "--split is for the data set of --curve"),
        (None, "compress -w W --skip-damaged", "--skip-damaged is for the data set of --curve"),
        (None, "compress -w W --calibrate none --images 9", "--images is for a calibration"),
        (lambda: Path("d.safetensors").mkdir(), "compress -w W -o d.safetensors", "is no name for"),
        (None, "compress --weights squeezenet1_1-voc07", "compressed already"),
        (lambda: Path("c.toml").write_text("lrr = 1"), "train --config c.toml", "setting 'lrr'"),
        (lambda: Path("c.toml").write_text("= 1"), "train --config c.toml", "cannot read"),
        (None, "detect V/JPEGImages -w W --device cuda:77", "this machine has no device 'cuda:77'"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else None,
)
def test_bad_input_is_one_line(weights, init, voc_folder, prepare, arguments, message) -> None:
    if prepare is not None:
        prepare()
    before = set(Path().rglob("*"))
    words = arguments.replace(" W", f" {weights}").replace(" V", f" {voc_folder}")
    result = run(words.replace(" I", f" {init}"))
    assert message in failure(result)
    assert set(Path().rglob("*")) == before


def test_unknown_names_offer_the_nearest() -> None:
    assert "did you mean 'voc2007'?" in run("eval voc207").stderr


def test_weights_of_other_classes_cannot_be_evaluated(weights, voc_folder) -> None:
    for path in (voc_folder / "Annotations").glob("*.xml"):
        text = path.read_text()
        path.write_text(re.sub("<name>.*?</name>", "<name>zebra</name>", text))
    assert "none of the classes" in failure(run(f"eval --data {voc_folder} -w {weights}"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no xml", "is not XML"),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]><annotation/>", "declares entities"),
        ("<annotation><object><bndbox/></object></annotation>", "an object has no name"),
    ],
)
def test_bad_annotations(init, voc_folder, text, message) -> None:
    (voc_folder / "Annotations" / "000003.xml").write_text(text)
    line = failure(run(TRAIN, f"--data {voc_folder} --init {init}"))
    assert message in line
    assert "000003.xml" in line


def test_images_without_objects_take_no_part_in_training(init, voc_folder) -> None:
    command = (TRAIN, f"--data {voc_folder} --init {init}")
    assert "7 of 8 images usable" in run(*command).stderr  # one has a difficult object alone
    (voc_folder / "Annotations" / "000003.xml").write_text("<annotation></annotation>")
    result = run(*command)
    assert result.exit_code == 0, result.output
    assert "6 of 8 images usable" in result.stderr


def test_a_data_set_without_usable_proposals(init, voc_folder) -> None:
    for path in (voc_folder / "Annotations").glob("*.xml"):
        text = path.read_text()
        path.write_text(text.replace("<difficult>0", "<difficult>1"))
    line = failure(run(TRAIN, f"--data {voc_folder} --init {init}"))
    assert "no image has a proposal that overlaps an object" in line
    assert not Path("runs").exists()


def test_settings_from_variable_and_file_and_flag(init, voc_folder, monkeypatch) -> None:
    Path("c.toml").write_text("iterations = 3\nseed = 9\nname = 'filed'\n")
    monkeypatch.setenv("FRCNN_TRAIN_SEED", "8")
    result = run(TRAIN, f"--data {voc_folder} --init {init} --config c.toml --json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["run"] == "runs/train/filed"
    written = tomllib.loads(Path(answer["run"], "config.toml").read_text())
    assert written["iterations"] == 4  # the flag
    assert written["seed"] == 8  # the variable


def test_debug_shows_the_traceback(monkeypatch) -> None:
    monkeypatch.setenv("FRCNN_DEBUG", "1")
    result = run("eval voc207")
    assert type(result.exception).__name__ == "ConfigError"


def test_recipes_are_in_the_help() -> None:
    help_text = " ".join(run("train --help").output.split())
    assert all(name in help_text for name in recipes.RECIPES)
    assert "Learning rate [paper: 0.001, modern: 0.0002]." in help_text
    assert "Images in a batch [default: 2]." in help_text
    assert "Train on objects that are marked difficult too. " in help_text


@pytest.mark.parametrize("words", [[], ["data"], ["weights"], ["eval"], ["weights", "show"]])
def test_help_leaves_out_variables_and_cuts_no_sentence(words: list[str]) -> None:
    text = run(*words, "--help").output
    assert "env var" not in text
    assert "..." not in text.replace("[ARGS]...", "").replace("<Path,Path>...", "")


def test_no_colour_codes_off_a_terminal() -> None:
    environment = {**os.environ, "TERM": "dumb"}
    result = subprocess.run(
        [sys.executable, "-m", "frcnn_cli", "eval", "voc207"],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert "\x1b" not in result.stderr


def test_pictures_are_never_drawn_over_their_sources(weights) -> None:
    Path("p").mkdir()
    write_image(Path("p", "a.jpg"))
    before = Path("p", "a.jpg").read_bytes()
    line = failure(run(f"detect p -w {weights} --out p"))
    assert "is one of the images to detect in" in line
    assert Path("p", "a.jpg").read_bytes() == before


def test_names_with_brackets_are_shown_as_they_are(weights) -> None:
    write_image(Path("a[red].png"))
    result = run("detect", "'a[red].png'", f"-w {weights}")
    assert result.exit_code == 0, result.output
    assert "a[red].png" in result.stdout


def test_a_thin_picture(weights) -> None:
    write_image(Path("thin.png"), size=(1000, 3))
    assert run(f"detect thin.png -w {weights}").exit_code == 0


def test_a_path_that_is_too_long(weights) -> None:
    assert "File name too long" in failure(run(f"detect {'a' * 300} -w {weights}"))


def test_compressed_weights_do_not_replace_the_full_ones(weights) -> None:
    before = weights.read_bytes()
    assert "exists already" in failure(run(f"compress -w {weights} --out {weights}"))
    replacing = run(f"compress -w {weights} --out {weights} --overwrite")
    assert "holds the full weights" in failure(replacing)
    assert weights.read_bytes() == before


@pytest.mark.parametrize("choice", ["--energy 0.9", "--params 0.3", "--rank 10"])
def test_compress_to_a_budget(weights, voc_folder, choice) -> None:
    pictures = voc_folder / "JPEGImages"
    out = "s/c.safetensors"
    result = run(f"compress -w {weights} {choice} --calibrate {pictures} -o {out} --json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["method"] == "aware"
    assert answer["divergence"]["aware"] < answer["divergence"]["plain"]
    assert [path.name for path in Path("s").iterdir()] == ["c.safetensors"]


def test_another_data_set_that_is_at_hand_calibrates_nothing(
    weights, voc_folder, monkeypatch
) -> None:
    monkeypatch.setenv("FRCNN_DATA", str(voc_folder))
    result = run(f"compress -w {weights} --rank 8 --dry-run --json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["method"] == "plain"


def test_data_that_is_named_calibrates_unless_that_is_refused(weights, voc_folder) -> None:
    common = f"compress -w {weights} --rank 8 --dry-run --json --data {voc_folder}"
    assert json.loads(run(common).stdout)["method"] == "aware"
    assert json.loads(run(f"{common} --calibrate none").stdout)["method"] == "plain"


def test_data_of_the_curve_alone_calibrates_nothing(weights, voc_folder) -> None:
    file = write_coco(voc_folder, Path("coco"))
    result = run(
        f"compress -w {weights} --rank 8 --dry-run --json --limit 2 "
        f"--curve coco:{file} --data coco/val"
    )
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["method"] == "plain"
    assert {point["method"] for point in answer["curve"]} == {"plain"}


def test_what_was_measured_is_in_the_file(weights) -> None:
    result = run(f"compress -w {weights} --rank 8 --out c.safetensors --json")
    answer = json.loads(result.stdout)
    _, header = load_weights(Path("c.safetensors"))
    for side in ("before", "after"):
        assert header.provenance["compression"][side] == answer[side]
    assert answer["after"]["bytes"] < answer["before"]["bytes"]


def test_in_a_new_process_the_file_gives_the_same_detections(weights, voc_folder) -> None:
    assert run(f"compress -w {weights} --rank 8 --out c.safetensors").exit_code == 0
    image = next((voc_folder / "JPEGImages").glob("*.jpg")).resolve()
    command = ["detect", str(image), "-w", "c.safetensors", "--score", "0.01", "--json"]
    here = json.loads(run(*command).stdout)[0]["detections"]
    script = (
        "import sys, pytest, tiny, pathlib\n"
        "from frcnn_cli.cli.app import app\n"
        "with pytest.MonkeyPatch.context() as patch:\n"
        "    tiny.add_tiny_backbone(patch, pathlib.Path())\n"
        "    app(sys.argv[1:])\n"
    )
    folders = [Path(__file__).parents[1], Path(__file__).parents[2] / "src"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    there = subprocess.run(
        [sys.executable, "-c", script, *command], capture_output=True, env=environment, check=True
    )
    assert len(here) > 3
    assert json.loads(there.stdout)[0]["detections"] == here


def test_dry_run_writes_nothing(weights) -> None:
    result = run(f"compress -w {weights} --rank 8 --dry-run -o s/c.safetensors")
    assert result.exit_code == 0, result.output
    assert "nothing written" in result.stdout
    assert "fc6 32×144: rank 8, 4,608 -> 1,408 weights; squared error of the" in result.stdout
    result = run(f"compress -w {weights} --rank fc7=8 --dry-run --keep-full")
    assert "fc6 32×144: kept at full rank; ranks below 26.2 would save weights" in result.stdout
    assert "fc7 24×32: rank 8, 768 + 448 weights" in result.stdout
    assert not Path("s").exists()


def test_the_smallest_within_a_loss_of_map(weights, voc_folder) -> None:
    result = run(
        f"compress -w {weights} --data {voc_folder} --curve voc --split val --limit 3 "
        "--map-drop 99 --out s/c.safetensors --json"
    )
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    points = answer["curve"]
    assert {point["method"] for point in points} == {"plain", "aware"}
    least = min(points[1:], key=lambda point: point["weights"])
    chosen = {layer["name"]: layer["rank"] for layer in answer["layers"]}
    assert least["ranks"] == {name: chosen[name] for name in ("fc6", "fc7")}
    assert {path.name for path in Path("s").iterdir()} == {
        "c.safetensors", "c-curve.csv", "c-curve.svg",
    }  # fmt: skip
    Path("s/c.safetensors").unlink()
    again = f"compress -w {weights} --data {voc_folder} --curve voc --rank 4 --out s/c.safetensors"
    assert "s/c-curve.csv exists already" in failure(run(again))


def test_a_dry_run_shows_the_curve(weights, voc_folder) -> None:
    result = run(
        f"compress -w {weights} --data {voc_folder} --curve voc --split val --limit 2 --dry-run "
        "--rank 8"
    )
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stdout.splitlines() if "truncated SVD" in line]
    assert len(lines) >= 3
    ranks = [[cell.strip() for cell in line.split("│")][2:4] for line in lines]
    assert ["8", "8"] in ranks
    assert not list(Path().glob("*curve*"))


def test_compress_and_train_further(init, voc_folder) -> None:
    answer = json.loads(run(TRAIN, f"--data {voc_folder} --init {init} --json").stdout)
    result = run(
        f"compress -w {answer['weights']} --rank 8 --calibrate voc --data {voc_folder} "
        "--finetune 3 --out c.safetensors --json"
    )
    assert result.exit_code == 0, result.output
    small, header = load_weights(Path("c.safetensors"))
    assert header.ranks == {"fc6": 8, "fc7": 8}
    assert header.provenance["iterations"] == 3
    assert header.provenance["trained_from"]["iterations"] == 4
    assert "activation-aware, distilled" in str(header.provenance["compression"])
    assert small.fc_layers["fc6"][0].weight.shape == (8, 144)
    folder = Path("runs/train/c")
    assert run(f"train --resume {folder}").exit_code == 0  # nothing left to do, but it can


def test_both_heads_in_one_file(weights, voc_folder) -> None:
    result = run(f"compress -w {weights} --rank 8 --keep-full -o both.safetensors --json")
    assert result.exit_code == 0, result.output
    model, header = load_weights(Path("both.safetensors"))
    assert (header.ranks, header.prefilter) == ({}, {"fc6": 8, "fc7": 8})
    full = load_weights(Path(weights))[0]
    torch.testing.assert_close(
        model.fc_layers["fc6"].weight, full.fc_layers["fc6"].weight, rtol=1e-3, atol=1e-5
    )
    about = json.loads(run("weights show both.safetensors --json").stdout)
    assert about["prefilter"] == {"fc6": 8, "fc7": 8}
    assert about["parameters"]["prefilter"] == 8 * (144 + 32 + 32 + 24) + 32 + 24
    assert "prefilter" in run("weights show both.safetensors").stdout
    image = next((voc_folder / "JPEGImages").glob("*.jpg"))
    common = f"detect {image} --score 0.01 --json -w"
    without = json.loads(run(f"{common} both.safetensors --no-cascade").stdout)[0]
    cascade = json.loads(run(f"{common} both.safetensors").stdout)[0]
    assert len(cascade["detections"]) <= len(without["detections"])
    profile = json.loads(run(f"detect {image} -w both.safetensors --profile --json").stdout)
    names = [stage["name"] for stage in profile["stages"]]
    assert names.index("RoI pool") + 1 == names.index("prefilter") == names.index("fc6") - 1


def test_the_prefilter_is_not_trained_without_the_full_head(weights) -> None:
    line = failure(run(f"compress -w {weights} --keep-full --finetune 3 --calibrate voc"))
    assert "--finetune and --keep-full exclude each other" in line


def test_trained_weights_are_not_initial_weights(weights, voc_folder) -> None:
    line = failure(run(TRAIN, f"--data {voc_folder} --init {weights}"))
    assert "is a trained detector" in line


def test_emoji_in_a_path_can_be_resumed(init, voc_folder) -> None:
    folder = voc_folder.rename(voc_folder.with_name("data 🐱"))
    first = run(TRAIN, f"--data '{folder}' --init {init} --json")
    assert first.exit_code == 0, first.output
    result = run(f"train --resume {json.loads(first.stdout)['run']} --iterations 5")
    assert result.exit_code == 0, result.output


def test_only_the_classes_asked_for(weights) -> None:
    write_image(Path("a.png"), size=(150, 100))
    everything = json.loads(
        run(f"detect a.png -w {weights} --score 0.05 --top 1000 --json").stdout
    )[0]
    some = json.loads(
        run(f"detect a.png -w {weights} --score 0.05 --top 1000 --classes box,tile --json").stdout
    )[0]
    assert {each["label"] for each in everything["detections"]} == {"ball", "box", "tile"}
    assert some["detections"] == [
        each for each in everything["detections"] if each["label"] != "ball"
    ]


def test_an_unknown_class_offers_the_nearest(weights) -> None:
    write_image(Path("a.png"))
    result = run(f"detect a.png -w {weights} --classes bal")
    assert "unknown class 'bal'" in failure(result)
    assert "did you mean 'ball'?" in result.stderr


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_out_of_memory_is_one_line(weights, voc_folder, monkeypatch, error) -> None:
    def infer(self, prepared):
        raise error

    monkeypatch.setattr(Detector, "launch", infer)
    assert "out of memory" in failure(run(f"detect {voc_folder}/JPEGImages -w {weights}"))


def test_other_errors_are_shown_whole(weights, voc_folder, monkeypatch) -> None:
    def infer(self, prepared):
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(Detector, "launch", infer)
    result = run(f"detect {voc_folder}/JPEGImages -w {weights}")
    assert str(result.exception) == "a mistake of ours"
