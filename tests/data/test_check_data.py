from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import strangers
from formats import write_coco
from frcnn_cli.data import coco, csv_boxes, csv_table, inspection
from frcnn_cli.data.annotation import Annotation
from frcnn_cli.data.check_data import check_data
from frcnn_cli.data.dataset import Dataset
from frcnn_cli.data.inspection import FLAWS, inspect_dataset
from frcnn_cli.data.registry import open_dataset, open_splits

EMPTY: list = []


def encoded(seed: int, size: tuple[int, int] = (60, 80), format_name: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format_name)
    return buffer.getvalue()


def make(folder: Path, images: list[tuple[bytes, list]], split: str = "train") -> Dataset:
    """Images of (content, objects); an object is (class, x1, y1, x2, y2) in 80×60 pixels."""
    folder.mkdir(exist_ok=True)
    paths, annotations = [], []
    for index, (content, objects) in enumerate(images):
        paths.append(folder / f"{index}.img")
        paths[-1].write_bytes(content)
        boxes = np.array([box for _, *box in objects], np.float32).reshape(-1, 4)
        annotations.append(
            Annotation(
                size=(60, 80),
                names=tuple(name for name, *_ in objects),
                boxes=boxes,
                difficult=np.zeros(len(objects), np.bool_),
            )
        )
    return Dataset(
        name="made",
        split=split,
        classes=("cat", "dog"),
        ids=tuple(path.stem for path in paths),
        paths=tuple(paths),
        annotations=tuple(annotations),
    )


CAT, DOG = ("cat", 5, 5, 40, 40), ("dog", 20, 10, 70, 50)
CASES: dict[str, tuple[list[tuple[bytes, list]], int]] = {
    "damaged": ([(encoded(1), [CAT]), (b"<html>", [CAT]), (encoded(2)[:99], [DOG])], 2),
    "conflict": ([(encoded(1, (60, 60)), [CAT]), (encoded(2), [CAT])], 1),
    "resized": ([(encoded(1, (30, 40)), [CAT]), (encoded(2), [CAT])], 1),
    "cut": ([(encoded(1, format_name="JPEG")[:-3], [CAT]), (encoded(2), [DOG])], 1),
    "copy": ([(encoded(1), [CAT]), (encoded(1), [CAT]), (encoded(1), [DOG])], 2),
    "empty": ([(encoded(1), []), (encoded(2), [CAT])], 1),
    "outside": ([(encoded(1), [CAT, ("cat", 90, 5, 99, 9), ("dog", 5, 5, 5, 9)])], 2),
    "beyond": ([(encoded(1), [("cat", -4, 5, 40, 40), ("cat", 5, 5, 80.9, 40)])], 1),
    "repeated": ([(encoded(1), [CAT, DOG, ("cat", 5, 5, 40.5, 40), CAT])], 2),
    "ambiguous": ([(encoded(1), [CAT, DOG, ("dog", 5, 5, 40, 40)])], 1),
    "tiny": ([(encoded(1), [("cat", 5, 5, 14, 14), ("cat", 5, 5, 16, 7)])], 1),
}


def test_every_flaw_has_a_case() -> None:
    assert CASES.keys() == FLAWS.keys()


@pytest.mark.parametrize("flaw", FLAWS)
def test_flaws_are_counted_and_nothing_else_is_found(tmp_path: Path, flaw: str) -> None:
    images, count = CASES[flaw]
    found = inspect_dataset(make(tmp_path, images), threads=2)
    assert found.flaws == {flaw: count}
    assert FLAWS[flaw].text in found.describe(flaw)
    assert f"{count} of {found.total(flaw)} {FLAWS[flaw].unit} " in found.describe(flaw)


@pytest.mark.parametrize("threads", [1, 3])
def test_images_and_objects(tmp_path: Path, threads: int) -> None:
    images = [(encoded(1), [CAT, DOG]), (encoded(2), [DOG]), (encoded(3, (120, 160)), [DOG])]
    calls: list[int] = []
    found = inspect_dataset(make(tmp_path, images), threads, lambda: calls.append(1))
    assert (found.images, found.objects, found.annotated, len(calls)) == (3, (1, 3), 4, 3)
    assert found.sizes == ((60, 80), (60, 80), (120, 160))
    assert found.sides == (35, 50, 50, 100)  # the last one is scaled with its image
    assert (found.most_objects, found.difficult, len(set(found.hashes))) == (2, 0, 3)


def test_objects_shrink_as_the_search_shrinks_the_image(tmp_path: Path) -> None:
    dataset = make(tmp_path, [(encoded(1, (900, 1200)), [("cat", 5, 5, 6.9, 6.9), CAT])])
    assert inspect_dataset(dataset, 1).flaws["tiny"] == 1  # 28.5 of 1200 pixels: 9.5 of 400
    dataset = make(tmp_path, [(encoded(1, (900, 1200)), [("cat", 5, 5, 7.1, 7.1), CAT])])
    assert "tiny" not in inspect_dataset(dataset, 1).flaws


def test_damaged_images_are_all_named(tmp_path: Path) -> None:
    found = check_data([make(tmp_path, CASES["damaged"][0])])
    (problem,) = found.problems
    assert "2 of 3 images cannot be read" in problem
    assert "1.img is a web page" in problem
    assert "2.img is damaged" in problem


def test_harmless_flaws_are_remarks(tmp_path: Path) -> None:
    many = [(encoded(seed), [CAT] * 1 + [DOG]) for seed in range(30)]
    few = [(encoded(99), [CAT, CAT, DOG])]
    found = check_data([make(tmp_path, many + few)])
    assert found.problems == ()
    assert found.remarks == (
        "train: 1 of 63 objects repeat another one: the same box and class, in 30",
    )
    assert check_data([make(tmp_path / "b", few)]).problems


def test_splits_that_share_contents(tmp_path: Path) -> None:
    train = make(tmp_path / "a", [(encoded(seed), [CAT]) for seed in range(4)])
    val = make(tmp_path / "b", [(encoded(seed), [CAT]) for seed in (9, 2, 8)], "val")
    found = check_data([train, val])
    (problem,) = found.problems
    assert problem.startswith("1 of the 3 images of val are in train too")
    assert check_data([train]).problems == ()


def test_balance_of_the_classes(tmp_path: Path) -> None:
    crowd = [("cat", x, y, x + 12, y + 12) for x in range(0, 60, 6) for y in range(0, 44, 4)]
    train = make(tmp_path / "a", [(encoded(1), [*crowd, DOG])])
    val = replace(
        make(tmp_path / "b", [(encoded(2), [("cow", *CAT[1:])])], "val"), classes=("cat", "cow")
    )
    remarks = check_data([train, val]).remarks
    assert "train has no object of 1 class: cow" in remarks
    assert "train has fewer than 10 objects of 1 class: dog (1)" in remarks
    assert "the classes are not balanced: 110 objects of cat, 1 of dog" in remarks
    assert any("an image has 111 objects, more than the 100 detections" in each for each in remarks)


def test_all_splits_are_opened(voc_folder: Path) -> None:
    assert [each.split for each in open_splits(f"voc:{voc_folder}")] == ["train", "val", "test"]
    lists = voc_folder / "ImageSets" / "Main"
    (lists / "train.txt").unlink()
    (lists / "val.txt").unlink()
    assert [each.split for each in open_splits(str(voc_folder))] == ["trainval", "test"]
    for path in lists.iterdir():
        path.unlink()
    assert [len(each) for each in open_splits(str(voc_folder))] == [6, 2]


def test_test_images_without_annotations_are_told(tmp_path: Path) -> None:
    strangers.yolo(tmp_path / "yolo", "images/{}", "labels/{}")
    strangers.write_images(tmp_path / "yolo/images/test")
    strangers.coco(tmp_path / "coco", "{}.json", "images")
    text = (tmp_path / "coco/val.json").read_text().replace('"annotations"', '"none"')
    (tmp_path / "coco/test.json").write_text(text)
    for folder in ("yolo", "coco"):
        opened = open_splits(str(tmp_path / folder))
        assert [each.split for each in opened] == ["train", "val"]
        assert any("split test is left out: " in note for note in opened[-1].notes)


def test_files_of_coco_without_objects_do_not_count(tmp_path: Path) -> None:
    strangers.coco(tmp_path, "annotations/instances_{}2017.json", "{}2017")
    for name in ("image_info_test2017", "image_info_test-dev2017", "captions_val2017"):
        (tmp_path / "annotations" / f"{name}.json").write_text('{"images": [{"id": 1}]}')
    assert [each.split for each in open_splits(str(tmp_path))] == ["train", "val"]


def test_a_table_without_splits_is_read_once(monkeypatch, tmp_path) -> None:
    """A long one takes seconds."""
    for index in range(10):
        (tmp_path / f"{index}.png").write_bytes(encoded(index))
    table = tmp_path / "boxes.csv"
    rows = [f"{index}.png,1,2,30,40,cat" for index in range(10)]
    table.write_text("\n".join(["image,x1,y1,x2,y2,label", *rows]))
    read = []
    monkeypatch.setattr(
        csv_boxes, "read_table", lambda path: [read.append(path), csv_table.read_table(path)][1]
    )
    train, val = open_splits(str(table), val_share=0.3)
    assert len(read) == 1
    for opened in (train, val):
        alone = open_dataset(str(table), split=opened.split, val_share=0.3)
        assert (opened.ids, opened.classes, opened.notes) == (
            alone.ids, alone.classes, alone.notes
        )  # fmt: skip
        assert opened.val_share == 0.3
    assert (len(train), len(val)) == (7, 3)


def test_annotations_of_coco_without_splits_are_read_once(
    monkeypatch: pytest.MonkeyPatch, voc_folder: Path, tmp_path: Path
) -> None:
    path = write_coco(voc_folder, tmp_path / "data")
    path = path.rename(path.with_name("boxes.json"))
    load, read = coco.load_coco, []
    monkeypatch.setattr(coco, "load_coco", lambda *each: [read.append(each), load(*each)][1])
    opened = open_splits(str(path))
    assert len(read) == 1
    for each in opened:
        alone = open_dataset(str(path), split=each.split)
        assert (each.ids, each.notes, each.val_share) == (alone.ids, alone.notes, alone.val_share)


@pytest.mark.parametrize("pairs", [1, 7, 10**6])
def test_objects_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch, pairs: int) -> None:
    """Any earlier object counts, whatever part it is in."""
    monkeypatch.setattr(inspection, "_MAX_PAIRS", pairs)
    rng = np.random.default_rng(0)
    boxes = np.array([[0, 0, 40, 40], [50, 50, 90, 90], [9, 9, 60, 60]], np.float32)
    boxes = boxes[rng.integers(3, size=30)]
    labels = rng.integers(1, 4, 30)
    same = [[(boxes[i] == boxes[j]).all() for i in range(j)] for j in range(30)]
    alike = [[labels[i] == labels[j] for i in range(j)] for j in range(30)]
    repeated = sum(
        any(s and a for s, a in zip(*each, strict=True)) for each in zip(same, alike, strict=True)
    )
    ambiguous = sum(
        any(s and not a for s, a in zip(*each, strict=True))
        for each in zip(same, alike, strict=True)
    )
    found = inspection._flaws_of_objects(boxes, labels, (100, 100))
    assert (found["repeated"], found["ambiguous"]) == (repeated, ambiguous)
    assert repeated
    assert ambiguous
