from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frcnn_cli.data import csv_boxes
from frcnn_cli.errors import ConfigError, FrcnnError, ImageError
from frcnn_cli.inference.file_names import class_file_names
from frcnn_cli.inference.result import Result
from frcnn_cli.inference.writers import WRITERS, Output
from frcnn_cli.structures import Detections

CLASSES = ("ball", "box/lid", "tile")


def result(name="in/000017.jpg", boxes=((1, 2, 11, 22), (3.25, 4, 5, 8.5)), labels=(2, 1)):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    scores = np.linspace(0.875, 0.5, len(boxes), dtype=np.float32)
    found = Detections(
        boxes=boxes, scores=scores, labels=np.array(labels, np.int64), image_size=(40, 20)
    )
    image = np.random.default_rng(0).integers(0, 256, (40, 20, 3), dtype=np.uint8)
    return Result(
        name=name,
        stem=Path(name).stem,
        image=image,
        detections=found,
        classes=CLASSES,
        proposals=7,
        seconds=0.5,
    )


EMPTY = result("in/none.png", (), ())


def write(folder: Path, formats: str, *results: Result, sources: tuple[str, ...] = ()) -> set[str]:
    with Output(folder, formats.split(), CLASSES, sources) as output:
        for each in results:
            output.add(each)
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_coco(tmp_path) -> None:
    other = result("in/dog.jpg")
    assert write(tmp_path, "coco", result(), EMPTY, other) == {"coco.json"}
    entries = json.loads((tmp_path / "coco.json").read_text())
    assert entries == [*result().to_coco(), *other.to_coco()]
    assert entries[0] == {
        "image_id": 17, "category_id": 2, "bbox": [1.0, 2.0, 10.0, 20.0], "score": 0.875,
        "file_name": result().name, "category_name": CLASSES[1],
    }  # fmt: skip


def test_coco_of_nothing_found(tmp_path) -> None:
    write(tmp_path, "coco", EMPTY)
    assert json.loads((tmp_path / "coco.json").read_text()) == []


def test_coco_is_read_by_pycocotools(tmp_path) -> None:
    coco = pytest.importorskip("pycocotools.coco").COCO()
    write(tmp_path, "coco", result())
    coco.dataset = {"images": [{"id": 17}], "categories": [{"id": 1}, {"id": 2}], "annotations": []}
    coco.createIndex()
    loaded = coco.loadRes(str(tmp_path / "coco.json"))
    assert [each["area"] for each in loaded.anns.values()] == [200, 1.75 * 4.5]


def test_voc(tmp_path) -> None:
    names = {f"voc/comp4_det_test_{name}.txt" for name in ("ball", "box_lid", "tile")}
    assert write(tmp_path, "voc", result(), result("in/my dog.jpg"), EMPTY) == names
    text = (tmp_path / "voc" / "comp4_det_test_box_lid.txt").read_text().splitlines()
    assert [line.split() for line in text] == [
        ["000017", "0.875000", "2.000", "3.000", "11.000", "22.000"],
        ["my_dog", "0.875000", "2.000", "3.000", "11.000", "22.000"],
    ]
    assert (tmp_path / "voc" / "comp4_det_test_tile.txt").read_text() == ""


def test_a_box_that_is_thinner_than_the_digits_keeps_a_side(tmp_path) -> None:
    """`frcnn eval --from` refuses a file with a box that has none."""
    thin = replace(
        result().detections,
        boxes=np.array([(0, 6.6667, 20, 6.667), (0.0001, 0, 0.0003, 40)], np.float32),
    )
    write(tmp_path, "coco voc", replace(result(), detections=thin))
    boxes = [entry["bbox"] for entry in json.loads((tmp_path / "coco.json").read_text())]
    assert boxes == [[0.0, 6.67, 20.0, 0.01], [0.0, 0.0, 0.01, 40.0]]
    for name, label in (("ball", 1), ("box_lid", 2)):
        for line in (tmp_path / f"voc/comp4_det_test_{name}.txt").read_text().splitlines():
            x1, y1, x2, y2 = map(float, line.split()[2:])
            assert x2 > x1 - 1, label
            assert y2 > y1 - 1, label


def test_yolo(tmp_path) -> None:
    files = write(tmp_path, "yolo", result(), EMPTY)
    assert files == {"labels/000017.txt", "labels/none.txt"}
    lines = (tmp_path / "labels" / "000017.txt").read_text().splitlines()
    assert lines[0] == "1 0.300000 0.300000 0.500000 0.500000 0.87500"
    assert lines[1].split()[0] == "0"
    assert (tmp_path / "labels" / "none.txt").read_text() == ""


def test_csv(tmp_path) -> None:
    write(tmp_path, "csv", EMPTY, result('in/a,"b".jpg'))
    with (tmp_path / "detections.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == ["box/lid", "ball"]
    assert rows[1] == {
        "image": 'in/a,"b".jpg', "label": "ball", "score": "0.50000",
        "x1": "3.25", "y1": "4.00", "x2": "5.00", "y2": "8.50",
    }  # fmt: skip


def test_text_in_csv_is_no_formula_for_a_spreadsheet(tmp_path) -> None:
    found = replace(result('=HYPERLINK("x").jpg'), classes=("@SUM(A1)", "'=1", "-1"))
    write(tmp_path, "csv", found, result("-a.jpg"))
    lines = (tmp_path / "detections.csv").read_text().splitlines()
    cells = [row[:2] for row in csv.reader(lines)]
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in cells for cell in row)
    table = csv_boxes.load_csv(tmp_path / "detections.csv", tmp_path, None, ())
    assert {path.name for path in table.paths} == {'=HYPERLINK("x").jpg', "-a.jpg"}
    assert set(table.classes) == {"@SUM(A1)", "'=1", "ball", "box/lid"}


def test_crops(tmp_path) -> None:
    files = write(tmp_path, "crops", result(), EMPTY)
    assert files == {"crops/box_lid/000017-1.jpg", "crops/ball/000017-2.jpg"}
    with Image.open(tmp_path / "crops/ball/000017-2.jpg") as crop:
        assert crop.size == (2, 5)  # 3..5 by 4..9, whole pixels
    with Image.open(tmp_path / "crops/box_lid/000017-1.jpg") as crop:
        difference = np.asarray(crop).astype(int) - result().image[2:22, 1:11]
        assert np.abs(difference).mean() < 30


def test_pictures(tmp_path) -> None:
    assert write(tmp_path, "picture", result(), EMPTY) == {"000017.jpg", "none.jpg"}
    with Image.open(tmp_path / "000017.jpg") as picture:
        assert picture.size == (20, 40)
        assert picture.layers == 3
        assert {layer[1:3] for layer in picture.layer} == {(1, 1)}  # no subsampling


def test_all_at_once(tmp_path) -> None:
    each = [write(tmp_path / name, name, result()) for name in WRITERS]
    assert write(tmp_path / "all", " ".join(WRITERS), result()) == set().union(*each)
    assert all(each)


def test_pictures_of_one_name_are_numbered_everywhere(tmp_path) -> None:
    two = result("x/same.jpg"), result("y/same.png"), result("z/same-2.jpg")
    write(tmp_path, "yolo coco voc", *two)
    expected = {"same", "same-2", "same-2-2"}
    assert {path.stem for path in (tmp_path / "labels").iterdir()} == expected
    entries = json.loads((tmp_path / "coco.json").read_text())
    assert {entry["image_id"] for entry in entries} == expected


@pytest.mark.parametrize("name", WRITERS)
def test_an_interruption_leaves_only_finished_files(tmp_path, name) -> None:
    def interrupted() -> None:
        with Output(tmp_path / "out", [name], CLASSES, ()) as output:
            output.add(result())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    left = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not [path for path in left if path.suffix == ".part"]
    assert left
    if name == "coco":
        assert len(json.loads(left[0].read_text())) == len(result())
    elif name == "csv":
        assert len(left[0].read_text().splitlines()) == 1 + len(result())


@pytest.mark.parametrize("name", WRITERS)
def test_no_result_makes_no_folder(tmp_path, name) -> None:
    assert write(tmp_path / "out", name) == set()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", WRITERS)
def test_a_place_that_cannot_be_written_to(tmp_path, name) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FrcnnError, match="cannot write") as error:
        write(tmp_path / "file", name, result())
    assert "\n" not in error.value.message


def test_appended_files_replace_the_old_ones_at_the_end(tmp_path) -> None:
    path = tmp_path / "coco.json"
    path.write_text("old")
    with Output(tmp_path, ["coco"], CLASSES, (), overwrite=True) as output:
        output.add(result())
        assert path.read_text() == "old"
    assert len(json.loads(path.read_text())) == 2
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == ["coco.json"]


def test_sources_are_never_replaced(tmp_path) -> None:
    source = tmp_path / "a.jpg"
    with pytest.raises(FrcnnError, match="is one of the images"):
        Output(tmp_path, ["picture"], CLASSES, [str(source)])
    Output(tmp_path, ["coco"], CLASSES, [str(source)])
    crop = tmp_path / "crops" / "ball" / "000017-2.jpg"
    with pytest.raises(FrcnnError, match="is one of the images"):
        write(tmp_path, "crops", result(), sources=(str(crop),))


def test_files_beside_sources_are_never_replaced(tmp_path) -> None:
    (tmp_path / "a.png").touch()
    other = tmp_path / "a.jpg"
    other.write_bytes(b"another photograph")
    for place in (tmp_path, tmp_path / "in" / ".."):
        (tmp_path / "in").mkdir(exist_ok=True)
        with pytest.raises(FrcnnError, match="exists already, beside the images"):
            Output(place, ["picture"], CLASSES, [str(tmp_path / "a.png")])
    (tmp_path / "000017-2.jpg").touch()  # where the second of a name would go
    with pytest.raises(FrcnnError, match="exists already"):
        write(tmp_path, "picture", result(), result(), sources=(str(tmp_path / "a.png"),))
    assert other.read_bytes() == b"another photograph"


@pytest.mark.parametrize("name", WRITERS)
def test_files_that_exist_are_replaced_only_on_request(tmp_path, name) -> None:
    write(tmp_path, name, result())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    for path in before:
        path.write_bytes(b"old")
    with pytest.raises(FrcnnError, match="exists already") as error:
        write(tmp_path, name, result())
    assert "--overwrite" in error.value.hint
    assert {path.read_bytes() for path in tmp_path.rglob("*.*")} == {b"old"}
    with Output(tmp_path, [name], CLASSES, (), overwrite=True) as output:
        output.add(result())
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


def test_ground_truth_is_not_replaced_before_anything_is_detected(tmp_path) -> None:
    labels = tmp_path / "labels" / "a.txt"
    labels.parent.mkdir()
    labels.write_text("0 0.5 0.5 0.1 0.1")
    with pytest.raises(FrcnnError, match=r"a\.txt exists already"):
        Output(tmp_path, ["yolo"], CLASSES, [str(tmp_path / "images" / "a.png")])


def test_names_that_a_format_does_not_distinguish_are_numbered(tmp_path) -> None:
    write(
        tmp_path,
        "coco voc",
        result("x/17.png"),
        result("y/000017.png"),
        result("my dog.png"),
        result("my_dog.png"),
    )
    entries = json.loads((tmp_path / "coco.json").read_text())
    assert len({each["image_id"] for each in entries}) == 4
    lines = (tmp_path / "voc" / "comp4_det_test_ball.txt").read_text().splitlines()
    assert len({line.split()[0] for line in lines}) == 4


def test_classes_that_a_file_name_cannot_tell_apart(tmp_path) -> None:
    long = "x" * 250
    found = replace(result(), classes=("a/b", "a_b", long))
    with Output(tmp_path, ["voc", "crops"], found.classes, ()) as output:
        output.add(found)
    names = {path.name for path in (tmp_path / "voc").iterdir()}
    assert {"comp4_det_test_a_b.txt", "comp4_det_test_a_b-2.txt"} < names
    for name in ("a_b", "a_b-2"):
        assert len((tmp_path / "voc" / f"comp4_det_test_{name}.txt").read_text().splitlines()) == 1
    assert {path.name for path in (tmp_path / "crops").iterdir()} == {"a_b", "a_b-2"}


def test_a_write_error_is_reported_for_its_image(tmp_path) -> None:
    with Output(tmp_path, ["csv", "picture"], CLASSES, ()) as output:
        with pytest.raises(ImageError, match="is too long"):
            output.add(result(f"{'n' * 250}.png"))
        wide = np.zeros((1, 65_501, 3), np.uint8)
        with pytest.raises(ImageError, match="too large to draw"):
            output.add(replace(result(), image=wide))
        output.add(result(f"{'n' * 240}.png"))
    assert (tmp_path / f"{'n' * 240}.jpg").exists()
    rows = (tmp_path / "detections.csv").read_text().splitlines()
    assert len(rows) == 3  # of the one that could be written
    with Output(tmp_path / "table", ["csv"], CLASSES, ()) as output:
        output.add(result(f"{'n' * 250}.png"))


def test_names_that_differ_by_case_alone(tmp_path) -> None:
    write(tmp_path, "yolo", result("a/IMG.png"), result("b/img.png"))
    assert {path.stem for path in (tmp_path / "labels").iterdir()} == {"IMG", "img-2"}


def test_no_formats_are_an_error() -> None:
    with pytest.raises(ConfigError, match="--format is empty"):
        Output(Path("out"), [], CLASSES, ())


def test_unknown_format_offers_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown format 'pictures'") as error:
        Output(Path("out"), ["pictures"], CLASSES, ())
    assert "did you mean 'picture'?" in error.value.hint


def test_class_names_do_not_leave_the_folder(tmp_path) -> None:
    found = replace(result(), classes=("../../a", "/etc/b", ".."))
    with Output(tmp_path / "out", ["crops", "voc"], found.classes, ()) as output:
        output.add(found)
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    assert {path.name for path in (tmp_path / "out" / "crops").iterdir()} == {"_.._a", "_etc_b"}


def test_file_names_of_ten_thousand_classes() -> None:
    same = [f"{'a' * 60}{number}" for number in range(9_997)]
    names = class_file_names([*same, "b\x1b[31m\n", "c-2", "C", "c"])
    assert len({name.casefold() for name in names.values()}) == len(names)
    assert names["b\x1b[31m\n"] == "b_[31m_"
    assert names["c"] == "c-3"
