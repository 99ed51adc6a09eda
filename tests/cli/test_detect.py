from __future__ import annotations

import io
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from frcnn_cli.checkpoints.weights import WeightsHeader, save_weights
from frcnn_cli.cli.app import app
from frcnn_cli.cli.console import ProgressLine
from frcnn_cli.cli.detect_output import JsonLines, Table
from frcnn_cli.inference.result import Result
from frcnn_cli.models.backbones import CAFFE_PIXELS
from frcnn_cli.models.detectors import build_network
from frcnn_cli.structures import Detections
from tiny import CLASSES, NAME, add_tiny_backbone


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    add_tiny_backbone(monkeypatch, tmp_path)
    torch.manual_seed(1)
    model = build_network(NAME, 3)
    torch.nn.init.normal_(model.cls_score.weight, std=0.5)
    header = WeightsHeader(
        backbone=NAME, classes=CLASSES, pixels=CAFFE_PIXELS, scale=100, max_size=160
    )
    save_weights(Path("w.safetensors"), model, header)


def run(arguments: str, stdin: str | None = None, status: int = 0):
    words = ["detect", *shlex.split(arguments), "-w", "w.safetensors"]
    result = CliRunner().invoke(app, words, input=stdin)
    assert result.exit_code == status, (result.output, result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def picture(name: str) -> Path:
    rng = np.random.default_rng(len(name))
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(name)
    return Path(name)


def names(result) -> list[str]:
    return [each["image"] for each in json.loads(result.stdout)]


def test_a_mixture_of_sources_in_order() -> None:
    for name in ("a.png", "d/b.png", "d/in/c.png", "l/e.png"):
        picture(name)
    result = run("a.png d -r - 'l/*.png' --json", "a.png\nl/f f.png\n", status=1)
    assert names(result) == ["a.png", "d/b.png", "d/in/c.png", "l/e.png"]
    assert "cannot read l/f f.png" in result.stderr
    assert "1 of 5 images failed" in result.stderr


def test_the_list_of_an_interrupted_run_is_whole(monkeypatch) -> None:
    show = JsonLines.add

    def stopping(self, result, progress) -> None:
        show(self, result, progress)
        if result.name == "b.png":
            raise KeyboardInterrupt

    monkeypatch.setattr(JsonLines, "add", stopping)
    for name in ("a.png", "b.png", "c.png"):
        picture(name)
    assert names(run("a.png b.png c.png --json", status=130)) == ["a.png", "b.png"]


def test_a_list_without_readable_files() -> None:
    result = run("- --json", "x.png\ny.png\n", status=1)
    assert json.loads(result.stdout) == []
    assert "2 of 2 images failed" in result.stderr


def test_a_video(tmp_path) -> None:
    av = pytest.importorskip("av")
    with av.open("clip.mp4", "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for number in range(12):
            level = np.full((48, 64, 3), number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(level, format="rgb24")))
        container.mux(stream.encode())
    picture("a.png")
    result = run("clip.mp4 a.png --every 5 --out o --json")
    assert names(result) == ["clip.mp4#0", "clip.mp4#5", "clip.mp4#10", "a.png"]
    assert sorted(path.name for path in Path("o").iterdir()) == [
        "a.jpg", "clip-000000.jpg", "clip-000005.jpg", "clip-000010.jpg",
    ]  # fmt: skip


def test_formats_and_where_they_go() -> None:
    picture("000007.png")
    result = run("000007.png --out o --format coco,voc,yolo,csv --score 0.1 --json")
    found = json.loads(result.stdout)[0]["detections"]
    assert found
    assert {path.name for path in Path("o").iterdir()} == {
        "coco.json", "voc", "labels", "detections.csv",
    }  # fmt: skip
    entries = json.loads(Path("o/coco.json").read_text())
    assert [CLASSES[each["category_id"] - 1] for each in entries] == [e["label"] for e in found]
    assert {each["image_id"] for each in entries} == {7}
    assert "wrote coco, voc, yolo, csv to o" in result.stderr


def test_a_format_needs_a_folder() -> None:
    picture("a.png")
    for flags, names in (
        ("-f coco", "--format"),
        ("-f picture", "--format"),
        ("--overwrite -f csv", "--format and --overwrite"),
    ):
        assert f"{names} without a folder" in run(f"a.png {flags}", status=1).stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--out o --format cooc", "did you mean 'coco'?"),
        ("--every 2minutes", "--every 2minutes is not understood"),
    ],
)
def test_bad_flags(flags, message) -> None:
    picture("a.png")
    assert message in run(f"a.png {flags}", status=1).stderr
    assert not Path("o").exists()


def test_the_table_is_printed_image_by_image() -> None:
    picture("a.png")
    lines = run("a.png -q --score 0.1 --top 2").stdout.splitlines()
    assert lines[0].split() == ["image", "class", "score", "x1", "y1", "x2", "y2"]
    assert len(lines) == 3
    assert lines[1].split()[0] == "a.png"
    assert lines[2].split()[0] in CLASSES
    assert len({len(line) for line in lines}) == 1


def test_soft_nms_finds_at_least_as_much() -> None:
    picture("a.png")
    hard, soft = (
        json.loads(run(f"a.png --score 0.05 --nms 0 --json {flag}").stdout)[0]["detections"]
        for flag in ("", "--soft-nms")
    )
    assert len(soft) > len(hard)
    assert soft[0] == hard[0]


def test_pictures_in_one_pass_and_in_another_precision() -> None:
    for name in "abc":
        picture(f"{name}.png")
    alone, together, rough = (
        json.loads(run(f"a.png b.png c.png --score 0.3 --json {flags}").stdout)
        for flags in ("--precision fp32", "--precision fp32 --batch 2", "--precision bf16")
    )
    assert [each["image"] for each in together] == ["a.png", "b.png", "c.png"]
    assert [each["detections"] for each in together] == [each["detections"] for each in alone]
    assert rough[0]["detections"]
    assert [each["detections"] for each in rough] != [each["detections"] for each in alone]


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU has float16")
def test_half_precision_is_for_gpus() -> None:
    picture("a.png")
    assert "fp16 is for GPUs" in run("a.png --precision fp16", status=1).stderr


def test_memory_does_not_grow_and_a_failure_is_reported_at_the_end(monkeypatch) -> None:
    """Every result is dropped before the one after the next is made."""
    from frcnn_cli.inference import detector as detect

    alive = 0

    class Counted(detect.Result):
        def __init__(self, **arguments: object) -> None:
            nonlocal alive
            super().__init__(**arguments)
            alive += 1
            assert alive <= 2

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    monkeypatch.setattr(detect, "Result", Counted)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, format="PNG")
    Path("many").mkdir()
    for number in range(40):
        Path("many", f"{number:04d}.png").write_bytes(buffer.getvalue())
    Path("many", "0020.png").write_bytes(b"broken")
    result = run("many --json --out o -f csv,coco,voc --score 1", status=1)
    assert len(names(result)) == 39
    assert "many/0020.png is text, not an image" in result.stderr
    assert len(Path("o/detections.csv").read_text().splitlines()) == 1


def test_a_folder_that_cannot_be_made_is_refused_before_detection() -> None:
    photo = picture("a.png")
    content = photo.read_bytes()
    result = run("a.png --out a.png", status=1)
    assert "cannot write a.png/…: Not a directory" in result.stderr
    assert result.stdout == ""
    assert photo.read_bytes() == content


def test_profile() -> None:
    picture("a.png")
    Path("b.png").write_bytes(b"broken")
    result = run("a.png b.png --profile --json", status=1)
    assert "b.png is text, not an image" in result.stderr
    assert "1 of 2 images failed" in result.stderr
    about = json.loads(result.stdout)
    names = [stage["name"] for stage in about["stages"]]
    assert names == [
        "decode", "propose", "scale", "conv", "RoI pool", "fc6", "fc7", "heads", "NMS", "draw",
    ]  # fmt: skip
    assert all(stage["milliseconds"] > 0 for stage in about["stages"])
    floors = {stage["name"]: stage["floor"] for stage in about["stages"]}
    assert {name for name, floor in floors.items() if floor is not None} == {
        "conv", "RoI pool", "fc6", "fc7", "heads",
    }  # fmt: skip
    second = 1000 * about["distinct"] / about["gemm_flops"]
    assert floors["fc6"] == pytest.approx(2 * 144 * 32 * second)
    # scores of all, boxes of those alone that some class could keep
    assert 2 * 24 * 4 * second * 0.999 < floors["heads"] < 2 * 24 * 20 * second
    # scaled to 100×150; strides 4 and 16
    convolutions = 2 * (25 * 38 * 8 * 27 + 7 * 10 * 16 * 72)
    assert floors["conv"] == pytest.approx(1000 * convolutions / about["gemm_flops"])
    assert (about["pictures"], 0 < about["distinct"] <= about["rois"]) == (1, True)
    lines = run("a.png --profile").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:11]] == [name.split()[0] for name in names]
    assert "is text, not an image" in run("b.png --profile", status=1).stderr
    assert "--profile writes nothing" in run("a.png --profile --out o", status=1).stderr
    assert "takes whole images one by one" in run("a.png --profile --batch 2", status=1).stderr


def test_boxes_of_a_file() -> None:
    """Taken in when they are first needed."""
    picture("a.png")
    picture("bb.png")
    boxes = {"a": [[0, 0, 30, 30], [10, 5, 60, 40]], "bb": [[0, 0, 60, 40]]}
    rows = [{"image": name, "boxes": own} for name, own in boxes.items()]
    Path("boxes.json").write_text(json.dumps({"images": rows}))
    answered = run("a.png bb.png --proposals boxes.json --json --score 0")
    answer = json.loads(answered.stdout)
    assert [each["proposals"] for each in answer] == [2, 1]
    first = run("a.png --proposals boxes.json --json")
    assert "boxes.json" not in first.stderr  # it has been taken in
    assert [
        s["name"]
        for s in json.loads(run("a.png --proposals boxes.json --profile --json").stdout)["stages"]
    ][1] == "propose"
    rows[1]["boxes"] *= 2
    Path("more.json").write_text(json.dumps({"images": rows}))
    told = run("a.png bb.png --proposals more.json --max-proposals 1").stderr
    assert "images have up to 2 boxes; the first 1 are used" in told
    assert "images have up to" not in answered.stderr
    picture("ccc.png")
    for words in ("--json", "--profile --json"):
        told = run(f"a.png ccc.png --proposals boxes.json {words}", status=1).stderr
        assert "ccc.png: boxes.json has no boxes for one of the images" in told


def test_a_write_error_does_not_stop_the_other_images() -> None:
    names = ["a.png", f"{'n' * 248}.png", "c.png"]
    for name in names:
        picture(name)
    result = run(f"{' '.join(names)} --out o --format csv,picture --score 0", status=1)
    assert "1 of 3 images failed" in result.stderr
    assert {path.name for path in Path("o").iterdir()} == {"a.jpg", "c.jpg", "detections.csv"}
    assert {line.split(",")[0] for line in Path("o/detections.csv").read_text().splitlines()} == {
        "image",
        "a.png",
        "c.png",
    }


def test_control_characters_in_names_are_not_printed() -> None:
    picture("a\x1b[31m.png")
    assert "\x1b" not in run("a*.png --score 0").stdout


def test_lists_in_a_file_of_settings() -> None:
    picture("a.png")
    Path("c.toml").write_text('formats = ["csv", "yolo"]\nclasses = ["ball", "tile"]\n')
    run("a.png --config c.toml --out o --score 0")
    assert {path.name for path in Path("o").iterdir()} == {"detections.csv", "labels"}


def test_profile_in_half_precision() -> None:
    picture("a.png")
    about = json.loads(run("a.png --profile --precision bf16 --json").stdout)
    assert all(stage["milliseconds"] > 0 for stage in about["stages"])


def test_a_limit_on_detections_that_is_reached_is_told() -> None:
    picture("a.png")
    assert (
        "1 of 1 images have 1 detections, the most of --top"
        in run("a.png --score 0.01 --top 1").stderr
    )
    assert "the most of --top" not in run("a.png --score 0.01 --top 5000").stderr


def test_tiles() -> None:
    picture("large.png")
    Image.open("large.png").resize((150, 90)).save("large.png")
    whole, tiled = (json.loads(run(f"large.png --score 0.01 --top 5000 --json {flag}").stdout)[0]
                    for flag in ("", "--tile 64"))  # fmt: skip
    assert tiled["proposals"] > whole["proposals"]
    assert "leave out" in run("large.png --tile 64 --profile", status=1).stderr


def test_names_of_frames_and_long_names_keep_the_columns(capsys) -> None:
    table = Table(["a/clip.mp4", "b.png"], CLASSES)
    found = Detections(
        boxes=np.array([[1, 2, 30, 40]], np.float32),
        scores=np.array([0.5], np.float32),
        labels=np.array([1]),
        image_size=(50, 60),
    )
    for name in ("a/clip.mp4#0", "a/clip.mp4#123456", "b.png", "x" * 50 + "#7"):
        result = Result(name=name, stem="", image=np.zeros((50, 60, 3), np.uint8),
                        detections=found, classes=CLASSES, proposals=1, seconds=0)  # fmt: skip
        table.add(result, ProgressLine("", 1, "images"))
    lines = capsys.readouterr().out.splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[2].startswith("clip.mp4#123456 ")
    assert lines[4].split()[0].endswith("x#7")
