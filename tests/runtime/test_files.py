from __future__ import annotations

import os
from pathlib import Path

import pytest

from frcnn_cli.errors import FrcnnError
from frcnn_cli.runtime.files import (
    PART,
    check_writable,
    part_file,
    write_atomically,
    write_bytes,
    write_text,
)


def test_bytes_and_text_replace_a_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a"
    write_bytes(path, b"\0\xff")
    assert path.read_bytes() == b"\0\xff"
    write_text(path, "é\n\udcff")
    assert path.read_bytes() == b"\xc3\xa9\n\xff"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_text(path, "before")

    def half(part: Path) -> None:
        part.write_text("aft")
        raise OSError("disk full")

    with pytest.raises(FrcnnError, match=r"cannot write .*disk full"):
        write_atomically(path, half)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FrcnnError, match="cannot write"):
        write_bytes(tmp_path / "file" / "a", b"")


def test_a_place_is_checked_before_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    check_writable(tmp_path / "file")
    check_writable(tmp_path / "new" / "folder" / "a")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    for path, message in ((tmp_path, "Is a directory"), (tmp_path / "file/a", "Not a directory")):
        with pytest.raises(FrcnnError, match=f"cannot write .*{message}"):
            check_writable(path)
    monkeypatch.setattr(os, "access", lambda folder, mode: folder != tmp_path)
    with pytest.raises(FrcnnError, match=r"cannot write .*Permission denied"):
        check_writable(tmp_path / "new" / "a")


def test_part_files_are_beside_and_of_their_own(tmp_path: Path) -> None:
    first, second = part_file(tmp_path / "a"), part_file(tmp_path / "a")
    assert first != second
    assert {first.parent, second.parent} == {tmp_path}
    assert first.name.endswith(PART)


def test_write_atomically_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    for content in (b"old", b"new"):
        write_atomically(path, lambda part, content=content: part.write_bytes(content))
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_half_written_file_is_beside_its_place(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    seen = []

    def write(part: Path) -> None:
        part.write_bytes(b"new")
        seen.append((part.parent, part != path, path.read_bytes()))

    write_atomically(path, write)
    assert seen == [(tmp_path, True, b"old")]
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), RuntimeError("bad")])
def test_failed_write_leaves_the_old_file(tmp_path: Path, failure: Exception) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write(part: Path) -> None:
        part.write_bytes(b"half of")
        raise failure

    with pytest.raises(FrcnnError, match="cannot write") as error:
        write_atomically(path, write)
    assert str(path) in error.value.message
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write(part: Path) -> None:
        part.write_bytes(b"half of")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, write)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_write_over_a_folder(tmp_path: Path) -> None:
    (tmp_path / "taken" / "inside").mkdir(parents=True)
    with pytest.raises(FrcnnError, match="cannot write"):
        write_atomically(tmp_path / "taken", lambda part: part.write_bytes(b"x"))
    assert os.listdir(tmp_path) == ["taken"]
