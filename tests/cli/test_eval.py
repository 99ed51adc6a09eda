"""frcnn eval from the command line."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from commands import failure, run
from formats import write_coco, write_yolo
from frcnn_cli.checkpoints.weights import load_weights, save_weights
from frcnn_cli.cli.options import class_names, parse_map
from frcnn_cli.data.voc import load_voc
from frcnn_cli.evaluation.detection_log import DetectionLog, Header
from frcnn_cli.inference.detector import Detector
from frcnn_cli.models.score_calibration import ScoreCalibration
from frcnn_cli.structures import Detections

VAL = "--split val --json --quiet"


def answer(*arguments: object) -> dict:
    result = run("eval", *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def infers(monkeypatch: pytest.MonkeyPatch) -> list:
    """Counts the images that go through the network."""
    calls: list = []
    before = Detector.launch
    monkeypatch.setattr(
        Detector, "launch", lambda self, given: calls.append(1) or before(self, given)
    )
    return calls


@pytest.fixture
def done(weights, voc_folder) -> tuple[Path, dict]:
    first = answer(f"--data {voc_folder} -w {weights} {VAL}")
    return Path(first["detections"]), first


def test_tiles_have_a_file_of_their_own(weights, voc_folder, done) -> None:
    path, first = done
    second = answer(f"--data {voc_folder} -w {weights} {VAL} --tile 80")
    assert second["detections"] != str(path)
    assert '"tile":80' in Path(second["detections"]).read_text().partition("\n")[0].replace(" ", "")
    assert second["images"] == first["images"]
    assert "--tile is for a detector" in failure(run(f"eval --from {path} --tile 80"))


def test_a_calibration_is_fitted_to_all_that_is_detected(done, weights, voc_folder, monkeypatch):
    path, first = done
    found = ScoreCalibration(slope=1.5, offset=-1.0)
    monkeypatch.setattr("frcnn_cli.evaluation.reliability.fit_calibration", lambda matched: found)
    usual = f"--data {voc_folder} -w {weights} {VAL}"
    whole = answer(usual)["calibration"]
    assert (whole["slope"], whole["offset"]) == (1.5, -1.0)
    assert "calibration" in answer(usual, "--protocol both")
    name = next(iter(first["ap"]))
    for flags in (f"{usual} --classes {name}", f"{usual} --protocol fast-rcnn"):
        assert "calibration" not in answer(flags)
    assert "calibration" not in answer(f"--from {path} --data {voc_folder} {VAL}")


@pytest.fixture
def saved(voc_folder, monkeypatch, tmp_path) -> Path:
    """Detections that no network made: every object but the first, some of them moved."""
    monkeypatch.chdir(tmp_path)
    dataset = load_voc(voc_folder, "voc", "val", ())
    source = {"dataset": f"voc:{voc_folder}", "data": None, "split": "val", "weights": "w"}
    with DetectionLog(Path("d.jsonl"), Header(dataset.classes, source)) as log:
        for index, image_id in enumerate(dataset.ids):
            truth = dataset.ground_truth(index)
            keep = np.arange(len(truth.labels)) > (0 if index == 0 else -1)
            boxes, labels = np.tile(truth.boxes[keep], (2, 1)), np.tile(truth.labels[keep], 2)
            boxes[keep.sum() :, 2:] += 40
            scores = np.linspace(0.9, 0.2, len(labels)) - index / 50
            log.add(
                image_id,
                1,
                Detections(
                    boxes=boxes, scores=scores, labels=labels, image_size=dataset.size(index)
                ),
            )
    return Path("d.jsonl")


FIGURES = ("map", "ap", "images", "objects", "metric", "recall", "precision")


def figures(of: dict) -> dict:
    return {key: of[key] for key in FIGURES}


def test_a_finished_evaluation_is_not_repeated(done, weights, voc_folder, infers) -> None:
    path, first = done
    assert path.parent == Path("runs/eval")
    assert first["images_per_second"] > 0
    again = answer(f"--data {voc_folder} -w {weights} {VAL}")
    assert figures(again) == figures(first)
    assert not infers
    assert "images_per_second" not in again


@pytest.mark.parametrize("cut", [1, 30])
def test_a_killed_evaluation_continues(done, weights, voc_folder, infers, cut) -> None:
    path, first = done
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3])[:-cut])
    again = answer(f"--data {voc_folder} -w {weights} {VAL}")
    assert len(infers) == 3
    assert figures(again) == figures(first)
    assert sorted(path.read_bytes().splitlines()) == sorted(whole.splitlines())


def test_an_interrupted_evaluation_continues(
    weights, voc_folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, calls = Detector.launch, []

    def stop_at_the_third(self, given):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return before(self, given)

    monkeypatch.setattr(Detector, "launch", stop_at_the_third)
    command = f"--data {voc_folder} -w {weights} {VAL} --save mine.jsonl"
    result = run("eval", command)
    assert result.exit_code == 130
    assert "stopped: 2 of 4 images are in mine.jsonl" in result.stderr
    assert answer(command)["images"] == 4
    assert len(calls) == 3 + 2


def test_other_settings_and_other_pictures_are_seen(
    done,
    weights,
    voc_folder,
    infers,
) -> None:
    other = answer(f"--data {voc_folder} -w {weights} {VAL} --max-proposals 50")
    assert len(infers) == 4
    assert other["detections"] != str(done[0])
    picture = voc_folder / "JPEGImages" / "000002.jpg"
    shutil.copy(voc_folder / "JPEGImages" / "000008.jpg", picture)
    answer(f"--data {voc_folder} -w {weights} {VAL}")
    assert len(infers) == 5


def test_save_names_the_file(weights, voc_folder, infers) -> None:
    command = f"--data {voc_folder} -w {weights} {VAL}"
    assert answer(command, "--save mine.jsonl --limit 2")["images"] == 2
    assert answer(command, "--save mine.jsonl")["images"] == 4
    assert len(infers) == 4
    result = run("eval", command, "--save mine.jsonl --max-proposals 9")
    assert "holds detections of other weights, settings or images" in failure(result)


def test_saved_detections_are_evaluated_without_a_network(done, voc_folder, monkeypatch) -> None:
    path, first = done
    monkeypatch.setattr(Detector, "load", lambda *_: pytest.fail("reads weights"))
    assert figures(answer(f"--data {voc_folder} --from {path} {VAL}")) == figures(first)


def test_the_file_knows_its_data_set(done) -> None:
    path, first = done
    assert figures(answer(f"--from {path} --json")) == figures(first)
    assert answer(f"--from {path} --json --limit 3")["images"] == 3


def test_the_same_data_in_every_format(weights, voc_folder, tmp_path) -> None:
    coco = write_coco(voc_folder, tmp_path / "coco")
    yolo = write_yolo(voc_folder, tmp_path / "yolo")
    flags = f"-w {weights} --json --metric voc"
    expected = answer(f"voc:{voc_folder} --split trainval {flags}")
    found = answer(f"coco:{coco} {flags}")
    for key in ("map", "ap", "recall"):
        assert found[key] == pytest.approx(expected[key], abs=1e-6)
    val = answer(f"yolo:{yolo} {flags}")
    assert (val["images"], val["split"]) == (4, "val")


@pytest.mark.parametrize(
    ("name", "metric"), [("coco", "coco AP at IoU 0.5, 0.55"), ("yolo", "voc07"), ("voc", "voc07")]
)
def test_the_usual_metric(weights, voc_folder, tmp_path, name, metric) -> None:
    place = voc_folder
    if name == "coco":
        place = write_coco(voc_folder, tmp_path / "c")
    if name == "yolo":
        place = write_yolo(voc_folder, tmp_path / "y")
    found = answer(f"{name}:{place} -w {weights} --json")
    assert found["metric"].startswith(metric)
    assert ("coco" in found) == (name == "coco")


def test_metrics_differ_and_are_named(saved) -> None:
    found = {name: answer(f"--from {saved} --json --metric {name}") for name in ("voc07", "voc")}
    assert found["voc07"]["map"] != found["voc"]["map"]
    shown = run(f"eval --from {saved} --metric coco")
    assert shown.exit_code == 0, shown.output
    assert re.search(r"AP50 0\.\d{3} +AP75 0\.\d{3} +APs", shown.stdout)
    assert "coco AP at IoU 0.5" in shown.stdout


def test_some_classes(saved) -> None:
    first = answer(f"--from {saved} --json")
    some = answer(f"--from {saved} --json --classes tile,ball")
    assert some["ap"] == {name: first["ap"][name] for name in ("tile", "ball")}
    assert some["map"] == pytest.approx(sum(some["ap"].values()) / 2, abs=1e-5)
    line = failure(run(f"eval --from {saved} --classes bal"))
    assert "unknown class 'bal'" in line


def test_what_cannot_be_measured_is_refused_before_detection(
    weights, voc_folder, infers, monkeypatch
) -> None:
    evaluation = f"eval --data {voc_folder} -w {weights} {VAL}"
    assert "unknown class 'bal'" in failure(run(evaluation, "--classes bal"))
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    assert "need pycocotools" in failure(run(evaluation, "--metric coco"))
    assert not infers


def test_classes_that_one_side_lacks_are_named(weights, voc_folder) -> None:
    for path in (voc_folder / "Annotations").glob("*.xml"):
        path.write_text(path.read_text().replace("<name>ball", "<name>zebra"))
    result = run(f"eval --data {voc_folder} -w {weights} --split val")
    assert result.exit_code == 0, result.output
    assert "only in w: without objects" in " ".join(result.stderr.split())
    row = next(line for line in result.stderr.splitlines() if "ball" in line)
    assert "zebra" in row


@pytest.mark.parametrize(("limit", "status"), [("0", 0), ("1", 1)])
def test_fail_under(saved, limit, status) -> None:
    result = run(f"eval --from {saved} --json --fail-under {limit}")
    assert result.exit_code == status
    assert 0 < json.loads(result.stdout)["map"] < 1
    if status:
        assert "is below --fail-under 1" in failure(result)


def test_fail_under_is_no_per_cent(saved) -> None:
    for value in ("65", "nan"):
        result = run(f"eval --from {saved} --fail-under {value}")
        assert f"--fail-under {value} is out of range" in failure(result)
        assert result.stdout == ""


def test_fail_under_fails_without_objects(saved, voc_folder) -> None:
    for path in (voc_folder / "Annotations").glob("*.xml"):
        path.write_text(path.read_text().replace("<difficult>0", "<difficult>1"))
    result = run(f"eval --from {saved} --json --fail-under 0")
    assert "the mean AP –, without objects, is below" in failure(result)


def test_settings_of_a_detector_from_elsewhere_are_no_hindrance(saved, monkeypatch) -> None:
    monkeypatch.setenv("FRCNN_EVAL_NMS", "0.3")
    Path("settings.toml").write_text('proposals = "dense"\nbatch = 2\n')
    assert answer(f"--from {saved} --json --config settings.toml")["images"] == 4


def test_compare_two_files(saved) -> None:
    lines = saved.read_text().splitlines()
    worse = [json.loads(line) for line in lines[1:]]
    for content in worse:
        content["scores"].reverse()
    changed = [lines[0], *map(json.dumps, worse)]
    Path("b.jsonl").write_text("".join(f"{line}\n" for line in changed))
    values = [answer(f"--from {path} --json")["map"] for path in (saved, "b.jsonl")]
    result = run(f"eval --compare {saved} b.jsonl --resamples 50 --json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [row["class"] for row in found["classes"]] == ["ball", "box", "tile", "mean"]
    mean = found["classes"][-1]
    assert [mean["a"], mean["b"]] == values
    assert mean["difference"] == pytest.approx(values[1] - values[0], abs=1e-6)
    assert mean["low"] <= mean["high"] < 0
    assert mean["certain"]
    shown = run(f"eval --compare {saved} {saved} --resamples 50")
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.count("may be chance") == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--compare D D --from D", "--compare excludes --from"),
        ("--compare D D --metric coco", "--compare does not support --metric coco"),
        ("--compare D absent.jsonl", "cannot read absent.jsonl"),
        ("--from absent.jsonl", "cannot read absent.jsonl"),
        ("--from D --weights absent --save b", "--weights and --save are for a detector"),
        ("--from D --save new.jsonl", "--save is for a detector"),
        ("--compare D D -w absent", "--weights is for a detector"),
        ("--from D --proposals dense", "--proposals is for a detector, not for detections"),
        ("--from D --device cpu --batch 2 -j 1", "--batch and --device and --jobs are for a"),
        ("--compare D D --nms 0.3", "--nms is for a detector"),
        ("--from D --no-cascade", "--no-cascade is for a detector"),
        ("--from D --resamples 5", "--resamples is for --compare"),
        ("--compare D D --score 0.3", "--score is for recall and precision, which --compare"),
        ("--from results.json --data V", "results.json: entry 0 is of an unknown image 77"),
        ("--from cut.json --data V", "cut.json is cut off"),
        ("--from cut.jsonl", "cut.jsonl is cut off"),
        ("yolo:V", "names no classes"),
        ("coco:D", "is not JSON"),
    ],
)
def test_bad_input_is_one_line(saved, voc_folder, arguments, message) -> None:
    Path("results.json").write_text('[{"image_id": 77}]')
    Path("cut.json").write_text('[{"image_id": 77, "cate')
    Path("cut.jsonl").write_bytes(saved.read_bytes()[:-30])
    before = set(Path().rglob("*"))
    words = arguments.replace("D", str(saved)).replace("V", str(voc_folder))
    assert message in failure(run("eval", words))
    assert set(Path().rglob("*")) == before


def test_a_report(saved) -> None:
    found = answer(f"--from {saved} --json --report out")
    assert found["report"] == "out/index.html"
    assert f"{found['map']:.3f}" in Path("out/index.html").read_text()
    assert len(list(Path("out/curves").iterdir())) == 4


def test_a_report_in_a_file_is_refused(saved) -> None:
    Path("out").write_text("mine")
    failed = failure(run(f"eval --from {saved} --report out"))
    assert "cannot write out/index.html: Not a directory" in failed
    assert Path("out").read_text() == "mine"


@pytest.mark.parametrize("name", ["index.html", "images.csv", "curves/all.svg"])
def test_a_report_replaces_no_page_that_was_there(saved, name) -> None:
    Path("out/curves").mkdir(parents=True)
    Path("out", name).write_text("mine")
    command = f"eval --from {saved} --report out"
    assert f"out/{name} exists already" in failure(run(command))
    assert [path.read_text() for path in Path("out").rglob("*") if path.is_file()] == ["mine"]
    assert run(f"{command} --overwrite").exit_code == 0
    assert Path("out", name).read_text() != "mine"


def test_training_takes_every_format(init, voc_folder, tmp_path) -> None:
    coco = write_coco(voc_folder, tmp_path / "coco")
    write_yolo(voc_folder, tmp_path / "yolo")
    flags = "--iterations 1 --backbone tiny --scales 100 --max-size 160 --rois-per-batch 16"
    for spec in (f"coco:{coco}", "yolo:yolo"):
        result = run(f"train {spec} {flags} --init {init} --json")
        assert result.exit_code == 0, result.output
        settings = Path(json.loads(result.stdout)["run"], "config.toml").read_text()
        assert f'dataset = "{spec.replace("yolo:", f"yolo:{tmp_path}/")}"' in settings
    proposed = json.loads(run(f"propose coco:{coco} --json").stdout)
    assert (proposed["images"], proposed["cached"]) == (8, 8)


@pytest.mark.parametrize(
    ("trained_on", "seen"),
    [
        ("voc2007 trainval, 14 images", True),
        ("voc2007+voc2012 val, 14 images", True),
        ("voc2007 train, 9 images", False),
        ("voc2012 trainval, 14 images", False),
        ("", False),
    ],
)
def test_training_images_are_reported(weights, voc_folder, trained_on, seen) -> None:
    model, header = load_weights(weights)
    save_weights(weights, model, replace(header, provenance={"data": trained_on}))
    devkit = Path("VOCdevkit/VOC2007")
    shutil.copytree(voc_folder, devkit)
    result = run("eval voc2007 --split val --limit 1", f"--data {devkit.parent} -w {weights}")
    assert ("which has these images" in " ".join(result.stderr.split())) == seen


def test_a_limit_on_detections_that_is_reached_is_told(weights, voc_folder) -> None:
    command = f"--data {voc_folder} --split val --weights {weights}"
    few = run("eval", command, "--top 1")
    assert "4 of 4 images have as many detections as --top allows" in few.stdout
    saved = answer(f"{command} --json --top 1")
    assert saved["full_images"] == 4
    assert answer(f"--from {saved['detections']} --json")["full_images"] == 4
    assert "full_images" not in answer(f"{command} --json --top 5000")


def test_classes_of_the_data_set_can_be_renamed(saved, voc_folder) -> None:
    first = answer(f"--from {saved} --json")
    for path in (voc_folder / "Annotations").glob("*.xml"):
        path.write_text(path.read_text().replace("<name>ball", "<name>sphere"))
    assert answer(f"--from {saved} --json")["ap"]["sphere"] == 0
    mapped = answer(f"--from {saved} --json --map sphere=ball")
    assert figures(mapped) == figures(first)
    assert "is not understood" in failure(run(f"eval --from {saved} --map sphere"))
    assert "unknown class 'shpere'" in failure(run(f"eval --from {saved} --map shpere=ball"))


def test_classes_may_be_given_several_times(saved) -> None:
    once = answer(f"--from {saved} --json --classes tile,ball")
    assert answer(f"--from {saved} --json --classes tile --classes ball")["ap"] == once["ap"]
    assert class_names(["a,b", "a", "c, d"], ("a,b", "a")) == ("a,b", "a", "c", "d")
    assert parse_map(["a=b=c", "d = e"], ("a=b", "d")) == {"a=b": "c", "d": "e"}


def test_words_for_one_class_are_told(weights, voc_folder) -> None:
    for path in (voc_folder / "Annotations").glob("*.xml"):
        path.write_text(path.read_text().replace("<name>ball", "<name>couch"))
    network, header = load_weights(weights)
    save_weights(weights, network, replace(header, classes=("sofa", *header.classes[1:])))
    result = run(f"eval --data {voc_folder} -w {weights} --split val --json")
    assert "class couch of voc is taken for sofa of w" in result.stderr
    assert json.loads(result.stdout)["objects"] == 8


@pytest.mark.parametrize("name", ["coco", "yolo"])
def test_a_folder_given_with_data_alone_may_have_any_format(
    weights, voc_folder, tmp_path, name
) -> None:
    write = write_coco if name == "coco" else write_yolo
    write(voc_folder, tmp_path / name)
    flags = f"--split val --json --metric voc07 --weights {weights}"
    first = answer(f"{name}:{tmp_path / name} {flags}")
    found = answer(f"--data {tmp_path / name} {flags}")
    assert figures(found) == figures(first)
    again = answer(f"--from {found['detections']} --data {tmp_path / name} --split val --json")
    assert again["metric"].startswith("coco" if name == "coco" else "voc07")
    assert again["images"] == first["images"]


def test_both_protocols_side_by_side(weights, voc_folder) -> None:
    common = f"--data {voc_folder} -w {weights}"
    both = answer(f"{common} {VAL} --protocol both")
    ours, original = (
        answer(f"{common} {VAL} --protocol {name}") for name in ("py-faster-rcnn", "fast-rcnn")
    )
    assert both["map"] == ours["map"]
    assert both["protocols"] == {
        "py-faster-rcnn": pytest.approx(ours["map"], abs=1e-6),
        "fast-rcnn": pytest.approx(original["map"], abs=1e-6),
    }
    shown = run("eval", f"{common} --split val --protocol both").stdout
    assert re.search(r"mean by protocol: py-faster-rcnn 0\.\d{4}, fast-rcnn 0\.\d{4}", shown)


def test_a_protocol_needs_a_detector(saved) -> None:
    assert "--protocol is for a detector" in failure(run("eval", f"--from {saved} --protocol both"))


@pytest.mark.parametrize(
    "option",
    ["--nms 0.3", "--vote 0", "--top 50", "--class-top 20", "--soft-nms", "--class-agnostic"],
)
def test_the_papers_code_has_an_nms_of_its_own(option: str) -> None:
    line = failure(run("eval", f"--protocol fast-rcnn {option}"))
    assert f"--protocol fast-rcnn excludes {option.split()[0]}: " in line
