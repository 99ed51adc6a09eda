from __future__ import annotations

from pathlib import Path

import pytest

from frcnn_cli.data import content
from frcnn_cli.data.content import ContentSketch, content_hash, file_hashes, shared_files


def write(folder: Path, *contents: bytes) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{number}.jpg" for number in range(len(contents))]
    for path, each in zip(paths, contents, strict=True):
        path.write_bytes(each)
    return paths


def test_hashes_are_of_the_content(tmp_path: Path) -> None:
    a = write(tmp_path / "a", b"one", b"two")
    b = write(tmp_path / "b", b"two", b"one")
    assert file_hashes(a) == file_hashes(b)[::-1] == [content_hash(b"one"), content_hash(b"two")]
    assert file_hashes([tmp_path / "absent.jpg"]) == []


def test_shared_files(tmp_path: Path) -> None:
    a = write(tmp_path / "a", b"one", b"two", b"three", b"same size A")
    b = write(tmp_path / "b", b"three", b"same size B", b"one", b"one")
    assert shared_files(a, b) == 2
    assert shared_files(b, a) == 3
    assert shared_files(a, []) == 0
    assert shared_files([tmp_path / "absent.jpg"], a) == 0


def hashes(begin: int, end: int) -> list[str]:
    return [content_hash(str(number).encode()) for number in range(begin, end)]


def test_a_small_set_is_compared_exactly() -> None:
    sketch = ContentSketch.of(hashes(0, 50) * 2)
    assert sketch.count == 50
    assert sketch.is_complete
    assert sketch.shared(hashes(40, 90)) == 10
    assert sketch.shared([]) == 0


def test_a_large_set_is_estimated() -> None:
    sketch = ContentSketch.of(hashes(0, 20_000))
    assert len(sketch.smallest) == content.SKETCH_SIZE
    assert not sketch.is_complete
    assert sketch.shared(hashes(15_000, 40_000)) == pytest.approx(5000, rel=0.2)
    assert sketch.shared(hashes(20_000, 40_000)) == 0
    assert sketch.shared(hashes(0, 20_000)) == 20_000


def test_the_json_of_a_sketch_comes_back() -> None:
    sketch = ContentSketch.of(hashes(0, 5))
    assert ContentSketch.from_json(sketch.to_json()) == sketch


@pytest.mark.parametrize(
    "value",
    [None, [], {}, {"count": 1}, {"count": "2", "hashes": []}, {"count": 0, "hashes": ["a"]}],
)
def test_what_is_no_sketch(value: object) -> None:
    assert ContentSketch.from_json(value) is None
