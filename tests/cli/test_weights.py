from __future__ import annotations

import hashlib
import json
import math
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.main import get_command
from typer.testing import CliRunner

from frcnn_cli.checkpoints.weights import WeightsHeader, load_weights, save_weights
from frcnn_cli.cli.app import app
from frcnn_cli.models.backbones import CAFFE_PIXELS
from frcnn_cli.models.detectors import build_network
from frcnn_cli.models.score_calibration import ScoreCalibration
from frcnn_cli.runtime import paths
from tiny import CLASSES, NAME, add_tiny_backbone

COMMANDS = get_command(app).commands["weights"].commands  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, frcnn_home: Path) -> Path:
    """One compressed detector, `a`, in the home's weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "checkout", lambda: None)
    monkeypatch.setattr(paths, "PACKAGE", tmp_path / "nowhere")
    add_tiny_backbone(monkeypatch, tmp_path)
    model = build_network(NAME, 3)
    model.set_ranks({"fc6": 4})
    header = WeightsHeader(
        backbone=NAME,
        classes=CLASSES,
        pixels=CAFFE_PIXELS,
        scale=96,
        max_size=160,
        ranks={"fc6": 4},
        provenance={"data": "drawn"},
    )
    path = frcnn_home / "weights" / "a.safetensors"
    save_weights(path, model, header, half=True)
    return path


def run(arguments: str, status: int = 0):
    result = CliRunner().invoke(app, ["weights", *shlex.split(arguments)])
    assert result.exit_code == status, (result.output, result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name) -> None:
    run(f"{name} --help")
    example = re.search(r"Example: frcnn weights (\w+)(.*)", COMMANDS[name].help)
    assert example is not None
    assert example[1] == name
    flags = {flag for option in COMMANDS[name].params for flag in option.opts}
    assert all(word in flags for word in shlex.split(example[2]) if word.startswith("-"))


def test_list(here, frcnn_home) -> None:
    (frcnn_home / "weights" / "other.safetensors").write_bytes(b"something else")
    rows = json.loads(run("list --json").stdout)
    assert rows == [
        {
            "name": "a", "path": str(here), "bytes": here.stat().st_size, "backbone": NAME,
            "classes": 3, "ranks": {"fc6": 4}, "data": "drawn",
        },
        {
            "name": "other", "path": str(here.with_name("other.safetensors")), "bytes": 14,
            "backbone": None,
        },
    ]  # fmt: skip
    text = run("list").stdout
    assert "a: tiny, 3 classes, rank fc6 4, trained on drawn" in text
    assert "other: not a detector" in text


def test_list_leaves_out_links_that_lead_nowhere(here) -> None:
    here.with_name("gone.safetensors").symlink_to(here.with_name("nothing"))
    assert [row["name"] for row in json.loads(run("list --json").stdout)] == ["a"]


def test_list_without_weights(here) -> None:
    here.unlink()
    assert json.loads(run("list --json").stdout) == []
    assert "no weights in" in run("list").stdout


def test_show(here) -> None:
    about = json.loads(run("show a --json").stdout)
    assert about["sha256"] == hashlib.sha256(here.read_bytes()).hexdigest()
    assert (about["backbone"], about["classes"]) == (NAME, list(CLASSES))
    assert (about["ranks"], about["dtype"]) == ({"fc6": 4}, "F16")
    assert about["parameters"] == {
        "convolutions": 8 * 27 + 8 + 16 * 72 + 16,
        "fc6": 4 * 144 + 32 * 4 + 32,
        "fc7": 24 * 32 + 24,
        "cls_score": 4 * 24 + 4,
        "bbox_pred": 16 * 24 + 16,
    }
    assert about["flops"]["roi"] == 2 * (4 * 144 + 32 * 4 + 24 * 32 + 20 * 24)
    # 96×128 pixels, strides 4 and 16
    assert about["flops"]["features"] == 2 * (24 * 32 * 8 * 27 + 6 * 8 * 16 * 72)
    assert about["provenance"] == {"data": "drawn"}
    text = run("show a").stdout
    for words in (
        about["sha256"],
        "fast_rcnn, scores: softmax",
        "fc6 4",
        "drawn",
        "3: ball, box, tile",
    ):
        assert words in text


def test_show_tells_the_origin_without_what_only_the_program_needs(here: Path) -> None:
    network, header = load_weights(here)
    sketch = {"image_sketch": {"count": 2, "hashes": ["00f1"]}}
    before = {"data": "painted", "iterations": 7, **sketch}
    provenance = {"data": "drawn", "compression": None, "trained_from": before, **sketch}
    save_weights(Path("b.safetensors"), network, replace(header, provenance=provenance))
    text = run("show b.safetensors").stdout
    lines = [" ".join(line.split()) for line in text.splitlines()[-3:]]
    assert lines == ["data drawn", "before: data painted", "before: iterations 7"]
    assert "00f1" not in text
    assert json.loads(run("show b.safetensors --json").stdout)["provenance"] == provenance


def test_the_list_names_the_default(here: Path) -> None:
    here.rename(here.with_name("efficientnet_lite0-voc07.safetensors"))
    assert "efficientnet_lite0-voc07 (the default): tiny" in run("list").stdout


def test_show_gives_strict_json(here: Path) -> None:
    network, header = load_weights(here)
    odd = replace(header, provenance={"a": [math.nan, -math.inf, 1.5]})
    save_weights(Path("odd.safetensors"), network, odd)

    def refuse(name: str) -> None:
        raise ValueError(name)

    shown = json.loads(run("show odd.safetensors --json").stdout, parse_constant=refuse)
    assert shown["provenance"] == {"a": [None, None, 1.5]}


def test_show_an_unknown_name() -> None:
    assert "unknown weights 'b'" in run("show b", status=1).stderr


def state_dict(path: Path) -> Path:
    torch.manual_seed(3)
    torch.save(build_network(NAME, 3).state_dict(), path)
    return path


def test_import_and_detect_by_name(here, frcnn_home) -> None:
    state_dict(Path("mine.pth"))
    answer = json.loads(
        run("import mine.pth --classes ball,box,tile --scale 96 --max-size 160 --json").stdout
    )
    target = frcnn_home / "weights" / "mine.safetensors"
    assert answer == {"path": str(target), "backbone": NAME, "kind": "detector"}
    _, header = load_weights(target)
    assert (header.classes, header.scale, header.max_size) == (CLASSES, 96, 160)
    assert header.provenance == {"imported from": "mine.pth"}
    assert "mine: tiny, 3 classes" in run("list").stdout
    again = run("import mine.pth --classes ball,box,tile", status=1)
    assert "exists" in again.stderr


def test_imported_initial_weights_are_used_with_their_pixels(here) -> None:
    state = {
        k: v for k, v in build_network(NAME, 3).state_dict().items() if k.startswith("features")
    }
    torch.save(state, "initial.pth")
    flags = f"--backbone {NAME} --pixels torchvision"
    said = " ".join(run(f"import initial.pth {flags} --out i.safetensors").stdout.split())
    assert f"frcnn train --backbone {NAME} --init i.safetensors --pixels torchvision" in said


@pytest.mark.parametrize("odd", [{3: torch.ones(2)}, {"a": torch.ones(2, dtype=torch.complex64)}])
def test_a_state_dict_of_odd_things(here, odd) -> None:
    torch.save(odd, "odd.pth")
    assert "something other than plain tensors by name" in run("import odd.pth", status=1).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("import nothere.pth", "no weights file nothere.pth"),
        ("import nothere.caffemodel", "cannot be read"),
        ("import mine.pth", "expected 20 classes"),
        ("import mine.pth --classes a,b,a", "--classes has a name twice"),
        ("import mine.pth --classes a,b,c --backbone vgg61", "unknown backbone 'vgg61'"),
        ("import mine.pth --classes a,b,c --backbone alexnet", "is of shape"),
        ("import mine.pth --classes a,b,c --pixels bgr", "unknown pixels 'bgr'"),
        (
            "import mine.pth --classes a,b,c --scale 9 --max-size 8",
            "--scale 9 and --max-size 8 are out of range",
        ),
        ("import mine.pth --classes a,b,c --out x.pth", "x.pth has the wrong ending"),
        ("import mine.pth --classes a,b,c --out mine.safetensors", "mine.safetensors exists"),
        ("export b", "unknown weights 'b'"),
        ("export a --out a.pb", "a.pb has the wrong ending"),
        ("export a --out there.onnx", "there.onnx exists"),
        ("export a --scale 300", "--scale, --max-size, --views and --calibration are for a copy"),
        ("export a --out mine.safetensors", "mine.safetensors exists"),
        (
            "export a --out b.safetensors --scale 2000",
            "--scale 2000 and --max-size 160 are out of range",
        ),
        (
            "export a --out b.safetensors --max-size 50",
            "--scale 96 and --max-size 50 are out of range",
        ),
        ("export a --views 80,90", "--views and --calibration are for a copy"),
        ("export a --calibration 1,2", "--views and --calibration are for a copy"),
        ("export a --out b.safetensors --calibration 2", "not a slope and an offset"),
        ("export a --out b.safetensors --calibration 0,1", "'0,1' is not a slope and an offset"),
        ("export a --out b.safetensors --calibration 0.001,1", "not a slope and an offset"),
        ("export a --out b.safetensors --calibration 1,nan", "not a slope and an offset"),
        ("export a --out b.safetensors --calibration 1,2,3", "not a slope and an offset"),
        ("export a --out b.safetensors --views 80,big", "--views '80,big' is not understood"),
        ("export a --out b.safetensors --views 80,0", "--views 80,0 is out of range"),
        ("export a --out b.safetensors --views 80,200", "--views 80,200 is out of range"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(arguments, message, frcnn_home) -> None:
    state_dict(Path("mine.pth"))
    Path("mine.safetensors").touch()
    Path("there.onnx").touch()
    before = set(Path().rglob("*")) | set(frcnn_home.rglob("*"))
    result = run(arguments, status=1)
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "wrong ending" not in message or ".safetensors" in result.stderr
    assert set(Path().rglob("*")) | set(frcnn_home.rglob("*")) == before


def test_export_without_the_exporter(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    result = run("export a", status=1)
    assert "onnx is not installed" in result.stderr
    assert "pip install onnx onnxscript" in result.stderr


def test_a_copy_may_detect_at_another_scale() -> None:
    run("export a --out b.safetensors --scale 123 --max-size 456")
    network, header = load_weights(Path("b.safetensors"))
    assert (header.scale, header.max_size) == (123, 456)
    run("export a --out d.safetensors --scale 1 --max-size 10000")
    run("show d.safetensors")  # which has no size of its own for so small an image
    run("export a --out c.safetensors")
    same, before = load_weights(Path("c.safetensors"))
    assert (before.scale, before.max_size) != (123, 456)
    for one, other in zip(network.parameters(), same.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_copy_may_detect_in_several_views() -> None:
    run("export a --out b.safetensors --views 96,120")
    assert load_weights(Path("b.safetensors"))[1].views == (96, 120)
    assert "views" in run("show b.safetensors").stdout
    refused = run("export b.safetensors --out c.safetensors --scale 80", status=1)
    assert "--scale 80 would change nothing: b detects in the views 96,120" in refused.stderr
    run('export b.safetensors --out c.safetensors --views "" --scale 80')
    header = load_weights(Path("c.safetensors"))[1]
    assert (header.views, header.scale) == ((), 80)
    assert "views" not in run("show c.safetensors").stdout


def test_export_in_half_precision() -> None:
    torch.manual_seed(1)
    model = build_network(NAME, 3)
    header = WeightsHeader(
        backbone=NAME, classes=CLASSES, pixels=CAFFE_PIXELS, scale=96, max_size=160
    )
    save_weights(Path("trained.safetensors"), model, header)
    run("export trained.safetensors --out small.safetensors")
    sizes = [Path(f"{name}.safetensors").stat().st_size for name in ("trained", "small")]
    assert sizes[1] < 0.6 * sizes[0]
    small, told = load_weights(Path("small.safetensors"))
    assert told == header
    for key, tensor in model.state_dict().items():
        assert torch.equal(small.state_dict()[key], tensor.half().float()), key


def test_a_copy_may_have_calibrated_scores() -> None:
    run("export a --out b.safetensors --calibration 1.25,-2")
    expected = ScoreCalibration(slope=1.25, offset=-2.0)
    assert load_weights(Path("b.safetensors"))[1].calibration == expected
    assert "softmax, calibrated by 1.25,-2.0\n" in run("show b.safetensors").stdout
    shown = json.loads(run("show b.safetensors --json").stdout)
    assert shown["calibration"] == {"slope": 1.25, "offset": -2.0}
    run("export b.safetensors --out same.safetensors --scale 96")
    assert load_weights(Path("same.safetensors"))[1].calibration == expected
    run('export b.safetensors --out c.safetensors --calibration ""')
    assert load_weights(Path("c.safetensors"))[1].calibration is None
    assert "calibrated" not in run("show c.safetensors").stdout
