from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from frcnn_cli.data.locate import ImageLocator, locate_images
from frcnn_cli.errors import DataError


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
