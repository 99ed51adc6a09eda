"""frcnn train FOLDER, eval, compress, detect in an empty folder, with no other argument."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from commands import failure, run
from frcnn_cli.checkpoints import pretrained
from frcnn_cli.checkpoints.weights import load_weights, read_header
from frcnn_cli.compression import cost
from frcnn_cli.errors import WeightsError
from frcnn_cli.runtime.paths import find_weights
from frcnn_cli.training import initialisation

TINY = "--iterations 4 --backbone tiny --scales 100 --max-size 160 --rois-per-batch 16"


@pytest.fixture(autouse=True)
def measured_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new process would not know the backbone `tiny`."""
    monkeypatch.setattr(
        cost, "measure_weights", lambda path, device: cost.measure_here(path, device, 2)
    )


@pytest.fixture
def photos(voc_folder: Path, init: Path) -> Path:
    """A folder without splits."""
    shutil.rmtree(voc_folder / "ImageSets")
    return voc_folder.rename(voc_folder.with_name("photos"))


def said(result) -> str:
    assert result.exit_code == 0, result.output
    return " ".join(result.stderr.split())


def test_every_command_finds_what_the_one_before_it_left(photos: Path, init: Path) -> None:
    text = said(run("train", photos, TINY, f"--init {init}"))
    assert "6 of its images are taken for training and 2 for validation" in text
    assert "next: frcnn eval measures them, frcnn compress makes them smaller" in text

    text = said(run("eval"))
    assert "next: --report FOLDER shows what is found wrongly" in text
    result = run("eval --json")
    assert "weights: runs/train/run/last.safetensors, of the last run" in said(result)
    assert f"data: {photos}, of that run" in said(result)
    answer = json.loads(result.stdout)
    assert (answer["images"], answer["split"]) == (2, "val")
    assert "trained on" not in said(result)
    assert json.loads(run("eval --split all --json").stdout)["images"] == 8

    result = run("compress --rank 4")
    assert f"calibrating on {photos}, the data of the run" in said(result)
    small = result.stdout.splitlines()[-1]
    assert f"next: frcnn detect PHOTO --weights {small}" in said(result)
    calibration = read_header(Path(small)).provenance["compression"]["calibration"]
    assert calibration.startswith("6 images of voc:photos train")

    photo = next((photos / "JPEGImages").iterdir())
    for flags in ("", f"--weights {small}", "--weights last", "--weights run"):
        assert "1 of 1 images" in said(run("detect", photo, flags))
    unsure = said(run("detect", photo, "--score 0.999"))
    assert "nothing has a score above 0.999: --score 0.1 shows what is less certain" in unsure
    assert "was not validated" in failure(run("detect", photo, "--weights best"))


def test_data_to_train_on_alone_leaves_a_part_for_eval(voc_folder: Path, init: Path) -> None:
    for name in ("val", "test", "trainval"):
        (voc_folder / "ImageSets" / "Main" / f"{name}.txt").unlink(missing_ok=True)
    count = len((voc_folder / "ImageSets" / "Main" / "train.txt").read_text().split())
    note = f"has no split val: {count - 1} of its images are taken for training and 1 for"
    assert note in said(run("train", voc_folder, TINY, f"--init {init} --eval-every 4"))
    for flags in ("", "--split val", "--weights last"):
        result = run("eval --json", flags)
        assert json.loads(result.stdout)["images"] == 1
        assert "trained on" not in said(result)
    log = next(Path("runs/eval").glob("*.jsonl"))
    assert json.loads(run(f"eval --from {log} --json").stdout)["images"] == 1
    checked = json.loads(run("data check", voc_folder, "--json").stdout)["splits"]
    assert [each["images"] for each in checked] == [count - 1, 1]
    text = said(run("train", voc_folder, TINY, f"--init {init} --split train"))
    assert f"of {count} images usable" in text
    assert "trained on 1 of the 1 images" in said(run("eval"))


def test_the_report_shows_the_validations_of_the_run(photos: Path, init: Path) -> None:
    said(run("train", photos, TINY, f"--init {init} --eval-every 2"))
    text = said(run("eval --report out"))
    assert "next: --report" not in text
    assert "During training" in Path("out/index.html").read_text()


def test_the_share_of_validation_is_that_of_the_weights(photos: Path, init: Path) -> None:
    text = said(run("train", photos, TINY, f"--init {init} --val-share 0.5"))
    assert "4 of its images are taken for training and 4 for validation" in text
    assert read_header(Path("runs/train/run/last.safetensors")).val_share == 0.5
    text = said(run("train --resume"))
    assert "4 of its images are taken for training" in text

    copy = shutil.copy("runs/train/run/last.safetensors", "copy.safetensors")
    small = run("compress --rank 4").stdout.splitlines()[-1]
    assert read_header(Path(small)).provenance["compression"]["calibration"].startswith("4 images")
    for flags in ("", f"{photos} --weights {copy}", f"{photos} --weights {small}"):
        result = run("eval --json", flags)
        assert json.loads(result.stdout)["images"] == 4
        assert "trained on" not in said(result)
    log = next(Path("runs/eval").glob("*-last-*.jsonl"))
    assert json.loads(run(f"eval --from {log} --json").stdout)["images"] == 4

    for share, images in (("0.2", 2), ("0.75", 6)):  # 2 of the 6 are trained on
        result = run(f"eval --json --val-share {share}")
        assert json.loads(result.stdout)["images"] == images
        told = "these weights were trained on 2 of the 6 images" in said(result)
        assert told == (images == 6)
    assert "--val-share 1 is out of range" in failure(run("eval --val-share 1"))


def test_every_command_takes_the_share(photos: Path, init: Path) -> None:
    checked = run("data check", photos, "--val-share 0.5 --json")
    assert [each["images"] for each in json.loads(checked.stdout)["splits"]] == [4, 4]
    proposed = run("propose", photos, "--split train --val-share 0.5 --json")
    assert json.loads(proposed.stdout)["images"] == 4
    unused = "--val-share changes nothing: voc:photos all is not divided by content"
    assert unused in said(run("train", photos, TINY, f"--init {init} --split all --val-share 0.5"))
    assert unused in said(run("propose", photos, "--val-share 0.5"))


def test_classes_that_training_renames_are_renamed_in_eval(photos: Path, init: Path) -> None:
    said(run("train", photos, TINY, f"--init {init} --map ball=box --map tile=plate"))
    assert read_header(Path("runs/train/run/last.safetensors")).classes == ("box", "plate")
    said(run("train --resume --iterations 5"))
    result = run("eval --json --split all")
    assert f"data: {photos} --map ball=box --map tile=plate, of that run" in said(result)
    ap = json.loads(result.stdout)["ap"]
    assert list(ap) == ["box", "plate"]
    assert ap["plate"] is not None  # it has objects, which are called tile in the data
    assert "unknown class 'bal'" in failure(run("train", photos, TINY, "--map bal=box"))
    assert "--map 'ball' is not understood" in failure(run("train", photos, TINY, "--map ball"))


def test_what_is_gone_is_not_calibrated_on(photos: Path, init: Path) -> None:
    said(run("train", photos, TINY, f"--init {init}"))
    photos.rename(photos.with_name("elsewhere"))
    assert "calibrating on" not in said(run("compress --rank 4 --dry-run"))


def test_nothing_to_compress(init: Path) -> None:
    result = run("compress")
    assert "no run in runs/train to compress" in failure(result)
    assert "train one with frcnn train, or give --weights FILE" in result.stderr


def test_classes_that_a_run_renamed_have_their_new_names_afterwards(
    photos: Path, init: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said(run("train", photos, TINY, f"--init {init} --map ball=sphere"))
    expected = json.loads(run("eval --json").stdout)
    assert expected["ap"]["sphere"] is not None
    again = run("eval --json --from", expected["detections"])
    assert json.loads(again.stdout)["ap"] == expected["ap"]

    assert "--map is for --curve and --finetune" in failure(run("compress --map ball=sphere"))
    given: list[dict] = []
    monkeypatch.setattr(
        "frcnn_cli.compression.compress.compress", lambda *_, **options: given.append(options)
    )
    copy = shutil.copy("runs/train/run/last.safetensors", "copy.safetensors")
    for flags in (f"--curve {photos}", f"-w {copy} --curve {photos} --calibrate {photos} --map "
                  "ball=sphere"):  # fmt: skip
        run("compress --finetune 2 --out small.safetensors", flags)
        assert given[-1]["curve"].classes == ("sphere", "box", "tile")
        assert given[-1]["renamed"] == {"ball": "sphere"}


def test_weights_that_are_small_already(photos: Path, init: Path) -> None:
    text = said(run("train", photos, TINY, f"--init {init} --rank 4"))
    assert "next: frcnn eval measures them, frcnn detect PHOTO uses them" in text
    result = run("compress")
    assert "nothing to do" in said(result)
    assert "next: frcnn detect PHOTO --weights runs/train/run/last.safetensors" in said(result)
    assert result.stdout.strip() == "runs/train/run/last.safetensors"
    result = run("compress --json --quiet")
    assert json.loads(result.stdout)["ranks"] == {"fc6": 4, "fc7": 4}
    assert not result.stderr
    for flags in ("--rank 2", "--finetune 2", f"--curve {photos}"):
        assert "compressed already" in failure(run("compress", flags))


def test_without_a_network_training_starts_from_an_included_detector(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str) -> None:
        raise WeightsError(f"cannot download {name}", "")

    monkeypatch.setattr(pretrained, "download_imagenet", refuse)
    monkeypatch.setattr(initialisation, "download_imagenet", refuse)
    monkeypatch.setattr(initialisation, "file_in_package", refuse)
    flags = "--iterations 1 --limit 2 --scales 100 --max-size 160 --rois-per-batch 16"
    text = said(run("train", photos, flags))
    assert "training starts from squeezenet1_1-voc07, a detector that is included" in text
    assert (
        "the convolutions of a trained detector; new fc6, fc7 and outputs for ball, box, tile"
        in (text)
    )
    network, header = load_weights(Path("runs/train/run/last.safetensors"))
    included, _ = load_weights(find_weights("squeezenet1_1-voc07"))
    assert torch.equal(network.features[0].weight, included.features[0].weight.float())
    assert header.ranks == {}  # they do not fit other objects
    assert header.classes == ("ball", "box", "tile")
    assert np.isfinite(network.cls_score.weight.detach().numpy()).all()
    assert 'weights = "' in Path("runs/train/run/config.toml").read_text()
    text = said(run("train", photos, flags, "--backbone efficientnet_lite0 --dry-run"))
    assert "training starts from efficientnet_lite0-voc07" in text
    assert "--pixels goes with --init" in failure(run("train", photos, flags, "--pixels caffe"))
    for other in ("--recipe paper --detector fast_rcnn --rank 9", "--backbone resnet18"):
        assert "cannot download" in failure(run("train", photos, flags, other))


def test_a_class_that_the_detector_knows_keeps_its_low_rank_layers(photos: Path) -> None:
    flags = (
        "--iterations 1 --limit 2 --scales 100 --max-size 160 --rois-per-batch 16 --map ball=cat"
    )
    text = said(run("train", photos, flags, "--weights squeezenet1_1-voc07"))
    assert "new outputs for box, tile; cat keep theirs" in text
    _, header = load_weights(Path("runs/train/run/last.safetensors"))
    assert header.ranks == {"fc6": 128, "fc7": 128}
