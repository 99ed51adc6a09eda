from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detection_sets import equal, random_detections, write_log
from formats import write_coco
from frcnn_cli.data.coco import load_coco
from frcnn_cli.errors import DataError
from frcnn_cli.evaluation.detection_files import load_detections
from frcnn_cli.structures import Detections


def test_a_file_of_the_first_images_serves_with_a_limit(tmp_path: Path, dataset) -> None:
    path = tmp_path / "d.jsonl"
    written = write_log(path, dataset, 2)
    with pytest.raises(DataError, match="is not complete: 2 of 4"):
        load_detections(path, dataset)
    assert all(map(equal, load_detections(path, dataset, 2), written[:2]))


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


def test_a_folder_without_results(tmp_path: Path, dataset) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no \.txt files"):
        load_detections(tmp_path / "empty", dataset)
