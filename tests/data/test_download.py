"""Against a server on this machine; nothing leaves it."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from frcnn_cli.data import download
from frcnn_cli.data.download import ARCHIVES, Archive, fetch
from frcnn_cli.errors import DataError
from synthetic import write_voc

FILES = {"VOCdevkit/VOC2007/a.txt": b"first", "VOCdevkit/VOC2007/deep/b.bin": b"x" * 200_000}


def tar_of(files: dict[str, bytes], *more: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in more:
            archive.addfile(info, io.BytesIO(b"\0" * info.size))
    return buffer.getvalue()


class Server:
    """Answers by path: /good whole, /norange always whole, /half breaks off, /other wrong bytes."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.requests: list[tuple[str, str | None]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = self.headers.get("Range")
                outer.requests.append((self.path, wanted))
                body = outer.content
                if self.path == "/gone":
                    self.send_error(404)
                    return
                if self.path == "/other":
                    body = b"y" * len(body)
                if self.path == "/long":
                    body += b"z" * 100
                start = 0
                if wanted is not None and self.path != "/norange":
                    start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                    self.send_response(206)
                else:
                    self.send_response(200)
                self.send_header("Content-Length", str(len(body) - start))
                self.end_headers()
                stop = len(body) // 2 if self.path == "/half" else len(body)
                self.wfile.write(body[start:stop])

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def archive(self, *paths: str) -> Archive:
        base = f"http://127.0.0.1:{self._server.server_port}"
        digest = hashlib.sha1(self.content).hexdigest()
        urls = tuple(base + path for path in paths)
        return Archive(name="voc.tar", sha1=digest, size=len(self.content), urls=urls)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server(tar_of(FILES))
    yield running
    running.close()


def check_files(folder: Path) -> None:
    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("voc.json", "claims.lock")
    }
    assert found == FILES


def test_unpacked_files_are_not_downloaded_again(server: Server, tmp_path: Path) -> None:
    messages: list[str] = []
    for _ in range(2):
        fetch(server.archive("/good"), tmp_path / "d", "voc", messages.append)
        check_files(tmp_path / "d")
    assert server.requests == [("/good", None)]
    assert messages[0].startswith("downloading voc")


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("shorter")])
def test_missing_and_truncated_files_are_noticed(server: Server, tmp_path: Path, damage) -> None:
    fetch(server.archive("/good"), tmp_path, "voc", lambda _: None)
    damage(tmp_path / "VOCdevkit/VOC2007/deep/b.bin")
    messages: list[str] = []
    fetch(server.archive("/good"), tmp_path, "voc", messages.append)
    check_files(tmp_path)
    assert "1 files of voc" in messages[0]


def test_mirrors_are_tried_in_turn(server: Server, tmp_path: Path) -> None:
    messages: list[str] = []
    archive = server.archive("/gone", "/other", "/long", "/good")
    closed = "http://127.0.0.1:9/voc.tar"
    fetch(replace(archive, urls=(closed, *archive.urls)), tmp_path, "voc", messages.append)
    check_files(tmp_path)
    assert [path for path, _ in server.requests] == ["/gone", "/other", "/long", "/good"]
    assert "404" in "".join(messages)
    assert "not the right file" in "".join(messages)
    assert "sends more than" in "".join(messages)


def test_a_broken_connection_is_resumed(server: Server, tmp_path: Path) -> None:
    half = len(server.content) // 2
    with pytest.raises(DataError, match=f"ends after {half} of"):
        fetch(server.archive("/half"), tmp_path, "voc", lambda _: None)
    assert (tmp_path / "voc.tar.part").stat().st_size == half
    fetch(server.archive("/good"), tmp_path, "voc", lambda _: None)
    assert server.requests[-1] == ("/good", f"bytes={half}-")
    check_files(tmp_path)


def test_a_server_that_knows_no_ranges_starts_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "voc.tar.part").write_bytes(server.content[:1000])
    fetch(server.archive("/norange"), tmp_path, "voc", lambda _: None)
    check_files(tmp_path)


def test_an_existing_archive_is_checked_and_used(server: Server, tmp_path: Path) -> None:
    (tmp_path / "voc.tar").write_bytes(server.content)
    fetch(server.archive("/gone"), tmp_path, "voc", lambda _: None)
    check_files(tmp_path)
    assert server.requests == []


def test_all_mirrors_fail(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot download voc.tar: .*404") as error:
        fetch(server.archive("/gone", "/gone"), tmp_path, "voc", lambda _: None)
    assert "--data" in error.value.hint
    assert "\n" not in error.value.message


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> object:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (member("../outside.txt"), "lies outside the folder"),
        (member("a/../../outside.txt"), "lies outside the folder"),
        (member("/tmp/outside.txt"), "lies outside the folder"),
        (member("a\\..\\..\\outside.txt"), "lies outside the folder"),
        (member("link", tarfile.SYMTYPE, link="/etc"), "is not a plain file"),
        (member("hard", tarfile.LNKTYPE, link="VOCdevkit/VOC2007/a.txt"), "is not a plain file"),
        (member("device", tarfile.CHRTYPE), "is not a plain file"),
        (member("pipe", tarfile.FIFOTYPE), "is not a plain file"),
        (member("VOCdevkit/VOC2007/a.txt"), "occurs twice"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_bad_members_leave_nothing_behind(tmp_path: Path, bad, message: str) -> None:
    path = tmp_path / "in" / "voc.tar"
    path.parent.mkdir()
    path.write_bytes(tar_of(FILES, bad))
    with pytest.raises(DataError, match=message):
        download.unpack(path, tmp_path / "in", 10**6)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "voc.tar"
    path.write_bytes(tar_of(FILES))
    with pytest.raises(DataError, match="holds more than 1000 bytes"):
        download.unpack(path, tmp_path, 1000)
    monkeypatch.setattr(download, "MAX_MEMBERS", 1)
    with pytest.raises(DataError, match="too many files"):
        download.unpack(path, tmp_path, 10**6)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"no archive", tar_of(FILES)[:100_000]])
def test_an_archive_that_is_not_a_tar_file(tmp_path: Path, content: bytes, server: Server) -> None:
    server.content = content or b"-"
    with pytest.raises(DataError, match=r"cannot unpack voc|holds more than"):
        fetch(server.archive("/good"), tmp_path, "voc", lambda _: None)
    assert not (tmp_path / "VOCdevkit").exists()


def test_the_real_archives_are_complete() -> None:
    assert set(ARCHIVES) == {("2007", "trainval"), ("2007", "test"), ("2012", "trainval")}
    for archive in ARCHIVES.values():
        assert len(archive.sha1) == 40
        assert archive.size % 512 == 0  # a .tar file's blocks
        assert len(archive.urls) == 3
        assert all(url.endswith(archive.name) for url in archive.urls)


def test_complete_data_of_the_user_is_not_downloaded(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_voc(tmp_path / "VOCdevkit" / "VOC2007", 4, 1)
    monkeypatch.setitem(download.IMAGES, ("2007", "trainval"), 4)
    monkeypatch.setitem(download.ARCHIVES, ("2007", "trainval"), server.archive("/good"))
    download.fetch_voc(tmp_path, "2007", "trainval", lambda _: pytest.fail("fetches"))
    (root / "JPEGImages" / "000003.jpg").unlink()
    download.fetch_voc(tmp_path, "2007", "trainval", lambda _: None)
    assert server.requests == [("/good", None)]
    download.fetch_voc(tmp_path, "2007", "trainval", lambda _: pytest.fail("fetches again"))


def test_two_processes_at_once(server: Server, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    both = [
        context.Process(target=fetch, args=(server.archive("/good"), tmp_path, "voc", print))
        for _ in range(2)
    ]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert [each.exitcode for each in both] == [0, 0]
    check_files(tmp_path)
    assert len(server.requests) == 1
