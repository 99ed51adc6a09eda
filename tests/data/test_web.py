from __future__ import annotations

import contextlib
import io
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from frcnn_cli.data import web
from frcnn_cli.errors import ImageError


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 7), "red").save(buffer, format="PNG")
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    """/good, /octets, /page, /gone, /large, /endless, /cut, /silent, /to?<where>."""

    stop = threading.Event()

    def do_GET(self) -> None:
        name, _, query = self.path[1:].partition("?")
        if name == "gone":
            self.send_error(404)
            return
        self.send_response(302 if name == "to" else 200)
        if name == "to":
            self.send_header("Location", query or "/to")
        kinds = {"page": "text/html", "octets": "binary/octet-stream"}
        if name != "untyped":
            self.send_header("Content-Type", kinds.get(name, "image/png"))
        if name in ("good", "octets", "untyped", "page", "cut"):
            self.send_header("Content-Length", str(len(png())))
        self.end_headers()
        if name == "silent":
            self.stop.wait(5)
        elif name in ("large", "endless"):
            for _ in range(40 if name == "large" else 10**6):
                if self.stop.wait(0 if name == "large" else 0.01):
                    break
                self.wfile.write(b"x" * 1000)
        elif name != "to":
            self.wfile.write(png()[: 10 if name == "cut" else None])

    def log_message(self, *arguments: object) -> None:
        """Keep still."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *arguments: object) -> None:
        """The other side hangs up on purpose."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "*")
    Handler.stop.clear()
    with Server(("127.0.0.1", 0), Handler) as each:
        thread = threading.Thread(target=each.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{each.server_port}"
        Handler.stop.set()
        each.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "name", ["good", "octets", "untyped", "to?/good", "good?q=ü b", "good?q=%C3%BC%20b"]
)
def test_a_picture_is_fetched(server, name) -> None:
    assert web.fetch(f"{server}/{name}") == png()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone", "404"),
        ("page", "is text/html, not a picture"),
        ("cut", "was cut off"),
        ("large", "is larger than"),
        ("endless", "took longer than"),
        ("silent", "timed out"),
        ("to?file:///etc/passwd", "it redirects to file"),
        ("to?ftp://127.0.0.1/a", "it redirects to ftp"),
        ("to?/to", "redirects more than 5 times"),
    ],
)
def test_files_that_are_not_images(server, monkeypatch, name, message) -> None:
    monkeypatch.setattr(web, "MAX_BYTES", 20_000)
    monkeypatch.setattr(web, "TOTAL_SECONDS", 0.08 if name == "endless" else 5)
    monkeypatch.setattr(web, "SILENCE_SECONDS", 0.2)
    with pytest.raises(ImageError) as error:
        web.fetch(f"{server}/{name}")
    assert message in error.value.message
    assert "\n" not in error.value.message


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/a.png", "http://", "http://[::bad/a", "http://a b/"]
)
def test_addresses_without_an_image(url) -> None:
    with pytest.raises(ImageError, match="cannot fetch") as error:
        web.fetch(url)
    assert "urlopen" not in error.value.message
    assert "Errno" not in error.value.message


@pytest.mark.parametrize(
    ("url", "stem"),
    [
        ("http://a/b/dog.jpg?x=1#y", "dog"),
        ("http://a/b/my%20dog.jpg", "my_dog"),
        ("http://a", "picture"),
        ("http://[abc/x.jpg", "picture"),
        ("http://a/..%2f..%2fetc%2fpasswd%00.png", "passwd_"),
        ("http://a/%2e%2e", "picture"),
        ("http://a/" + "x" * 300 + ".jpg", "x" * 100),
    ],
)
def test_stems(url, stem) -> None:
    assert web.file_stem(url) == stem


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
STALLS = {  # what a server sends first, and then again and again
    "the status line": (b"HTTP/1.1 200 ", b"O"),
    "a header": (HEAD + b"X: ", b"x"),
    "go on": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "the size of a part": (CHUNKED, b"0"),
    "trailers": (CHUNKED + b"1\r\nx\r\n0\r\n", b"X: x\r\n"),
    "the body": (HEAD + b"Content-Length: 1000\r\n\r\n", b"x"),
    "nothing": (b"", b""),
}


@pytest.mark.parametrize(("first", "then"), STALLS.values(), ids=STALLS)
def test_a_server_that_never_ends(monkeypatch, first: bytes, then: bytes) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(web, "TOTAL_SECONDS", 0.5)
    stop = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(first)
            while not stop.wait(0.02):
                connection.sendall(then)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        begun = time.monotonic()
        with pytest.raises(ImageError, match=r"took longer than 0\.5 s"):
            web.fetch(f"http://127.0.0.1:{listener.getsockname()[1]}/a.png")
        assert 0.4 < time.monotonic() - begun < 3
        stop.set()
        thread.join()


def test_a_server_that_is_reached_after_the_deadline(monkeypatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(web, "TOTAL_SECONDS", 0.05)
    monkeypatch.setattr(web, "SILENCE_SECONDS", 3)
    create_connection = web.socket.create_connection

    def slowly(*arguments, **options):
        time.sleep(0.2)
        return create_connection(*arguments, **options)

    monkeypatch.setattr(web.socket, "create_connection", slowly)
    begun = time.monotonic()
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(ImageError, match=r"took longer than 0\.05 s"),
    ):
        web.fetch(f"http://127.0.0.1:{listener.getsockname()[1]}/a.png")
    assert time.monotonic() - begun < 2
