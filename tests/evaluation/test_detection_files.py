from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from formats import write_coco
from frcnn_cli.data.coco import load_coco
from frcnn_cli.data.voc import load_voc
from frcnn_cli.errors import DataError
from frcnn_cli.evaluation.detection_files import load_detections
from frcnn_cli.evaluation.detection_log import DetectionLog, Header, read_header
from frcnn_cli.structures import Detections

CLASSES = ("ball", "box", "tile")


@pytest.fixture
def dataset(voc_folder: Path):
    return load_voc(voc_folder, "voc", "val", ())


def some(seed: int, count: int = 5) -> Detections:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 50, (count, 2)).astype(np.float32)
    boxes = np.concatenate([corners, corners + rng.uniform(1, 50, (count, 2))], axis=1)
    scores = rng.random(count).astype(np.float32)
    return Detections(
        boxes=boxes.astype(np.float32),
        scores=scores,
        labels=rng.integers(1, 4, count),
        image_size=(120, 160),
    )


def same(one: Detections, other: Detections) -> bool:
    fields = ("boxes", "scores", "labels")
    return all(np.array_equal(getattr(one, each), getattr(other, each)) for each in fields)


HEADER = Header(CLASSES, {"weights": "w", "settings": {"classes": []}})


def write_log(path: Path, dataset, count: int | None = None) -> list[Detections]:
    every = [some(index, index) for index in range(len(dataset))]
    with DetectionLog(path, HEADER) as log:
        for image, found in list(zip(dataset.ids, every, strict=True))[:count]:
            log.add(image, 100, found)
    return every


def test_what_is_written_comes_back_to_the_last_bit(tmp_path: Path, dataset) -> None:
    path = tmp_path / "deep" / "d.jsonl"
    every = write_log(path, dataset)
    assert read_header(path) == HEADER
    assert all(map(same, load_detections(path, dataset), every))
    with DetectionLog(path, HEADER) as log:
        assert [log.found[image][0] for image in dataset.ids] == [100] * 4
        assert all(same(log.found[i][1], d) for i, d in zip(dataset.ids, every, strict=True))
        assert log.found[dataset.ids[0]][1].scores.dtype == np.float32


def test_nothing_is_written_before_the_first_image(tmp_path: Path) -> None:
    with DetectionLog(tmp_path / "d.jsonl", HEADER):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_file_that_was_cut_short_is_gone_on_with(tmp_path: Path, dataset, cut: int) -> None:
    path = tmp_path / "d.jsonl"
    every = write_log(path, dataset, 3)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(DataError, match=r"d\.jsonl is cut off: 2 of 4 images are missing") as error:
        load_detections(path, dataset)
    assert "--limit 2" in error.value.hint
    assert len(load_detections(path, dataset, 2)) == 2
    with DetectionLog(path, HEADER) as log:
        assert list(log.found) == list(dataset.ids[:2])
        for index in (2, 3):
            log.add(dataset.ids[index], 100, every[index])
    assert all(map(same, load_detections(path, dataset), every))


def test_the_first_images_will_do(tmp_path: Path, dataset) -> None:
    path = tmp_path / "d.jsonl"
    every = write_log(path, dataset, 2)
    with pytest.raises(DataError, match="is not complete: 2 of 4"):
        load_detections(path, dataset)
    assert all(map(same, load_detections(path, dataset, 2), every[:2]))


def test_detections_of_another_source_are_not_touched(tmp_path: Path, dataset) -> None:
    path = tmp_path / "d.jsonl"
    write_log(path, dataset)
    before = path.read_bytes()
    for header in (replace(HEADER, classes=("a",)), replace(HEADER, source={"weights": "v"})):
        with pytest.raises(DataError, match="other weights, settings or images") as error:
            DetectionLog(path, header)
        assert "--save" in error.value.hint
    (tmp_path / "notes.txt").write_text("my notes\n")
    with pytest.raises(DataError, match="holds no detections of frcnn eval"):
        DetectionLog(tmp_path / "notes.txt", HEADER)
    assert path.read_bytes() == before
    assert (tmp_path / "notes.txt").read_text() == "my notes\n"


def test_an_empty_file_is_filled(tmp_path: Path, dataset) -> None:
    (tmp_path / "d.jsonl").touch()
    every = write_log(tmp_path / "d.jsonl", dataset)
    assert all(map(same, load_detections(tmp_path / "d.jsonl", dataset), every))


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    log = DetectionLog(tmp_path / "file" / "d.jsonl", HEADER)
    with pytest.raises(DataError, match="cannot write"):
        log.add("a", 1, some(0))


def test_classes_of_ours_go_by_name(tmp_path: Path, dataset) -> None:
    path = tmp_path / "d.jsonl"
    every = write_log(path, dataset)
    other = replace(dataset, classes=("TILE", "zebra", "ball"))
    for found, before in zip(load_detections(path, other), every, strict=True):
        keep = before.labels != 2
        assert found.labels.tolist() == [{1: 3, 3: 1}[k] for k in before.labels[keep].tolist()]
        assert np.array_equal(found.boxes, before.boxes[keep])


def line_of(path: Path, number: int, change) -> None:
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
def test_bad_lines_of_ours(tmp_path: Path, dataset, change, message: str) -> None:
    path = tmp_path / "d.jsonl"
    write_log(path, dataset)
    line_of(path, 2, change)
    with pytest.raises(DataError) as error:
        load_detections(path, dataset)
    assert message in error.value.message


def as_coco(every: list[Detections], ids, categories) -> list[dict]:
    return [
        {
            "image_id": image,
            "category_id": categories[int(label) - 1],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": float(score),
        }
        for image, found in zip(ids, every, strict=True)
        for (x1, y1, x2, y2), score, label in zip(
            found.boxes.tolist(), found.scores, found.labels, strict=True
        )
    ]


@pytest.mark.parametrize("form", [str, int, lambda name: str(int(name))])
def test_coco_results_of_a_voc_data_set(tmp_path: Path, dataset, form) -> None:
    every = [some(index) for index in range(4)]
    ids = [form(name) for name in dataset.ids]
    path = tmp_path / "r.json"
    path.write_text(json.dumps(as_coco(every, ids, (1, 2, 3))))
    for found, expected in zip(load_detections(path, dataset), every, strict=True):
        np.testing.assert_allclose(found.boxes, expected.boxes, rtol=1e-6)
        assert found.labels.tolist() == expected.labels.tolist()
        assert found.scores.tolist() == expected.scores.tolist()
    assert load_detections(path, dataset)[1].image_size == (120, 160)


def test_coco_results_of_a_coco_file(voc_folder: Path, tmp_path: Path) -> None:
    dataset = load_coco(write_coco(voc_folder, tmp_path / "coco"), None)
    every = [some(index) for index in range(8)]
    path = tmp_path / "r.json"
    path.write_text(json.dumps(as_coco(every, range(1, 9), (10, 20, 30))))
    found = load_detections(path, dataset)
    assert [d.labels.tolist() for d in found] == [d.labels.tolist() for d in every]
    path.write_text("[]")
    assert [len(each) for each in load_detections(path, dataset)] == [0] * 8


def changed(**values):
    return {"image_id": "000002", "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5, **values}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (7, "entry 1 is no detection"),
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
        ("{}", "is no list of detections"),
        ("no json", "is not JSON"),
        ('{"format": "frcnn-detections-1", "classes": [', "is cut off"),
    ],
)
def test_files_that_are_neither(tmp_path: Path, dataset, content: str, message: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        load_detections(path, dataset)


def test_no_such_file(tmp_path: Path, dataset) -> None:
    with pytest.raises(DataError, match="cannot read"):
        load_detections(tmp_path / "absent.json", dataset)


def write_voc_results(folder: Path, dataset, every: list[Detections]) -> None:
    folder.mkdir()
    for label, name in enumerate(dataset.classes, start=1):
        rows = [
            f"{image} {score} {x1 + 1} {y1 + 1} {x2} {y2}\n"
            for image, found in zip(dataset.ids, every, strict=True)
            for (x1, y1, x2, y2), score, own in zip(
                found.boxes.tolist(), found.scores, found.labels, strict=True
            )
            if own == label
        ]
        (folder / f"comp4_det_val_{name}.txt").write_text("".join(rows))


def test_a_folder_of_voc_results(tmp_path: Path, dataset) -> None:
    every = [some(index) for index in range(4)]
    write_voc_results(tmp_path / "results", dataset, every)
    for found, expected in zip(load_detections(tmp_path / "results", dataset), every, strict=True):
        order = np.argsort(expected.labels, kind="stable")  # a file for each class
        assert found.labels.tolist() == expected.labels[order].tolist()
        np.testing.assert_allclose(found.boxes, expected.boxes[order], rtol=1e-6)
        np.testing.assert_allclose(found.scores, expected.scores[order], rtol=1e-6)


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
