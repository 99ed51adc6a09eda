from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from frcnn_cli.cli.app import app
from frcnn_cli.cli.options import Method
from frcnn_cli.cli.propose import FORMATS
from frcnn_cli.evaluation.recall import CURVE
from frcnn_cli.proposers.exchange.formats import WRITERS, read_boxes
from frcnn_cli.proposers.registry import PROPOSERS

DEMO = Path(__file__).resolve().parents[3] / "shared" / "data" / "fastrcnn_demo"
COUNTS = ["100", "200", "500", "1000", "2000", "5000", "10000"]


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def run(*arguments: object):
    words = [word for each in arguments for word in shlex.split(str(each))]
    return CliRunner().invoke(app, words)


def answer(*arguments: object):
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def error(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 1, (result.output, result.exception)
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return line


def test_help_names_every_method_and_format() -> None:
    text = Method.__metadata__[0].help
    assert all(re.search(rf"\b{name}\b", text) for name in PROPOSERS)
    assert set(FORMATS) == set(WRITERS)


def test_recall_as_json(voc_folder) -> None:
    found = answer(f"propose voc --data {voc_folder} --recall")
    assert found["images"] == 8
    assert list(found["recall"]) == COUNTS
    for row in found["recall"].values():
        assert set(row) == {"0.5", "0.7", "abo", "mabo"}
        assert 0 <= row["0.7"] <= row["0.5"] <= 1
    best = found["recall"]["10000"]
    assert best["0.5"] > 0.9
    # once more from the cache alone
    again = answer(f"propose voc --data {voc_folder} --recall")
    assert (again["cached"], again["recall"]) == (8, found["recall"])


def test_recall_as_table_and_picture(voc_folder) -> None:
    result = run(f"propose voc --data {voc_folder} --recall --plot curve.svg --quiet")
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["boxes", "R", "0.5", "R", "0.7", "ABO", "MABO"] in rows
    assert [row[0] for row in rows if row[0].isdigit() and len(row) == 5] == COUNTS
    root = ElementTree.parse("curve.svg").getroot()
    texts = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"recall at IoU 0.5", "recall at IoU 0.7", "MABO", "proposals an image"} <= set(texts)
    lines = list(root.iter("{http://www.w3.org/2000/svg}polyline"))
    assert [len(line.get("points").split()) for line in lines] == [len(CURVE)] * 3


def test_recall_counts_the_first_boxes_of_each_image(voc_folder) -> None:
    dense = answer(f"propose voc --data {voc_folder} --recall --proposals dense")
    values = [dense["recall"][count]["abo"] for count in COUNTS]
    assert values == sorted(values)
    assert values[0] < values[-1]


@pytest.mark.parametrize("source", ["voc --data V", "V/JPEGImages"])
def test_show_draws_each_image(voc_folder, source) -> None:
    found = answer(f"propose {source.replace('V', str(voc_folder))} --limit 3 --show out")
    assert (found["images"], found["show"]) == (3, "out")
    pictures = sorted(Path("out").iterdir())
    assert [path.name for path in pictures] == ["000001.jpg", "000002.jpg", "000003.jpg"]
    with Image.open(pictures[0]) as picture:
        doubled = picture.width > 2 * 120
        assert doubled == source.startswith("voc ")


def test_show_does_not_draw_over_a_source(voc_folder) -> None:
    folder = voc_folder / "JPEGImages"
    assert "is one of the images" in error(f"propose {folder} --show {folder}")


def test_drawings_of_one_name(voc_folder) -> None:
    for name, size in (("x/p.png", (90, 60)), ("y/p.jpg", (60, 90))):
        Path(name).parent.mkdir()
        Image.new("RGB", size).save(name)
    before = Path("y/p.jpg").read_bytes()
    assert "y/p.jpg is one of the images" in error("propose x y --show y")
    assert Path("y/p.jpg").read_bytes() == before
    run("propose x y --show z")
    assert sorted(path.name for path in Path("z").iterdir()) == ["p-2.jpg", "p.jpg"]


def test_a_format_without_names_keeps_the_place_of_failed_images() -> None:
    Path("x").mkdir()
    for name in "ac":
        Image.effect_noise((90, 60), 90).convert("RGB").save(f"x/{name}.png")
    Path("x/b.png").write_bytes(b"broken")
    assert run("propose x --export o.pkl --format mmdetection").exit_code == 1
    assert [len(boxes) > 0 for boxes in read_boxes(Path("o.pkl")).boxes] == [True, False, True]


@pytest.mark.parametrize("name", FORMATS)
def test_export_and_import_give_the_same_boxes(voc_folder, name) -> None:
    ending = name if name in ("mat", "npz", "json") else "pkl"
    images = f"voc --data {voc_folder}"
    ours = answer(f"propose {images} --recall --export x.{ending} --format {name}")
    theirs = answer(f"propose {images} --proposals x.{ending}")
    assert theirs["recall"] == ours["recall"]
    assert theirs["boxes_per_image"] == ours["boxes_per_image"]
    expected = "y1 x1 y2 x2, 1-based, inclusive" if name == "mat" else "x1 y1 x2 y2, 0-based"
    assert expected in theirs["layout"]


def test_recall_of_imported_boxes_stands_beside_our_own(voc_folder) -> None:
    images = f"voc --data {voc_folder}"
    ours = answer(f"propose {images} --recall")
    run(f"propose {images} --proposals dense --export x.npz")
    both = answer(f"propose {images} --proposals x.npz --recall")
    assert both["recall_fast"] == ours["recall"]
    assert both["recall"] != ours["recall"]
    table = run(f"propose {images} --proposals x.npz --recall").stdout
    assert table.count("R 0.5") == 2
    assert "recall of selective search, mode fast, at IoU" in table
    assert "recall_fast" not in answer(f"propose {images} --proposals x.npz")


@pytest.mark.skipif(not DEMO.is_dir(), reason="the demo images of Fast R-CNN are not there")
@pytest.mark.parametrize(("name", "objects"), [("000004", 7), ("001551", 3)])
def test_the_demo_boxes_of_fast_rcnn_cover_what_is_in_the_images(name, objects) -> None:
    annotations = Path(__file__).parents[1] / "fastrcnn_demo" / f"{name}.json"
    boxes = DEMO / f"{name}_boxes.mat"
    found = answer(f"propose coco:{annotations} --data {DEMO} --proposals {boxes} --recall")
    assert found["layout"].startswith("columns x1 y1 x2 y2, 0-based, inclusive")
    assert found["objects"] == objects
    assert found["recall"]["10000"]["0.5"] == 1
    assert found["recall_fast"]["10000"]["0.5"] == 1


def test_the_layout_of_an_imported_file_is_printed(voc_folder) -> None:
    run(f"propose {voc_folder}/JPEGImages --export x.npz")
    result = run(f"propose {voc_folder}/JPEGImages --proposals x.npz")
    assert "columns x1 y1 x2 y2, 0-based, half-open; boxes for 8 images" in result.stderr


def test_imported_boxes_are_used_only_for_their_images(voc_folder) -> None:
    images = f"{voc_folder}/JPEGImages"
    run(f"propose {images} --limit 2 --export x.npz")
    assert answer(f"propose {images} --limit 2 --proposals x.npz")["images"] == 2
    result = run(f"propose {images} --proposals x.npz --json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["failed"] == 6


def test_status_verify_clean(voc_folder, frcnn_home) -> None:
    images = f"{voc_folder}/JPEGImages"
    assert answer("propose --status")["methods"] == []
    run(f"propose {images} --limit 5")
    (method,) = answer("propose --status")["methods"]
    assert (method["method"], method["entries"], method["in_use"]) == (
        "selective_search, fast", 5, True,
    )  # fmt: skip
    fine = answer("propose --verify")
    assert (fine["damaged"], fine["leftovers"]) == (0, 0)
    assert "0 entries are damaged, 3 images have no entry" in error(f"propose {images} --verify")

    entry = sorted((frcnn_home / "proposals").rglob("*.boxes"))[0]
    good = entry.read_bytes()
    entry.write_bytes(good[:-2])
    assert "1 entries are damaged" in error("propose --verify")
    again = answer(f"propose {images}")
    assert (again["damaged"], again["cached"]) == (1, 4)
    assert entry.read_bytes() == good
    assert answer(f"propose {images} --verify")["missing"] == 0

    entry.write_bytes(b"")
    assert answer("propose --clean")["removed"] == 1
    assert not entry.exists()
    assert run("propose --status").stdout.count("selective_search, fast") == 1


def test_an_interrupted_run_prints_where_its_state_is(voc_folder, monkeypatch) -> None:
    def interrupted(*_):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr("frcnn_cli.proposers.propose.propose_files", interrupted)
    result = run(f"propose {voc_folder}/JPEGImages")
    assert result.exit_code == 130
    assert "stopped after 0 of 8 images; the same command continues" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("propose", "no images given"),
        ("propose V --recall", "recall needs annotations"),
        ("propose V --plot c.svg", "recall needs annotations"),
        ("propose voc --data D --plot c.png", "c.png does not end in .svg"),
        ("propose V --layout xyxy", "--layout is for a file of boxes"),
        ("propose V --proposals fats", "unknown method 'fats'"),
        ("propose V --proposals none.mat", "cannot read none.mat"),
        ("propose V --proposals V/000001.jpg", "unknown file format"),
        ("propose V --proposals x.npz --layout abcd", "unknown layout 'abcd'"),
        ("propose V --export x.txt", "unknown format 'txt'"),
        ("propose V --export x.npz --format yaml", "unknown format 'yaml'"),
        ("propose V/nothing", "no such file or folder"),
        ("propose V --split val", "--split is for a data set, not for images"),
        (
            "propose V --data D --split val --val-share 0.5",
            "--data and --split and --val-share are for a data set",
        ),
        ("propose V --skip-damaged", "--skip-damaged is for a data set, not for images"),
        ("propose V --format npz", "--format is for the file that --export writes"),
        ("propose V --verify --export x.mat", "--export is not for the cache's --status"),
        ("propose --status --show there", "--show is not for the cache's --status"),
        ("propose voc --data D --clean --recall", "--recall is not for the cache's --status"),
    ],
)
def test_wrong_use_gives_one_line(voc_folder, arguments, message) -> None:
    np.savez("x.npz", boxes=np.zeros((0, 4)))
    assert message in error(
        arguments.replace("V", f"{voc_folder}/JPEGImages").replace("D", str(voc_folder))
    )


def test_one_image_that_fails_is_told_once() -> None:
    for name in "ab":
        Path(f"{name}.png").write_text("not a picture")
    result = run("propose a.png")
    assert result.exit_code == 1
    assert result.stderr.count("a.png is text, not an image") == 1
    result = run("propose a.png b.png")
    assert [result.stderr.count(f"{name}.png is text, not an image") for name in "ab"] == [1, 1]
    assert "2 of 2 images failed" in result.stderr
