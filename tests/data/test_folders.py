from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

import tool_files
from frcnn_cli.data import folders
from frcnn_cli.data.folders import (
    FileIndex,
    FolderError,
    count_endings,
    hidden_note,
    is_hidden,
    list_folder,
    walk_files,
)
from frcnn_cli.errors import DataError
from locked import lock
from strangers import Write, assert_read, coco, opened, voc, yolo


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("._a.jpg", True), (".DS_Store", True), (".ipynb_checkpoints", True), ("__MACOSX", True),
        ("Thumbs.db", True), ("desktop.ini", True), ("a.jpg", False), ("_a.jpg", False),
        ("a.b.c", False),
    ],
)  # fmt: skip
def test_names_that_belong_to_the_system(name: str, hidden: bool) -> None:
    assert is_hidden(name) == hidden


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "b.jpg", "._b.jpg", "in/a.jpg", ".ipynb_checkpoints/b.jpg", "__MACOSX/b.jpg")
    files, hidden = walk_files(tmp_path)
    assert files == [tmp_path / "b.jpg", tmp_path / "in" / "a.jpg"]
    assert hidden == 1
    assert walk_files(tmp_path, recursive=False)[0] == [tmp_path / "b.jpg"]


def test_more_files_or_levels_than_are_looked_at(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg", "in/c.jpg")
    assert len(walk_files(tmp_path, limit=4)[0]) == 3
    with pytest.raises(DataError, match="holds more than 3 files, too many to look at"):
        walk_files(tmp_path, limit=3)
    touch(tmp_path, f"{'d/' * 50}e.jpg")
    assert len(walk_files(tmp_path)[0]) == 4
    touch(tmp_path, f"{'d/' * 51}e.jpg")
    with pytest.raises(DataError, match="51 levels of folders"):
        walk_files(tmp_path)


def test_links_are_not_followed_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg")
    (tmp_path / "in" / "again").symlink_to(tmp_path)
    assert walk_files(tmp_path)[0] == [tmp_path / "in" / "a.jpg"]


def test_links_to_other_folders_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "set/a/1.jpg", "other/2.jpg", "other/in/3.jpg", "set/.cache/4.jpg")
    for name, target in (
        ("a/of", "other"), ("a/in", "other/in"), ("again", "other"), ("a/self", "set/a"),
        ("a/up", "."), ("lost", "absent"), ("b", "set/.cache"),
    ):  # fmt: skip
        (tmp_path / "set" / name).symlink_to(tmp_path / target)
    files = walk_files(tmp_path / "set")[0]
    assert sorted(path.name for path in files if path.suffix) == [
        "1.jpg",
        "2.jpg",
        "3.jpg",
        "4.jpg",
    ]


def test_folders_that_may_not_be_looked_into_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "in/a.jpg", "b.jpg", "lost+found/c.jpg")
    lock(monkeypatch, tmp_path / "lost+found")
    assert walk_files(tmp_path)[0] == [tmp_path / "b.jpg", tmp_path / "in" / "a.jpg"]
    assert [path.name for path in list_folder(tmp_path)] == ["b.jpg", "in", "lost+found"]
    lock(monkeypatch, tmp_path / "in")
    for look in (walk_files, list_folder, lambda folder: FileIndex(folder, {".jpg"})):
        with pytest.raises(FolderError, match=r"cannot look into .*in: Permission denied"):
            look(tmp_path if look is walk_files else tmp_path / "in")
    for name in ("absent", "b.jpg", "x" * 300, "a\0b"):
        assert list_folder(tmp_path / name) == []


def test_folders_of_the_kernel_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "proc/a.jpg", "home/proc/b.jpg")
    assert len(walk_files(tmp_path)[0]) == 2
    monkeypatch.setattr(folders, "_PSEUDO_FOLDERS", {str(tmp_path / "proc")})
    assert walk_files(tmp_path)[0] == [tmp_path / "home" / "proc" / "b.jpg"]


def test_a_long_walk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/1.jpg", "a/2.jpg", "b/3.jpg", "b/4.jpg", "c/5.jpg")
    monkeypatch.setattr(folders, "_TOLD", 4)
    notes: list[str] = []
    walk_files(tmp_path, on_note=notes.append)
    assert notes == [f"{tmp_path}: {count} files so far" for count in (5, 8)]


def test_endings_are_counted() -> None:
    assert count_endings(map(Path, ["a.TXT", "b.txt", "c", "d.xml"])) == (
        "2 .txt, 1 without ending, 1 .xml"
    )
    assert hidden_note(1).startswith("1 file whose")


def test_an_index_finds_names_without_their_endings(tmp_path: Path) -> None:
    touch(tmp_path, "a.PNG", "a.jpg", "b c (1).JPG", "d.rf.12.jpeg", "in/e.tif", "f.txt", "._a.jpg")
    index = FileIndex(tmp_path, {".jpg", ".jpeg", ".png", ".tif"})
    assert index.names == ["a", "b c (1)", "d.rf.12", "in/e"]
    assert index.find("a") == tmp_path / "a.jpg"
    assert index.find("in/e") == tmp_path / "in" / "e.tif"
    assert index.find("f") is None
    assert index.hidden == 1


def test_accents_and_capitals_may_differ_where_one_name_is_meant(tmp_path: Path) -> None:
    stored = unicodedata.normalize("NFD", "Café_학")
    touch(tmp_path, f"{stored}.jpg", "x.jpg", "X.jpg")
    index = FileIndex(tmp_path, {".jpg"})
    assert index.find_name(unicodedata.normalize("NFC", "café_학")) == stored
    assert index.find("X") == tmp_path / "X.jpg"
    touch(tmp_path, "y.jpg", "Y.jpg")
    assert FileIndex(tmp_path, {".jpg"}).find("ｙ") is None


def test_an_index_of_no_folder_is_empty(tmp_path: Path) -> None:
    assert FileIndex(tmp_path / "absent", {".jpg"}).names == []


def test_a_mask_is_not_taken_for_the_image_of_its_name(tmp_path: Path) -> None:
    for name in ("pics/a.png", "train_masks/a.png", "train_masks/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    index = FileIndex(tmp_path, {".png"})
    assert index.names_like("a") == ["pics/a"]
    assert index.names_like("b") == ["train_masks/b"]  # a picture of a face, perhaps
    assert index.find_alike("mask/a", is_unique=True) is None
    assert index.find_alike("train_masks/a", is_unique=True) == "train_masks/a"


@pytest.mark.parametrize("place", ["images/more", "images"])
def test_folders_behind_links(tmp_path: Path, place: str) -> None:
    yolo(tmp_path / "real")
    for name in ("images", "labels"):
        link = tmp_path / "set" / place.replace("images", name)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(tmp_path / "real" / name)
    (tmp_path / "real" / "data.yaml").rename(tmp_path / "set" / "data.yaml")
    assert_read(opened(tmp_path / "set"))


def test_others_folders_do_not_keep_a_data_set_from_being_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "private").mkdir()
    lock(monkeypatch, tmp_path / "private")
    yolo(tmp_path / "set")
    assert_read(opened(tmp_path))


@pytest.mark.parametrize(("write", "locked"), [
    (voc, "Annotations"), (voc, "JPEGImages"), (coco, "annotations"),
    (yolo, "images"), (lambda f: voc(f / "set"), "set"),
    (lambda f: tool_files.write(f, tool_files.labelme()), "json"),
])  # fmt: skip
def test_folders_that_may_not_be_looked_into_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Write, locked: str
) -> None:
    write(tmp_path)
    lock(monkeypatch, tmp_path / locked)
    with pytest.raises(DataError) as error:
        opened(tmp_path)
    assert str(error.value) == f"cannot look into the folder {tmp_path / locked}: Permission denied"
