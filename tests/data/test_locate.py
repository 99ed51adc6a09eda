from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

import tool_files
from frcnn_cli.data.locate import ImageLocator, local_name, locate_images, searchable
from frcnn_cli.errors import DataError
from strangers import CSV, HEADER, Write, coco, opened, table, yolo


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize(
    "name",
    ["a/1.jpg", "./a/1.jpg", "a\\1.jpg", "x/y/a/1.jpg", "C:\\x\\a\\1.jpg", "a/1.JPG"],
)
def test_spellings_of_a_name(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "a/1.jpg", "a/2.jpg", "b/1.jpg")
    assert ImageLocator([tmp_path / "none", tmp_path]).find(name) == tmp_path / "a/1.jpg"


def test_names_with_letters_as_in_addresses(tmp_path: Path) -> None:
    touch(tmp_path, "a b (1).jpg", "c%20d.jpg", "c d.jpg", "100%.jpg")
    locator = ImageLocator([tmp_path])
    assert locator.find("x/a%20b%20(1).jpg") == tmp_path / "a b (1).jpg"
    assert locator.find("c%20d.jpg") == tmp_path / "c%20d.jpg"
    assert locator.find("100%.jpg") == tmp_path / "100%.jpg"
    assert locator.find("c%2520d.jpg") == tmp_path / "c%20d.jpg"


def test_accents_in_two_forms(tmp_path: Path) -> None:
    touch(tmp_path, unicodedata.normalize("NFD", "für.jpg"))
    found = ImageLocator([tmp_path]).find("für.jpg")
    assert found is not None
    assert found.is_file()


def test_names_that_several_files_have_are_not_found(tmp_path: Path) -> None:
    touch(tmp_path, "a.PNG", "a.png", "b.jpg", "b.png")
    locator = ImageLocator([tmp_path])
    assert locator.find("a.png") == tmp_path / "a.png"
    assert locator.find("A.Png") is None
    assert locator.find("b") is None
    assert locator.find("c.jpg") is None


def test_the_folder_with_most_of_the_names_wins(tmp_path: Path) -> None:
    touch(tmp_path, "old/1.jpg", "new/1.jpg", "new/2.jpg", "other/3.jpg")
    folders = [tmp_path / name for name in ("old", "new", "other")]
    paths, notes = locate_images(["1.jpg", "2.jpg", "3.jpg", "4.jpg"], folders, tmp_path)
    expected = ["new/1.jpg", "new/2.jpg", "other/3.jpg", "new/4.jpg"]
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == expected
    assert notes == ()


def test_missing_folders_are_left_out_and_noted(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "2.jpg")
    paths, notes = locate_images(["x/1.jpg", "x/2.jpg"], [tmp_path], tmp_path)
    assert paths == [tmp_path / "1.jpg", tmp_path / "2.jpg"]
    assert "x/1.jpg is not here" in notes[0]


def test_two_names_for_one_file_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg")
    with pytest.raises(DataError, match=r"a/1\.jpg and b/1\.jpg would both be"):
        locate_images(["a/1.jpg", "b/1.jpg"], [tmp_path], tmp_path)


def test_where_nothing_is_found_the_default_is_named(tmp_path: Path) -> None:
    paths, _ = locate_images(["a/1.jpg"], [tmp_path], tmp_path / "val")
    assert paths == [tmp_path / "val" / "a/1.jpg"]


@pytest.mark.parametrize(
    ("form", "calls_a_name"), [("{}.jpg", 0), ("{}/b/c.jpg", 3), ("a/{}.jpg", 1)]
)
def test_files_that_are_not_there_are_looked_for_with_few_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, calls_a_name: int
) -> None:
    """A list of 100,000 took half a minute: every name was asked for in every folder."""
    touch(tmp_path, "images/a/1.png", "labels/1.txt")
    calls = []
    for function in ("isfile", "isdir", "exists"):
        real = getattr(os.path, function)
        monkeypatch.setattr(
            os.path, function, lambda path, real=real: (calls.append(path), real(path))[1]
        )
    folders = [tmp_path / name for name in ("images", "labels", "", "none", "images/none")]
    names = [form.format(f"x{number}") for number in range(500)]
    paths, _ = locate_images(names, folders, folders[0], tmp_path)
    assert paths == [tmp_path / "images" / name for name in names]
    assert len(calls) <= calls_a_name * len(names) + 300  # for a sample of the names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/1.jpg", "a/1.jpg"), ("/home/me/1.jpg", "home/me/1.jpg"), ("C:\\x\\1.jpg", "x/1.jpg"),
        ("../../1.jpg", "1.jpg"), ("a/../b.jpg", "a/b.jpg"), ("./1.jpg", "1.jpg"),
        ("https://x.org/a/b%20c.png?token=1#top", "a/b c.png"), ("s3://bucket/1.jpg", "1.jpg"),
        ("/data/local-files/?d=set/a%2B1.jpg", "set/a+1.jpg"), ("..", ""), ("/", ""),
        ("a%20b.jpg", "a%20b.jpg"), ("what?.jpg", "what?.jpg"),
    ],
)  # fmt: skip
def test_names_stay_below_a_folder(name: str, expected: str) -> None:
    assert local_name(name) == expected


def test_images_anywhere_below_the_root(tmp_path: Path) -> None:
    touch(tmp_path, "x/y/1.jpg", "x/2.jpg", "a/3.jpg", "b/3.jpg")
    names = ["1.jpg", "old/2.png", "b/3.jpg", "c/3.jpg"]
    paths, notes = locate_images(names, [tmp_path / "images"], tmp_path, tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        "x/y/1.jpg", "x/2.jpg", "b/3.jpg", "c/3.jpg"
    ]  # fmt: skip
    assert "1.jpg is " in notes[0]
    assert not locate_images(["1.jpg"], [tmp_path / "images"], tmp_path)[0][0].exists()


@pytest.mark.parametrize(
    ("name", "split", "image"),
    [("1.jpg", "val", "images/train/1.jpg"), ("valid/1.jpg", "all", "train2017/1.jpg"),
     ("1.jpg", "trainval", "images/test/1.jpg")],
)  # fmt: skip
def test_images_of_another_split_are_refused(
    tmp_path: Path, name: str, split: str, image: str
) -> None:
    touch(tmp_path, image)
    with pytest.raises(DataError, match=f"{name}, of split .*, is only in "):
        locate_images([name], [tmp_path / "none"], tmp_path, tmp_path, split)


@pytest.mark.parametrize(
    ("name", "split", "image"),
    [("1.jpg", "val", "images/valid/1.jpg"), ("train/1.jpg", "val", "images/train/1.jpg"),
     ("1.jpg", "trainval", "images/train/1.jpg"), ("1.jpg", "all", "images/train/1.jpg"),
     ("1.jpg", "val", "images/old/1.jpg")],
)  # fmt: skip
def test_images_of_the_same_split_or_of_none(
    tmp_path: Path, name: str, split: str, image: str
) -> None:
    touch(tmp_path, image)
    paths, _ = locate_images([name], [tmp_path / "none"], tmp_path, tmp_path, split)
    assert paths == [tmp_path / image]


def test_the_ending_of_a_name_decides(tmp_path: Path) -> None:
    touch(tmp_path, "x/1.jpg", "x/1.png")
    paths, _ = locate_images(["1.png"], [tmp_path / "images"], tmp_path, tmp_path)
    assert paths == [tmp_path / "x/1.png"]


def test_where_images_are_not_looked_for(tmp_path: Path, monkeypatch) -> None:
    assert searchable(tmp_path) == tmp_path
    assert searchable(Path(tmp_path.anchor)) is None
    monkeypatch.setenv("HOME", str(tmp_path.resolve()))
    assert searchable(tmp_path) is None


@pytest.mark.parametrize("name", ["a/" * 20_000 + "b", "a\ud800"])
def test_names_that_no_path_can_have_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"of {len(name):,} letters, can be the name of no file"):
        locate_images([name], [tmp_path], tmp_path)


LONG_NAME = "x" * 300


@pytest.mark.parametrize("write", [
    lambda f: coco(f, change=lambda content: content["images"][0].update(file_name=LONG_NAME)),
    lambda f: table(f, HEADER, CSV.replace("{n}", LONG_NAME)),
    lambda f: tool_files.write(f, tool_files.via(), change=lambda s: s.replace("img_0", LONG_NAME)),
    lambda f: (yolo(f, settings="names: [disc, square]\ntrain: train.txt"),
               (f / "train.txt").write_text(f"images/img_1.png\nimages/{LONG_NAME}.png")),
])  # fmt: skip
def test_names_that_are_too_long_for_a_file(tmp_path: Path, write: Write) -> None:
    write(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        opened(tmp_path)
