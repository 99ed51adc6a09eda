from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frcnn_cli.data import video
from frcnn_cli.data.sources import open_sources
from frcnn_cli.data.video import FrameStride, parse_frame_stride, read_frames
from frcnn_cli.errors import ConfigError, ImageError

RATE, COUNT, SIZE = 10, 25, (48, 64)
EVERY = FrameStride(frames=1)


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


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {}\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 9999 RTP/AVP 96\n",
    ],
    ids=["playlist", "playlist of an address", "concat", "session"],
)
def test_a_list_does_not_open_other_files(tmp_path, text) -> None:
    secret = write_video(tmp_path / "secret.avi")
    path = tmp_path / "a.mp4"
    path.write_text(text.format(secret))
    with pytest.raises(ImageError, match="cannot be read as a video"):
        list(read_frames(path, EVERY))


@pytest.mark.parametrize("name", ["concat:{0}|{0}", "file:{}", "subfile,,start,0,end,99,,:{}"])
def test_names_are_no_protocols(tmp_path, name) -> None:
    path = write_video(tmp_path / "a.mp4")
    with pytest.raises(ImageError, match="No such file"):
        list(read_frames(Path(name.format(path)), EVERY))


def test_ffmpeg_opens_nothing(tmp_path, monkeypatch) -> None:
    av = pytest.importorskip("av")
    path, given = write_video(tmp_path / "a.mp4"), []
    opens = av.open

    def spy(file, mode, **options):
        given.append((file, options))
        return opens(file, mode, **options)

    monkeypatch.setattr(av, "open", spy)
    assert len(list(read_frames(path, EVERY))) == COUNT
    (file, options) = given[0]
    assert not isinstance(file, str | Path)
    assert not file.name
    assert options["options"]["protocol_whitelist"] == "none"


def test_no_more_streams_than_are_looked_at(tmp_path, monkeypatch) -> None:
    path = write_video(tmp_path / "a.mkv")
    monkeypatch.setitem(video._OPTIONS, "max_streams", "0")
    with pytest.raises(ImageError, match="has no video stream"):
        list(read_frames(path, EVERY))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_for(tmp_path) -> None:
    pytest.importorskip("av")
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(ImageError, match="a pipe or a device"):
        list(read_frames(tmp_path / "a.mp4", EVERY))


def write_jpegs(path: Path, *sizes: tuple[int, int]) -> Path:
    """A video whose frames are JPEGs of sizes of their own, (height, width)."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = *sizes[0], "yuvj420p"
        stream.codec_context.open()
        for number, (height, width) in enumerate(sizes):
            content = io.BytesIO()
            Image.new("L", (width, height)).save(content, "JPEG")
            packet = av.Packet(content.getvalue())
            packet.stream, packet.pts, packet.dts = stream, number, number
            packet.time_base = stream.codec_context.time_base
            container.mux(packet)
    return path


def test_frames_of_different_sizes(tmp_path) -> None:
    sizes = [(48, 64), (96, 32), (17, 33)]
    found = list(read_frames(write_jpegs(tmp_path / "a.avi", *sizes), EVERY))
    assert [pixels.shape for _, pixels in found] == [(*size, 3) for size in sizes]


def test_frames_of_more_pixels_than_are_decoded(tmp_path) -> None:
    assert 7680 * 4320 <= video.MAX_PIXELS < 8192 * 8192
    for name, sizes in (("a.avi", ()), ("b.avi", ((48, 64),))):
        frames = read_frames(write_jpegs(tmp_path / name, *sizes, (8192, 8192)), EVERY)
        for size in sizes:
            assert next(frames)[1].shape == (*size, 3)
        with pytest.raises(ImageError, match="cannot be read as a video") as error:
            next(frames)
        assert "frames of at most 33,554,432 pixels" in error.value.hint


def test_no_frames_no_pictures_and_unknown_codecs(tmp_path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "a.mkv"
    content = write_video(path).read_bytes()
    path.write_bytes(content.replace(b"V_MPEG4/ISO/ASP", b"V_WRONG/ISO/ASP"))
    with pytest.raises(ImageError, match="compressed in an unknown way"):
        list(read_frames(path, EVERY))
    content = write_video(tmp_path / "a.avi").read_bytes()
    (tmp_path / "a.avi").write_bytes(content[: content.index(b"movi") + 4])
    with pytest.raises(ImageError, match="has no frames"):
        list(read_frames(tmp_path / "a.avi", EVERY))
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        silence = np.zeros((1, 1024), np.float32)
        frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux([*stream.encode(frame), *stream.encode()])
    with pytest.raises(ImageError, match="has no video stream"):
        list(read_frames(tmp_path / "a.mp4", EVERY))


def test_every_part_of_a_video_is_read_or_refused(tmp_path) -> None:
    """Cut and changed ones: an ImageError or frames, and no other error."""
    path, random = tmp_path / "a.mkv", np.random.default_rng(0)
    content = write_video(path, count=2).read_bytes()
    for length in range(0, len(content), len(content) // 40):
        changed = np.frombuffer(content, np.uint8).copy()
        at = random.integers(0, len(changed), 4)
        changed[at] = random.integers(0, 256, 4)
        for each in (content[:length], changed.tobytes()):
            path.write_bytes(each)
            with contextlib.suppress(ImageError):
                assert all(pixels.ndim == 3 for _, pixels in read_frames(path, EVERY))


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
