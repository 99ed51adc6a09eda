from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detection_sets import equal, random_detections, write_log
from formats import write_coco
from frcnn_cli.data.coco import load_coco
from frcnn_cli.data.dataset import Dataset
from frcnn_cli.errors import DataError
from frcnn_cli.evaluation.detection_files import load_detections
from frcnn_cli.inference.result import Result
from frcnn_cli.inference.writers import Output
from frcnn_cli.structures import Detections


def test_a_file_of_the_first_images_serves_with_a_limit(tmp_path: Path, dataset) -> None:
    path = tmp_path / "d.jsonl"
    written = write_log(path, dataset, 2)
    with pytest.raises(DataError, match="is not complete: 2 of 4"):
        load_detections(path, dataset)
    assert all(map(equal, load_detections(path, dataset, 2), written[:2]))
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    with pytest.raises(DataError, match="4 of 4 images are missing") as error:
        load_detections(path, dataset)
    assert error.value.hint == "resume its frcnn eval"


def test_classes_of_a_log_are_paired_by_name(tmp_path: Path, dataset) -> None:
    path = tmp_path / "d.jsonl"
    written = write_log(path, dataset)
    other = replace(dataset, classes=("TILE", "zebra", "ball"))
    for loaded, before in zip(load_detections(path, other), written, strict=True):
        keep = before.labels != 2
        assert loaded.labels.tolist() == [{1: 3, 3: 1}[k] for k in before.labels[keep].tolist()]
        assert np.array_equal(loaded.boxes, before.boxes[keep])


def change_line(path: Path, number: int, change) -> None:
    lines = path.read_text().splitlines()
    content = json.loads(lines[number])
    change(content)
    lines[number] = json.dumps(content)
    path.write_text("".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("boxes"), ":3 holds no detections of an image"),
        (lambda c: c["scores"].append(1), ":3 holds no detections of an image"),
        (lambda c: c.update(size=[1]), ":3 holds no detections of an image"),
        (lambda c: c.update(image="nowhere"), "has an unknown image 'nowhere'"),
        (lambda c: c["scores"].__setitem__(0, float("nan")), ":3: 0 has no score: nan"),
        (lambda c: c["scores"].__setitem__(0, None), ":3: 0 has no score: None"),
        (lambda c: c["labels"].__setitem__(0, 4), ":3: 0 has no known class"),
        (lambda c: c["labels"].__setitem__(0, "ball"), ":3: 0 has no known class"),
        (lambda c: c["boxes"].__setitem__(0, [5, 5, 5, 9]), ":3: 0 has no box with a width"),
        (lambda c: c["boxes"].__setitem__(0, [5, 5, 9, 4]), ":3: 0 has no box with a width"),
        (lambda c: c["boxes"].__setitem__(0, [5, 5, 1e300, 9]), ":3: 0 has no box"),
        (lambda c: c["boxes"].__setitem__(0, [5, 5, 9]), ":3: 0 has no box"),
    ],
)
def test_bad_lines_of_a_log(tmp_path: Path, dataset, change, message: str) -> None:
    path = tmp_path / "d.jsonl"
    write_log(path, dataset)
    change_line(path, 2, change)
    with pytest.raises(DataError) as error:
        load_detections(path, dataset)
    assert message in error.value.message


def coco_results(written: list[Detections], ids, categories) -> list[dict]:
    return [
        {
            "image_id": image,
            "category_id": categories[int(label) - 1],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": float(score),
        }
        for image, detections in zip(ids, written, strict=True)
        for (x1, y1, x2, y2), score, label in zip(
            detections.boxes.tolist(), detections.scores, detections.labels, strict=True
        )
    ]


@pytest.mark.parametrize("form", [str, int, lambda name: str(int(name))])
def test_coco_results_of_a_voc_data_set(tmp_path: Path, dataset, form) -> None:
    written = [random_detections(index) for index in range(4)]
    ids = [form(name) for name in dataset.ids]
    path = tmp_path / "r.json"
    path.write_text(json.dumps(coco_results(written, ids, (1, 2, 3))))
    for loaded, expected in zip(load_detections(path, dataset), written, strict=True):
        np.testing.assert_allclose(loaded.boxes, expected.boxes, rtol=1e-6)
        assert loaded.labels.tolist() == expected.labels.tolist()
        assert loaded.scores.tolist() == expected.scores.tolist()
    assert load_detections(path, dataset)[1].image_size == (120, 160)


def test_coco_results_of_a_coco_file(voc_folder: Path, tmp_path: Path) -> None:
    dataset = load_coco(write_coco(voc_folder, tmp_path / "coco"), None)
    written = [random_detections(index) for index in range(8)]
    path = tmp_path / "r.json"
    path.write_text(json.dumps(coco_results(written, range(1, 9), (10, 20, 30))))
    loaded = load_detections(path, dataset)
    assert [d.labels.tolist() for d in loaded] == [d.labels.tolist() for d in written]
    path.write_text("[]")
    assert [len(each) for each in load_detections(path, dataset)] == [0] * 8


def changed(**values):
    return {"image_id": "000002", "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5, **values}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (7, "entry 1 is not a detection"),
        (changed(image_id="000001"), "entry 1 is of an unknown image '000001'"),
        (changed(image_id=99), "entry 1 is of an unknown image 99"),
        (changed(image_id=None), "entry 1 is of an unknown image None"),
        (changed(image_id="9" * 5000), "entry 1 is of an unknown image '999"),
        (changed(category_id=0), "entry 1 is of an unknown class 0"),
        (changed(category_id="ball"), "entry 1 is of an unknown class 'ball'"),
        (changed(category_id=None), "entry 1 is of an unknown class None"),
        (changed(score=float("nan")), "entry 1 has no score: nan"),
        (changed(score=float("inf")), "entry 1 has no score: inf"),
        (changed(score="0.5"), "entry 1 has no score: '0.5'"),
        (changed(bbox=[1, 2, 0, 4]), "entry 1 has no box with a width and a height"),
        (changed(bbox=[1, 2, 3, -4]), "entry 1 has no box with a width and a height"),
        (changed(bbox=[1, 2, 3]), "entry 1 has no box with a width and a height"),
        (changed(bbox=None), "entry 1 has no box with a width and a height"),
        (changed(bbox=[1, 2, float("nan"), 4]), "entry 1 has no box with a width and a height"),
    ],
)
def test_bad_coco_results(tmp_path: Path, dataset, entry, message: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps([changed(), entry]))
    with pytest.raises(DataError) as error:
        load_detections(path, dataset)
    assert message in error.value.message
    assert len(error.value.message) < 300 + len(str(path))
    numbers = "the numbers of the data set's classes are 1 ball, 2 box, 3 tile"
    assert (error.value.hint == numbers) == ("class" in message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"image_id": 2, "categ', "is cut off"),
        ("{}", "is not a list of detections"),
        ("no json", "is not JSON"),
        ('{"format": "frcnn-detections-1", "classes": [', "is cut off"),
    ],
)
def test_files_of_no_known_format(tmp_path: Path, dataset, content: str, message: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        load_detections(path, dataset)


def test_no_such_file(tmp_path: Path, dataset) -> None:
    with pytest.raises(DataError, match="cannot read"):
        load_detections(tmp_path / "absent.json", dataset)


def write_voc_results(folder: Path, dataset, written: list[Detections]) -> None:
    folder.mkdir()
    for label, name in enumerate(dataset.classes, start=1):
        rows = [
            f"{image} {score} {x1 + 1} {y1 + 1} {x2} {y2}\n"
            for image, detections in zip(dataset.ids, written, strict=True)
            for (x1, y1, x2, y2), score, own in zip(
                detections.boxes.tolist(), detections.scores, detections.labels, strict=True
            )
            if own == label
        ]
        (folder / f"comp4_det_val_{name}.txt").write_text("".join(rows))


def test_a_folder_of_voc_results(tmp_path: Path, dataset) -> None:
    written = [random_detections(index) for index in range(4)]
    write_voc_results(tmp_path / "results", dataset, written)
    for loaded, expected in zip(
        load_detections(tmp_path / "results", dataset), written, strict=True
    ):
        order = np.argsort(expected.labels, kind="stable")  # a file for each class
        assert loaded.labels.tolist() == expected.labels[order].tolist()
        np.testing.assert_allclose(loaded.boxes, expected.boxes[order], rtol=1e-6)
        np.testing.assert_allclose(loaded.scores, expected.scores[order], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("det_zebra.txt", "000002 0.5 1 1 2 2", "det_zebra.txt is of an unknown class"),
        ("det_ball.txt", "000001 0.5 1 1 2 2", ":2 is of an unknown image '000001'"),
        ("det_ball.txt", "000002 nan 1 1 2 2", ":2 has no score"),
        ("det_ball.txt", "000002 0.5 9 1 8 2", ":2 has no box"),
        ("det_ball.txt", "000002 0.5 9 1 8", ":2: expected id, score and box"),
        ("det_ball.txt", "000002 high 1 1 2 2", ":2: expected id, score and box"),
    ],
)
def test_bad_voc_results(tmp_path: Path, dataset, name: str, row: str, message: str) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / name).write_text(f"000002 0.5 1 1 2 2\n{row}\n")
    with pytest.raises(DataError) as error:
        load_detections(tmp_path / "r", dataset)
    assert message in error.value.message


def test_a_line_of_many_blanks_is_read_in_one_pass(tmp_path: Path, dataset) -> None:
    """They took the square of their number."""
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "det_ball.txt").write_text(f"000002{' ' * 40_000}b\n")
    begun = time.process_time()
    with pytest.raises(DataError, match="expected id, score and box"):
        load_detections(tmp_path / "r", dataset)
    assert time.process_time() - begun < 1


def test_a_folder_without_results(tmp_path: Path, dataset) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no \.txt files"):
        load_detections(tmp_path / "empty", dataset)


def own_results(written: list[Detections], dataset, names) -> list[dict]:
    """Entries as `frcnn detect` writes them, with numbers of its own."""
    entries = coco_results(written, range(1, len(written) + 1), (1, 2, 3))
    return [
        entry
        | {
            "file_name": names[entry["image_id"] - 1],
            "category_name": dataset.classes[entry["category_id"] - 1],
        }
        for entry in entries
    ]


@pytest.fixture
def numbered(voc_folder: Path, tmp_path: Path) -> Dataset:
    """A COCO data set with other numbers of images and classes than the file names have."""
    path = write_coco(voc_folder, tmp_path / "coco")
    content = json.loads(path.read_text())
    count = len(content["images"])
    for row in content["images"]:
        row["id"] = count + 1 - row["id"]
    for row in content["annotations"]:
        row["image_id"] = count + 1 - row["image_id"]
    for row in content["categories"]:
        row["id"] = 4 - row["id"] // 10
    for row in content["annotations"]:
        row["category_id"] = 4 - row["category_id"] // 10
    path.write_text(json.dumps(content))
    return load_coco(path, None)


@pytest.mark.parametrize(
    "spell", ["{}.jpg", "some/folder/{}.jpg", "C:\\pictures\\{}.JPG", "{}.png", "val/{}.jpg"]
)
def test_own_results_are_matched_by_names(tmp_path: Path, numbered: Dataset, spell: str) -> None:
    written = [random_detections(index) for index in range(8)]
    names = [spell.format(path.stem) for path in numbered.paths]
    path, messages = tmp_path / "r.json", []
    entries = own_results(written, replace(numbered, classes=("ball", "box", "tile")), names)
    path.write_text(json.dumps(entries))
    loaded = load_detections(path, numbered, on_message=messages.append)
    names_of = [[("", *numbered.classes)[label] for label in each.labels] for each in loaded]
    expected = [[("", "ball", "box", "tile")[label] for label in each.labels] for each in written]
    assert names_of == expected
    assert all(
        np.allclose(a.boxes, b.boxes, rtol=1e-5) for a, b in zip(loaded, written, strict=True)
    )
    assert len(messages) == 2
    assert "matched by file_name" in messages[0]
    assert "matched by category_name" in messages[1]


def test_results_with_the_data_sets_own_numbers_are_matched_silently(
    voc_folder: Path, tmp_path: Path
) -> None:
    dataset = load_coco(write_coco(voc_folder, tmp_path / "coco"), None)
    entry = changed(image_id=2, category_id=20, file_name="000002.jpg", category_name="box")
    path, messages = tmp_path / "r.json", []
    path.write_text(json.dumps([entry]))
    loaded = load_detections(path, dataset, on_message=messages.append)
    assert loaded[1].labels.tolist() == [2]
    assert messages == []


@pytest.mark.parametrize("name", ["000002.jpg", "val/000002.png", "C:\\x\\000002.JPG"])
def test_ids_that_are_names_of_files(tmp_path: Path, dataset, name: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps([changed(image_id=name)]))
    loaded = dict(zip(dataset.ids, load_detections(path, dataset), strict=True))
    assert [id_ for id_, each in loaded.items() if len(each.labels)] == ["000002"]


def test_boxes_of_another_form_are_told(tmp_path: Path, dataset) -> None:
    path, messages = tmp_path / "r.json", []
    path.write_text(json.dumps([changed(bbox=[0.1, 0.2, 0.5, 0.9])]))
    with pytest.raises(DataError, match="as fractions of the images' sides do"):
        load_detections(path, dataset)
    corners = [changed(bbox=[100, 50, 150, 100]), changed(bbox=[2, 2, 9, 9])]
    path.write_text(json.dumps(corners))
    load_detections(path, dataset, on_message=messages.append)
    assert len(messages) == 1
    assert "1 of 2 boxes reach beyond their images" in messages[0]


def test_names_that_the_data_set_lacks(tmp_path: Path, dataset) -> None:
    path, messages = tmp_path / "r.json", []
    path.write_text(
        json.dumps(
            [
                changed(file_name="x/000002.jpg", category_name="Ball"),
                changed(file_name="x/000002.jpg", category_name="zebra"),
            ]
        )
    )
    loaded = load_detections(path, dataset, on_message=messages.append)
    assert loaded[0].labels.tolist() == [1]
    assert messages == [f"{path}: left out 1 detection of other classes: zebra"]
    path.write_text(json.dumps([changed(category_name="zebra")]))
    with pytest.raises(DataError, match="none of the data set's classes, but zebra"):
        load_detections(path, dataset)
    path.write_text(
        json.dumps([changed(file_name="000002.jpg"), changed(file_name="elsewhere.jpg")])
    )
    with pytest.raises(DataError, match="entry 1 is of an unknown image 'elsewhere"):
        load_detections(path, dataset)
    path.write_text(json.dumps([changed(file_name="elsewhere.jpg")]))
    loaded = load_detections(path, dataset, on_message=messages.append)
    assert len(loaded[0]) == 1
    assert "matched by image_id: the data set has none of the files" in messages[-1]


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path, dataset) -> None:
    paths = tuple(tmp_path / f"cam{number}" / "1.jpg" for number in range(4))
    ids = tuple(f"cam{number}/1" for number in range(4))
    other = replace(dataset, paths=paths, ids=ids)
    for source, path in zip(dataset.paths, paths, strict=True):
        path.parent.mkdir()
        path.write_bytes(source.read_bytes())
    path = tmp_path / "r.json"
    path.write_text(json.dumps([changed(image_id=9, file_name="x/cam2/1.jpg")]))
    assert [len(each) for each in load_detections(path, other)] == [0, 0, 1, 0]
    path.write_text(json.dumps([changed(image_id="cam1/1", file_name="1.jpg")]))
    assert [len(each) for each in load_detections(path, other)] == [0, 1, 0, 0]


def test_own_voc_output_with_blanks_is_read_back(tmp_path: Path, dataset) -> None:
    ids = ("img 1 (2)", "two  words", "plain", "a_b")
    other = replace(
        dataset,
        ids=ids,
        paths=tuple(Path("x") / f"{name}.jpg" for name in ids),
        classes=("ball", "a/b box", "tile"),
    )
    written = [random_detections(index) for index in range(4)]
    with Output(tmp_path / "out", ["voc"], (*other.classes, "zebra"), ids) as output:
        for name, detections in zip(ids, written, strict=True):
            output.add(
                Result(
                    name=f"{name}.jpg",
                    stem=name,
                    image=np.zeros((1, 1, 3), np.uint8),
                    detections=detections,
                    classes=other.classes,
                    proposals=1,
                    seconds=0,
                )
            )
    for folder in (tmp_path / "out", tmp_path / "out" / "voc"):
        loaded = load_detections(folder, other)
        assert [len(each) for each in loaded] == [len(each) for each in written]
        assert [sorted(each.labels) for each in loaded] == [sorted(e.labels) for e in written]


def test_ids_with_blanks_in_voc_results(tmp_path: Path, dataset) -> None:
    other = replace(dataset, ids=("img 1", "img 2", "3", "4"))
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "det_ball.txt").write_text("img 2 0.5 1 1 9 9\n")
    assert [len(each) for each in load_detections(tmp_path / "r", other)] == [0, 1, 0, 0]


def test_voc_results_name_the_files_of_a_coco_data_set(tmp_path: Path, numbered: Dataset) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "det_ball.txt").write_text("000002 0.5 1 1 9 9\n")
    messages: list[str] = []
    loaded = load_detections(tmp_path / "r", numbered, on_message=messages.append)
    assert [len(each) for each in loaded] == [0, 1, 0, 0, 0, 0, 0, 0]
    assert "matched by their file names" in messages[0]


def test_an_error_about_many_classes_is_short(tmp_path: Path, dataset) -> None:
    many = replace(dataset, classes=tuple(f"class {number}" for number in range(1200)))
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "det_zebra.txt").write_text("000002 0.5 1 1 9 9\n")
    with pytest.raises(DataError) as error:
        load_detections(tmp_path / "r", many)
    assert len(error.value.hint) < 300
