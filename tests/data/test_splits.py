from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from frcnn_cli.data.dataset import Dataset
from frcnn_cli.data.splits import (
    canonical_split,
    hash_split,
    own_part,
    split_in_name,
    split_of_file,
)
from frcnn_cli.data.voc import load_voc
from frcnn_cli.errors import ConfigError, DataError
from strangers import TRAIN, VAL, Write, assert_read, coco, opened, voc, yolo


@pytest.fixture
def dataset(voc_folder: Path) -> Dataset:
    return load_voc(voc_folder, "voc", "trainval", ())


@pytest.mark.parametrize(
    ("stem", "split"),
    [
        ("instances_val2017", "val"), ("train", "train"), ("test_labels", "test"),
        ("Validation", "val"), ("instances_Train", "train"), ("trainval", "trainval"),
        ("ann", None), ("result", None), ("train_and_val", None), ("retrain", None),
    ],
)  # fmt: skip
def test_the_split_in_a_name(stem: str, split: str | None) -> None:
    assert split_in_name(stem) == split


def test_spellings() -> None:
    assert [canonical_split(name) for name in ("valid", "VAL", "x")] == ["val", "val", "x"]
    assert split_of_file(Path("a/valid/_annotations.coco.json")) == "val"
    assert split_of_file(Path("a/train/test.json")) == "test"
    assert split_of_file(Path("a/b/ann.json")) == "ann"


def test_every_image_is_in_one_part(dataset: Dataset) -> None:
    train, val = (hash_split(dataset, name) for name in ("train", "val"))
    assert (train.split, val.split, len(train), len(val)) == ("train", "val", 6, 2)
    assert sorted((*train.ids, *val.ids)) == sorted(dataset.ids)
    assert "6 of its images are taken for training and 2 for validation" in val.notes[-1]
    index = dataset.ids.index(val.ids[0])
    assert val.paths[0] == dataset.paths[index]
    assert val.annotations[0] is dataset.annotations[index]


def test_names_and_order_do_not_matter(dataset: Dataset, tmp_path: Path) -> None:
    expected = {path.read_bytes() for path in hash_split(dataset, "val").paths}
    paths = [tmp_path / f"{number}.jpg" for number in range(len(dataset))]
    for path, source in zip(paths, reversed(dataset.paths), strict=True):
        shutil.copy(source, path)
    other = hash_split(replace(dataset, paths=tuple(paths)), "val")
    assert {path.read_bytes() for path in other.paths} == expected


def test_copies_are_in_the_same_part(dataset: Dataset) -> None:
    for path in dataset.paths[1:4]:
        shutil.copy(dataset.paths[0], path)
    parts = [hash_split(dataset, name) for name in ("train", "val")]
    copies = [sum(path in dataset.paths[:4] for path in part.paths) for part in parts]
    assert sorted(copies) == [0, 4]


def test_a_small_data_set_has_a_val_image(dataset: Dataset) -> None:
    assert len(hash_split(dataset.limited(2), "val")) == 1
    with pytest.raises(DataError, match="too few images"):
        hash_split(dataset.limited(1), "val")


def test_the_share_of_val(dataset: Dataset) -> None:
    vals = [set(hash_split(dataset, "val", share).ids) for share in (0.01, 0.2, 0.5)]
    assert [len(each) for each in vals] == [1, 2, 4]
    assert vals[0] < vals[1] < vals[2]
    train = hash_split(dataset, "train", 0.5)
    assert (set(train.ids), train.val_share) == (set(dataset.ids) - vals[2], 0.5)
    assert own_part(replace(dataset, split="all"), "train", 0.5).ids == train.ids


@pytest.mark.parametrize("share", [0, 1, -0.5, 20, float("nan")])
def test_a_share_out_of_range_is_refused(dataset: Dataset, share: float) -> None:
    with pytest.raises(ConfigError, match=f"--val-share {share:g} is out of range"):
        hash_split(dataset, "val", share)


def test_missing_images_are_split_by_their_names(dataset: Dataset) -> None:
    for path in dataset.paths:
        path.unlink()
    assert len(hash_split(dataset, "val")) == 2


def test_the_part_of_data_without_splits_alone(dataset: Dataset) -> None:
    whole = replace(dataset, split="all")
    parts = [own_part(whole, part) for part in ("train", "val")]
    assert sorted(parts[0].ids + parts[1].ids) == sorted(whole.ids)
    assert own_part(whole.select([0]), "val").ids == whole.ids[:1]


def test_pipes_are_split_by_their_names(dataset: Dataset) -> None:
    dataset.paths[0].unlink()
    os.mkfifo(dataset.paths[0])
    assert sum(len(hash_split(dataset, part)) for part in ("train", "val")) == len(dataset)


def test_names_with_a_nul_are_split_too(dataset: Dataset) -> None:
    """A list of YOLO's images may hold any bytes; they are named when the image is read."""
    paths = (Path("a\0b.jpg"), *dataset.paths[1:])
    parts = [hash_split(replace(dataset, paths=paths), name) for name in ("train", "val")]
    assert sum(map(len, parts)) == len(dataset)


@pytest.mark.parametrize(("write", "note"), [
    (lambda f: voc(f, "{}/a", "{}/b"), "2 XML files that are in no folder of a split"),
    (lambda f: yolo(f, "images/{}", "labels/{}"), "2 images that are in no split, though annot"),
    (lambda f: coco(f, "annotations/{}.json", "{}"), "1 file of annotations that is of no split"),
])  # fmt: skip
def test_what_is_in_no_split_is_told(tmp_path: Path, write: Write, note: str) -> None:
    write(tmp_path)
    assert not any("left out" in each for each in opened(tmp_path, "train").notes)
    for path in sorted(tmp_path.rglob("val*"), reverse=True):
        path.rename(path.with_name(path.name.replace("val", "holdout")))
    found = opened(tmp_path, "train")
    assert_read(found, TRAIN)
    assert any(f"left out {note}" in each for each in found.notes)


def test_other_words_for_val(tmp_path: Path) -> None:
    voc(tmp_path, "{}/a", "{}/b")
    (tmp_path / "val").rename(tmp_path / "eval")
    assert_read(opened(tmp_path, "val"), VAL)
