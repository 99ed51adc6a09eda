from __future__ import annotations

import math
import os
import re
from pathlib import Path

import pytest

from frcnn_cli.errors import DataError
from frcnn_cli.runtime.safe_read import (
    is_inside,
    number,
    numbers,
    read_bytes,
    read_json,
    read_text,
)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("size", [0, 1, 99, 100])
def test_content_up_to_the_limit(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    assert read_bytes(write(tmp_path / "a", content), "mend it", 100) == content


@pytest.mark.parametrize("size", [101, 100_000, 2**40])
def test_more_than_the_limit(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a"
    with path.open("wb") as file:
        file.truncate(size)  # takes no room on the disk
    with pytest.raises(DataError, match="too large: expected at most 100 bytes") as error:
        read_bytes(path, "mend it", 100)
    assert str(path) in error.value.message
    assert error.value.hint == "mend it"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="is a pipe or a device"):
        read_bytes(tmp_path / "pipe", "", 10)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="this system has no /dev/zero")
def test_a_device_is_refused() -> None:
    with pytest.raises(DataError, match="is a pipe or a device"):
        read_bytes(Path("/dev/zero"), "", 10)


@pytest.mark.parametrize("name", ["absent", "", "a\0b"])
def test_what_cannot_be_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for read in (lambda: read_bytes(path, "mend it", 9), lambda: read_text(path, "mend it")):
        with pytest.raises(DataError, match=f"cannot read {re.escape(str(path))}") as error:
            read()
        assert error.value.hint == "mend it"
        assert "\n" not in error.value.message


def test_a_pointer_of_git_lfs_is_not_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(DataError, match=r"a\.xml is a Git LFS pointer") as error:
        read_text(tmp_path / "a.xml", "")
    assert error.value.hint == "fetch it with git lfs pull"


def test_text_loses_its_byte_order_mark_and_foreign_line_ends(tmp_path: Path) -> None:
    path = write(tmp_path / "a", "\ufeffé\r\nb\rc\n\x0b\u2028d".encode())
    assert read_text(path, "") == "é\nb\nc\n\x0b\u2028d"
    assert read_text(path, "") == path.read_text(encoding="utf-8-sig")


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        read_text(write(tmp_path / "a", b"\xff\xfe1"), "mend it")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b"{]", "is not JSON"),
        (b'{"a": [1, ', "is cut off"),
        (b'{"a": "b', "is cut off"),
        (b"[" * 50_000, "nested too deeply|is cut off"),
        (b"[" * 200_000, "holds little but brackets"),
        (b"[" + b"{}," * 10**6 + b"{}]", "holds little but brackets"),
        (b"9" * 5000, "is not JSON"),
    ],
)
def test_no_json(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        read_json(write(tmp_path / "a", content), "mend it")
    assert error.value.hint == "mend it"


def test_json(tmp_path: Path) -> None:
    assert read_json(write(tmp_path / "a", b'{"a": [1, 2.5, null]}'), "") == {"a": [1, 2.5, None]}


@pytest.mark.parametrize("value", [True, None, "1", 2e9, -(10**400), math.inf, math.nan, [1]])
def test_no_number(value: object) -> None:
    assert math.isnan(number(value))
    assert numbers([1, value], 2) is None


def test_numbers() -> None:
    assert numbers([1, 2.5], 2) == [1.0, 2.5]
    assert numbers([1, 2.5], 3) is None
    assert numbers((1, 2.5), 2) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a/b.jpg", True), ("a..b", True), ("../a", False), ("a\\..\\..\\b", False), ("/a", False),
     ("c:\\a", False), ("", False), (" ", False), ("a\0", False)],
)  # fmt: skip
def test_is_inside(name: str, expected: bool) -> None:
    assert is_inside(name) == expected
