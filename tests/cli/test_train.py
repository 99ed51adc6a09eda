from __future__ import annotations

import json
import os
import re
import shutil
import signal
import tomllib
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from commands import failure, run
from frcnn_cli.checkpoints.weights import load_weights, read_header
from frcnn_cli.cli.app import app
from frcnn_cli.compression import cost as measure
from frcnn_cli.training.batches import BatchMaker
from frcnn_cli.training.learner import Learner

TRAIN = "train --iterations 4 --backbone tiny --scales 100 --max-size 160 --rois-per-batch 16"


def test_dry_run_prints_the_plan_and_writes_nothing(init, voc_folder) -> None:
    before = set(Path().rglob("*"))
    result = run(TRAIN, f"--data {voc_folder} --init {init} --dry-run --json")
    assert result.exit_code == 0, result.output
    assert set(Path().rglob("*")) == before
    answer = json.loads(result.stdout)
    assert answer["seconds_per_iteration"] > 0
    assert answer["bytes"] > 1e6
    said = " ".join(result.stderr.split())
    for pattern in (
        r"7 of 8 images usable, 11 objects: ball \d, box \d, tile \d",
        r"proposals cover [\d.]+% at IoU 0.5, [\d.]+% at IoU 0.7; \d+ foreground RoIs an image",
        r"[\d.]+ M parameters trained, 0.00 M frozen; on cpu",
        r"4 iterations of 2 images and 16 RoIs: every image 1.1 times",
        r"a trial step took [\d.]+ s and [\d.]+ GB: about \d+ s for 4 iterations",
    ):
        assert re.search(pattern, said), (pattern, said)


def test_resume_alone_takes_the_last_run(init, voc_folder) -> None:
    flags = f"--data {voc_folder} --init {init} --json"
    runs = [json.loads(run(TRAIN, flags).stdout)["run"] for _ in range(2)]
    for folder, iterations in ((runs[1], 5), (runs[0], 6)):
        (Path(folder) / "state.pt").touch()
        result = run(f"train --resume --iterations {iterations} --json")
        assert result.exit_code == 0, result.output
        answer = json.loads(result.stdout)
        assert (answer["run"], answer["iterations"]) == (folder, iterations)
    named = run(f"train --resume {Path(runs[0]).name} --iterations 7 --json")  # as --weights
    assert json.loads(named.stdout)["run"] == runs[0], named.output


def test_resume_without_a_run(init) -> None:
    assert "no run to continue in runs/train" in failure(run("train --resume"))


def test_what_a_run_started_from_cannot_be_changed(init, voc_folder, monkeypatch) -> None:
    assert run(TRAIN, f"--data {voc_folder} --init {init} --name a").exit_code == 0
    file = Path("runs/train/a/config.toml")
    before = file.read_text()
    refused = ("--weights nothing", "-w nothing", "--init b.pth", "--pixels caffe", "--name b")
    for flags in (*refused, "--recipe modern"):
        line = failure(run("train --resume", flags))
        assert "is for a new run, and --resume continues one" in line
    assert file.read_text() == before
    monkeypatch.setenv("FRCNN_TRAIN_INIT", "b.pth")
    monkeypatch.setenv("FRCNN_TRAIN_WEIGHTS", "nothing")
    monkeypatch.setenv("FRCNN_TRAIN_NAME", "b")
    monkeypatch.setenv("FRCNN_TRAIN_RECIPE", "paper")
    assert run("train --resume --iterations 5").exit_code == 0
    assert file.read_text() == before.replace("iterations = 4", "iterations = 5")


def test_validation_keeps_the_best(init, voc_folder) -> None:
    flags = f"--data {voc_folder} --init {init} --eval-every 2 --eval-limit 3"
    result = run(TRAIN, flags)
    assert result.exit_code == 0, result.output
    assert len(re.findall(r"iteration \d: mAP [\d.]+%", result.stderr)) == 2
    assert "best on val: mAP" in result.stderr
    header = read_header(Path("runs/train/run/best.safetensors"))
    assert header.provenance["iterations"] in (2, 4)
    assert len(Path("runs/train/run/validation.csv").read_text().splitlines()) == 3
    assert tomllib.loads(Path("runs/train/run/config.toml").read_text())["eval_limit"] == 3


def test_boxes_can_be_trained_after_classes(init, voc_folder) -> None:
    """The stage-wise training of the paper's Table 6."""
    flags = f"--data {voc_folder} --json"
    first = json.loads(run(TRAIN, flags, f"--init {init} --loc-weight 0").stdout)
    second = run(TRAIN, flags, f"--weights {first['weights']} --train-from bbox_pred")
    assert second.exit_code == 0, second.output
    one, two = (load_weights(Path(each["weights"])) for each in (first, json.loads(second.stdout)))
    assert two[1].provenance["trained_from"]["settings"]["loc_weight"] == 0
    for key, value in one[0].state_dict().items():
        assert value.equal(two[0].state_dict()[key]) == (not key.startswith("bbox_pred")), key


def test_training_further_keeps_the_classes_and_the_scale(weights, voc_folder) -> None:
    flags = f"train --data {voc_folder} --weights {weights} --iterations 2 --rois-per-batch 16"
    result = run(flags, "--json")
    assert result.exit_code == 0, result.output
    before, after = read_header(weights), read_header(Path(json.loads(result.stdout)["weights"]))
    assert (after.classes, after.backbone) == (before.classes, before.backbone)
    assert (after.scale, after.max_size) == (before.scale, before.max_size)
    resumed = run("train --resume --iterations 3 --json")
    assert resumed.exit_code == 0, resumed.output
    settings = tomllib.loads(Path("runs/train/run/config.toml").read_text())
    assert settings["iterations"] == 3
    assert "--lr -5 is out of range" in failure(run("train --resume --lr -5"))
    assert "has done 3 iterations already" in failure(run("train --resume --iterations 2"))


def test_an_unknown_choice_is_wrong_usage(init, voc_folder) -> None:
    for flag in ("--precision fp8", "--optimizer adam", "--lr-schedule linear"):
        result = run(TRAIN, f"--data {voc_folder} --init {init}", flag)
        assert result.exit_code == 2, result.output
        assert "is not one of" in result.stderr


def test_validation_on_training_images_is_reported(init, voc_folder) -> None:
    flags = f"--data {voc_folder} --init {init} --eval-every 2 --eval-limit 3 --dry-run"
    assert "3 of the 3 validation images are trained on" in run(TRAIN, flags).stderr
    assert "are trained on" not in run(TRAIN, flags, "--split train").stderr


def test_a_path_that_toml_must_escape_or_cannot_hold(init, voc_folder) -> None:
    odd = voc_folder.rename(voc_folder.with_name("de\x7fl \\ 'q'"))
    words = [*TRAIN.split(), "--data", str(odd), "--init", str(init), "--json"]
    assert CliRunner().invoke(app, words).exit_code == 0
    again = run("train --resume --iterations 5 --json")
    assert again.exit_code == 0, again.output
    bad = odd.rename(odd.with_name(os.fsdecode(b"b\xe9")))
    words[words.index(str(odd))] = str(bad)
    assert "a path is not UTF-8" in failure(CliRunner().invoke(app, words))


def test_training_further_on_data_of_other_classes_can_be_resumed(weights, voc_folder) -> None:
    for path in (voc_folder / "Annotations").glob("*.xml"):
        path.write_text(path.read_text().replace("<name>box</name>", "<name>apple</name>"))
    flags = f"train --data {voc_folder} --weights {weights} --iterations 2 --rois-per-batch 16"
    result = run(flags)
    assert result.exit_code == 0, result.output
    assert "new outputs for apple; ball, tile keep theirs" in " ".join(result.stderr.split())
    resumed = run("train --resume --iterations 3 --json")
    assert resumed.exit_code == 0, resumed.output
    assert read_header(Path(json.loads(resumed.stdout)["weights"])).classes == (
        "apple", "ball", "tile",
    )  # fmt: skip


def test_the_prefilter_is_left_out(weights, voc_folder, monkeypatch) -> None:
    # a new process would not know the backbone `tiny`
    monkeypatch.setattr(
        measure, "measure_weights", lambda path, device: measure.measure_here(path, device, 2)
    )
    both = run(f"compress --weights {weights} --rank 8 --keep-full --out both.safetensors --json")
    assert both.exit_code == 0, both.output
    flags = f"train --data {voc_folder} --weights both.safetensors --iterations 2"
    assert run(flags, "--rois-per-batch 16 --json").exit_code == 0
    resumed = run("train --resume --iterations 3 --json")
    assert resumed.exit_code == 0, resumed.output
    assert not read_header(Path(json.loads(resumed.stdout)["weights"])).prefilter


def test_two_data_sets_as_one(init, voc_folder, tmp_path) -> None:
    other = tmp_path / "other"
    shutil.copytree(voc_folder, other)
    assert "are the same file" in failure(
        run(TRAIN, f"--init {init} voc:V+voc:V".replace("V", str(voc_folder)))
    )
    result = run(TRAIN, f"--init {init} voc:{voc_folder}+voc:{other} --dry-run")
    assert result.exit_code == 0, result.output
    assert "share 8 names of images: the name of the data set is put before them" in result.stderr
    for path in sorted(other.rglob("0000*")):
        path.rename(path.with_name("x" + path.name))
    for path in (other / "ImageSets" / "Main").glob("*.txt"):
        path.write_text(re.sub(r"(?m)^0", "x0", path.read_text()))
    result = run(TRAIN, f"--init {init} voc:{voc_folder}+voc:{other} --dry-run")
    assert result.exit_code == 0, result.output
    assert "14 of 16 images usable, 22 objects" in result.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--scales big", "--scales 'big' is not understood"),
        ("--scales 100,5000", "--scales 100,5000 is out of range"),
        ("--lr-steps a", "--lr-steps 'a' is not understood"),
        ("--train-from conv9", "unknown layer 'conv9'"),
        ("--loc-weight -1", "--loc-weight -1 is out of range"),
        (
            "--train-from conv1 --cache-features",
            "--cache-features needs convolutions",
        ),
        ("--rank 0", "--rank 0 is out of range"),
        ("--rank 5000", "--rank 5000 saves nothing"),
        ("--lr-steps 3000,4000", "--lr-steps 3000,4000 is out of range"),
        ("--lr-steps 0.5 --recipe modern", "--lr-steps 0.5 is out of range"),
        ("--eval-every 2 --eval-limit 1", "the 1 images of voc val have no object that counts"),
        ("--weights nothing", "unknown weights 'nothing'"),
        ("--name a/b", "--name a/b is not the name of a folder"),
        ("--rois-per-batch 1", "--rois-per-batch 1 is out of range"),
        ("--eval-every 2 --eval-split nosplit", "voc has no split 'nosplit'"),
        ("--eval-limit 2 --eval-split val", "--eval-split and --eval-limit are for --eval-every"),
    ],
)
def test_bad_settings_are_one_line(init, voc_folder, flags, message) -> None:
    first = (voc_folder / "ImageSets/Main/val.txt").read_text().split()[0]
    annotation = voc_folder / "Annotations" / f"{first}.xml"
    annotation.write_text(annotation.read_text().replace("<difficult>0", "<difficult>1"))
    before = set(Path().rglob("*"))
    start = "" if "--weights" in flags else f"--init {init}"
    assert message in failure(run(TRAIN, f"--data {voc_folder} {start} {flags}"))
    assert set(Path().rglob("*")) == before


def test_settings_from_variables_alone(init, voc_folder, monkeypatch) -> None:
    monkeypatch.setenv("FRCNN_DATA", str(voc_folder))
    monkeypatch.setenv("FRCNN_TRAIN_BACKBONE", "nosuchnet")
    assert "unknown backbone 'nosuchnet'" in failure(run("train"))


def test_weights_exclude_init_and_pixels(weights, voc_folder) -> None:
    further = f"train --data {voc_folder} --weights {weights} --iterations 2 --rois-per-batch 16"
    assert "--weights excludes --init" in failure(run(further, "--init x.pth"))
    assert "--weights excludes --init" in failure(run(further, "--pixels caffe"))
    assert "the weights are of tiny" in failure(run(further, "--backbone vgg16"))
    assert "the weights are of tiny" in failure(run(further, "--backbone squeezenet1_1"))
    assert "--scales 100 is out of range" in failure(run(further, "--max-size 20"))
    assert not Path("runs").exists()
    assert run(further, "--max-size 130").exit_code == 0
    settings = tomllib.loads(Path("runs/train/run/config.toml").read_text())
    assert (settings["scales"], settings["max_size"]) == ("100", 130)


def test_training_further_drops_the_calibration(weights, voc_folder) -> None:
    run(f"weights export {weights} --calibration 1.2,-2 --out a.safetensors")
    assert read_header(Path("a.safetensors")).calibration is not None
    flags = "--weights a.safetensors --iterations 1 --rois-per-batch 16"
    assert run(f"train --data {voc_folder} {flags}").exit_code == 0
    assert read_header(Path("runs/train/run/last.safetensors")).calibration is None


def test_what_was_trained_from_is_not_forgotten(weights, voc_folder) -> None:
    run(f"train --data {voc_folder} --weights {weights} --iterations 2 --rois-per-batch 16")
    file = Path("runs/train/run/last.safetensors")
    before = read_header(file).provenance
    assert "trained_from" in before
    assert run("train --resume --iterations 3").exit_code == 0
    after = read_header(file).provenance
    assert after.keys() == before.keys()
    assert (before["iterations"], after["iterations"]) == (2, 3)


def test_a_run_from_boxes_in_a_file_is_resumed_anywhere(init, voc_folder, monkeypatch) -> None:
    boxes = "sub/b.npz"
    run(f"propose voc:{voc_folder} --split trainval --export {boxes}")
    run(f"propose voc:{voc_folder} --split trainval --proposals {boxes}")
    flags = f"--data {voc_folder} --init {init} --proposals {boxes} --checkpoint-minutes inf"
    assert run(TRAIN, flags).exit_code == 0
    folder = Path("runs/train/run").resolve()
    monkeypatch.chdir("sub")
    result = run(f"train --resume {folder} --iterations 5")
    assert result.exit_code == 0, result.output


def test_weights_that_are_not_finite_are_not_kept(init, voc_folder, monkeypatch) -> None:
    step = Learner.step

    def spoilt(self, *arguments, **options):
        found = step(self, *arguments, **options)
        if self.iteration == 3:
            with torch.no_grad():
                self.network.fc_layers["fc6"].weight[0, 0] = float("inf")
        return found

    monkeypatch.setattr(Learner, "step", spoilt)
    flags = f"--data {voc_folder} --init {init} --checkpoint-minutes 0"
    assert "not finite after iteration 3" in failure(run(TRAIN, flags))
    monkeypatch.setattr(Learner, "step", step)
    assert run("train --resume").exit_code == 0


# torch opens files to see whether it may open more, and its handler of SIGCHLD may interrupt that
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_worker_that_is_killed(init, voc_folder, monkeypatch) -> None:
    get, parent = BatchMaker.__getitem__, os.getpid()

    def killed(self, index):
        if index == 3 and os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return get(self, index)

    monkeypatch.setattr(BatchMaker, "__getitem__", killed)
    # perhaps while a checkpoint is written, which is said then
    assert re.search("(is|was) killed", failure(run(TRAIN, f"--data {voc_folder} --init {init}")))


def test_random_weights_train_from_the_first_layer(init, voc_folder) -> None:
    result = run(TRAIN, f"--data {voc_folder} --init random --name fresh --dry-run")
    assert result.exit_code == 0, result.output
    assert "tiny: random weights; " in result.stderr
    assert "0.00 M frozen" in result.stderr
    result = run(TRAIN, f"--data {voc_folder} --init random --name fresh --iterations 2 --json")
    assert result.exit_code == 0, result.output
    assert tomllib.loads(Path("runs/train/fresh/config.toml").read_text())["init"] == "random"
    assert run("train --resume runs/train/fresh --iterations 3").exit_code == 0


def test_data_without_a_split_for_validation_holds_images_back(init, voc_folder) -> None:
    lists = voc_folder / "ImageSets" / "Main"
    for name in ("train", "val"):
        (lists / f"{name}.txt").unlink()
    flags = f"{voc_folder} --init {init} --eval-every 2"
    result = run(TRAIN, flags)
    assert result.exit_code == 0, result.output
    said = " ".join(result.stderr.split())
    assert "voc:voc has no split val: 6 of its images are taken for training and 2 for" in said
    assert "validation images are trained on" not in said
    assert "has no split 'val'" in failure(run(TRAIN, flags, "--split trainval"))
    assert run("train --resume --iterations 5").exit_code == 0
