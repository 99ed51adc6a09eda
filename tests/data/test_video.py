from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from frcnn_cli.data.sources import open_sources
from frcnn_cli.data.video import FrameStride, parse_frame_stride, read_frames
from frcnn_cli.errors import ConfigError, ImageError

RATE, COUNT, SIZE = 10, 25, (48, 64)


def write_video(path: Path, count: int = COUNT) -> Path:
    """A frame's grey level says its number: 10 * number."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(count):
            level = np.full((*SIZE, 3), 10 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(level, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("stride", "expected"),
    [
        (FrameStride(frames=1), list(range(25))),
        (FrameStride(frames=10), [0, 10, 20]),
        (FrameStride(frames=100), [0]),
        (FrameStride(seconds=1.0), [0, 10, 20]),
        (FrameStride(seconds=0.5), [0, 5, 10, 15, 20]),
        (FrameStride(seconds=0.25), [0, 3, 5, 8, 10, 13, 15, 18, 20, 23]),
        (FrameStride(seconds=0.001), list(range(25))),
        (FrameStride(seconds=99.0), [0]),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_frames(tmp_path, name, stride, expected) -> None:
    found = list(read_frames(write_video(tmp_path / name), stride))
    assert [index for index, _ in found] == expected
    for index, pixels in found:
        assert pixels.shape == (*SIZE, 3)
        assert pixels.dtype == np.uint8
        assert abs(pixels.astype(int).mean() - 10 * index) < 6


def test_sources_of_a_video_among_others(tmp_path) -> None:
    path = write_video(tmp_path / "a.mp4")
    found = list(open_sources(["x.jpg", str(path), "y.jpg"], FrameStride(seconds=1.0)))
    assert [each.stem for each in found] == ["x", "a-000000", "a-000010", "a-000020", "y"]
    assert found[2].name == f"{path}#10"
    content, pixels = found[2].read()
    assert content is None
    assert pixels.shape == (*SIZE, 3)


def test_a_damaged_video_gives_what_it_has_and_then_fails(tmp_path) -> None:
    path = write_video(tmp_path / "a.avi")
    path.write_bytes(path.read_bytes()[:100])
    (source,) = open_sources([str(path)], FrameStride(frames=1))
    with pytest.raises(ImageError, match="cannot be read as a video"):
        source.read()


@pytest.mark.parametrize("content", [b"", b"text", b"\0" * 5000])
def test_no_video(tmp_path, content) -> None:
    pytest.importorskip("av")
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(ImageError, match="cannot be read as a video") as error:
        list(read_frames(path, FrameStride(frames=1)))
    assert "\n" not in error.value.message


def test_a_missing_video(tmp_path) -> None:
    pytest.importorskip("av")
    with pytest.raises(ImageError, match="No such file"):
        list(read_frames(tmp_path / "a.mp4", FrameStride(frames=1)))


def test_a_playlist_does_not_open_other_files(tmp_path) -> None:
    write_video(tmp_path / "secret.avi")
    path = tmp_path / "a.mp4"
    for text in (
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.avi\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile secret.avi\n",
    ):
        path.write_text(text)
        with pytest.raises(ImageError, match="cannot be read as a video"):
            list(read_frames(path, FrameStride(frames=1)))


def test_without_pyav(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    (source,) = open_sources(["a.mp4"], FrameStride(frames=1))
    with pytest.raises(ConfigError, match="PyAV is not installed") as error:
        source.read()
    assert error.value.hint == "pip install 'frcnn-cli[video]'"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2s", FrameStride(seconds=2)),
        (" 0.5s ", FrameStride(seconds=0.5)),
        ("10", FrameStride(frames=10)),
        ("1", FrameStride(frames=1)),
    ],
)
def test_every(text, expected) -> None:
    assert parse_frame_stride(text) == expected


@pytest.mark.parametrize(
    "text", ["", "s", "0", "0s", "-1", "1.5", "nan", "nans", "infs", "2 m", "1e99"]
)
def test_a_malformed_frame_stride(text) -> None:
    with pytest.raises(ConfigError, match="not understood"):
        parse_frame_stride(text)
