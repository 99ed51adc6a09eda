from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frcnn_cli.data.sources import Source, as_source, find_files, list_sources, open_sources
from frcnn_cli.data.video import FrameStride
from frcnn_cli.errors import DataError, ImageError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("many/b.PNG", "many/a.jpg", "many/notes.txt", "many/clip.mp4", "many/in/c.webp"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def listed(*arguments: str, stdin: tuple[str, ...] = (), recursive: bool = False) -> list[str]:
    return list_sources(arguments, stdin, recursive)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["many"], ["many/a.jpg", "many/b.PNG", "many/clip.mp4"]),
        (["many/in", "many/a.jpg"], ["many/in/c.webp", "many/a.jpg"]),
        (["many/a.jpg", "many"], ["many/a.jpg", "many/b.PNG", "many/clip.mp4"]),
        (["many/*.jpg"], ["many/a.jpg"]),
        (["many/**/*.[jw]*"], ["many/a.jpg", "many/in/c.webp"]),
        (["many/notes.txt"], ["many/notes.txt"]),
        (["HTTP://a/b.jpg", "http://a/b.jpg"], ["HTTP://a/b.jpg", "http://a/b.jpg"]),
        (["https://a/b c?d=1"], ["https://a/b c?d=1"]),
    ],
)
def test_what_arguments_stand_for(arguments, expected) -> None:
    assert listed(*arguments) == expected


def test_home(folder) -> None:
    assert listed("~/many/a.jpg", "~/many/*.jpg") == [str(folder / "many/a.jpg")]


def test_a_folder_that_is_named_like_a_picture(folder) -> None:
    (folder / "many" / "d.png").mkdir()
    assert listed("many") == ["many/a.jpg", "many/b.PNG", "many/clip.mp4"]


def test_recursive() -> None:
    expected = ["many/a.jpg", "many/b.PNG", "many/clip.mp4", "many/in/c.webp"]
    assert listed("many", recursive=True) == expected


def test_a_list_on_stdin_mixed_with_arguments() -> None:
    lines = ("x y.jpg\n", "\n", "./many/a.jpg\r\n", "http://h/p.png", "x y.jpg")
    assert listed("many/in/c.webp", "-", "many/a.jpg", stdin=lines) == [
        "many/in/c.webp", "x y.jpg", "many/a.jpg", "http://h/p.png",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("argument", "error", "message"),
    [
        ("nothere.jpg", ImageError, "no such file or folder: nothere.jpg"),
        ("no*.jpg", DataError, r"no files match no\*.jpg"),
        ("-", DataError, "the list is empty"),
        ("ftp://a/b.jpg", ImageError, "no such file"),
        ("file:///etc/passwd", ImageError, "no such file"),
    ],
)
def test_arguments_that_stand_for_nothing(argument, error, message) -> None:
    with pytest.raises(error, match=message):
        listed(argument)


def test_a_folder_of_folders_offers_a_pattern(folder) -> None:
    """Which every command takes; --recursive is an option of `frcnn detect` alone."""
    inner = folder / "outer" / "inner"
    inner.mkdir(parents=True)
    with pytest.raises(DataError) as error:
        listed("outer")
    (inner / "a.jpg").touch()
    pattern = error.value.hint.split("'")[1]
    assert listed(pattern) == ["outer/inner/a.jpg"]


def test_a_folder_for_pictures_alone_has_no_videos() -> None:
    assert find_files(["many"], {".jpg", ".mp3"}) == [Path("many/a.jpg")]


def test_nothing_is_read_before_its_turn() -> None:
    sources = open_sources(
        ["nothere.jpg", "many/a.jpg", "http://127.0.0.1:9/x.png"], FrameStride(1.0)
    )
    assert [source.stem for source in sources] == ["nothere", "a", "x"]


def test_a_source_gives_content_and_picture(folder) -> None:
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    Image.fromarray(pixels).save("p.png")
    for given in ("p.png", Path("p.png"), "~/p.png"):
        source = as_source(given)
        content, image = source.read()
        assert content == Path("p.png").read_bytes()
        np.testing.assert_array_equal(image, pixels)
        assert source.stem == "p"
    for given in (Image.open("p.png"), pixels):
        content, image = as_source(given).read()
        assert content is None
        np.testing.assert_array_equal(image, pixels)
    source = Source("a", "a", lambda: (None, pixels))
    assert as_source(source) is source


def test_an_array_that_is_filled_again_stays_the_picture_that_it_was() -> None:
    frame = np.full((4, 5, 3), 7, np.uint8)
    source = as_source(frame)
    frame[:] = 9
    assert (source.read()[1] == 7).all()


def test_names_that_end_in_nul() -> None:
    with pytest.raises(DataError, match="holds a NUL"):
        listed("-", stdin=("a.png\0b.png\0",))


def noted(*arguments: str, recursive: bool = False) -> tuple[list[str], list[str]]:
    notes: list[str] = []
    return list_sources(arguments, (), recursive, notes.append), notes


def test_skipped_files_are_counted_by_their_endings(folder) -> None:
    for name in ("x.heic", "y.HEIC", "z.tga", "w.jfif", "v.Mpo", "u.pgm"):
        (folder / "many" / name).touch()
    sources, notes = noted("many")
    assert {Path(source).name for source in sources} >= {"w.jfif", "v.Mpo", "u.pgm", "b.PNG"}
    assert len(notes) == 1
    assert "many: 4 of 10 files are skipped" in notes[0]
    assert "2 .heic" in notes[0]
    assert "1 .txt" in notes[0]
    assert "pip install pillow-heif" in notes[0]


def test_files_of_the_system_are_passed_over(folder) -> None:
    hidden = ("many/._a.jpg", "many/.ipynb_checkpoints/a.jpg", "many/__MACOSX/a.jpg")
    for name in (*hidden, "many/Thumbs.db"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    for recursive in (False, True):
        sources, notes = noted("many", recursive=recursive)
        assert not {*sources} & {*hidden}
        assert "2 files whose names begin with a dot" in notes[-1]
    assert noted("many/._a.jpg")[0] == ["many/._a.jpg"]


def test_a_folder_without_images_says_what_it_holds(folder) -> None:
    (folder / "texts").mkdir()
    (folder / "texts" / "a.txt").touch()
    with pytest.raises(DataError, match=r"no images in the folder texts; it holds 1 \.txt"):
        listed("texts")
