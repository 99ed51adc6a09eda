"""Downloading images: over http and https only, limited in size and time."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from http.client import (
    HTTPConnection,
    HTTPException,
    HTTPMessage,
    HTTPResponse,
    HTTPSConnection,
)
from pathlib import PurePosixPath
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, urljoin, urlsplit
from urllib.request import (
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    Request,
    build_opener,
)

from .. import __version__
from ..errors import ImageError, reason

MAX_BYTES = 64 * 2**20
SILENCE_SECONDS = 15.0  # longest wait for the next bytes
TOTAL_SECONDS = 120.0
MAX_REDIRECTIONS = 5
_SAFE = "%:/?#[]@!$&'()*+,;=~"  # characters of an address that are not escaped
_REDIRECTIONS = (301, 302, 303, 307, 308)
_CHUNK = 2**16


def is_url(name: str) -> bool:
    """Whether a name is a web address rather than a path."""
    return name.lower().startswith(("http://", "https://"))


def file_stem(url: str) -> str:
    """A file name without ending for files that are made from the image at `url`."""
    try:
        path = PurePosixPath(unquote(urlsplit(url).path))
    except ValueError:  # not a valid address, which `fetch` reports
        return "picture"
    return re.sub(r"[^\w.+-]", "_", path.stem)[:100].strip(".") or "picture"


def fetch(url: str) -> bytes:
    """Download the content of an image file.

    Raises:
        ImageError: no answer, an answer that is not an image, or one that is too large or too slow.
    """
    deadline = _Deadline(TOTAL_SECONDS)
    try:
        with deadline, _open(url, deadline) as response:
            _check_type(url, response.headers)
            content = _read(url, response)
    except (OSError, HTTPException, ValueError) as error:
        if deadline.passed:
            raise _too_slow(url) from None
        # urllib puts the error of a connection into one of its own
        own = error.reason if type(error) is URLError else error
        why = reason(own) if isinstance(own, Exception) else str(own)
        raise ImageError(f"cannot fetch {url}: {why}", "check the address") from None
    if deadline.passed:
        raise _too_slow(url)
    return content


def _too_slow(url: str) -> ImageError:
    return ImageError(f"{url} took longer than {TOTAL_SECONDS:g} s", "download it first")


def _read(url: str, response: HTTPResponse) -> bytes:
    content = bytearray()
    while part := response.read1(_CHUNK):
        content += part
        if len(content) > MAX_BYTES:
            raise ImageError(
                f"{url} is larger than {MAX_BYTES >> 20} MB", "download and scale it down"
            )
    if response.length:  # bytes that were announced but not sent; read1 does not raise
        raise OSError("it was cut off")
    return bytes(content)


class _Deadline:
    """A context at whose deadline the connections that were made in it end.

    A time limit for each wait would not do: a server could send a byte of a header, a line that
    says to go on, or a digit of the size of a part every few seconds, for ever.
    """

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._copies: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def connect(self, *arguments: Any, **options: Any) -> socket.socket:
        """`socket.create_connection` for a connection that ends at the deadline."""
        connection = socket.create_connection(*arguments, **options)
        self._copies.append(connection.dup())  # TLS takes over the original one
        if self.passed:  # while it connected
            self._end()
        return connection

    def _end(self) -> None:
        self.passed = True
        for copy in list(self._copies):
            with contextlib.suppress(OSError):  # the other side has ended it
                copy.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *exception: object) -> None:
        self._timer.cancel()
        for copy in self._copies:
            copy.close()


class _HttpHandler(HTTPHandler):
    """Makes connections that end at a deadline."""

    def __init__(self, deadline: _Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def http_open(self, request: Request) -> HTTPResponse:
        """Open an http address."""
        return self.do_open(_with_deadline(HTTPConnection, self._deadline), request)


class _HttpsHandler(HTTPSHandler):
    """Makes connections that end at a deadline."""

    def __init__(self, deadline: _Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def https_open(self, request: Request) -> HTTPResponse:
        """Open an https address."""
        return self.do_open(_with_deadline(HTTPSConnection, self._deadline), request)


def _with_deadline(kind: type[HTTPConnection], deadline: _Deadline) -> Any:
    """The class of connections `kind`, as a function that gives them a deadline."""

    def make(*arguments: Any, **options: Any) -> HTTPConnection:
        connection = kind(*arguments, **options)
        connection._create_connection = deadline.connect  # type: ignore[attr-defined]
        return connection

    return make


def _open(url: str, deadline: _Deadline) -> HTTPResponse:
    """Open an address, following at most MAX_REDIRECTIONS redirections.

    Raises:
        OSError, HTTPException, ValueError: no answer, an error status, or a bad redirection.
    """
    opener = build_opener(_NoRedirection, _HttpHandler(deadline), _HttpsHandler(deadline))
    headers = {"User-Agent": f"frcnn/{__version__}", "Accept": "image/*"}
    for _ in range(MAX_REDIRECTIONS):
        try:
            escaped = quote(url, safe=_SAFE)  # escapes spaces and letters outside ASCII
            return opener.open(Request(escaped, headers=headers), timeout=SILENCE_SECONDS)
        except HTTPError as error:
            error.close()
            target = error.headers.get("Location")
            if error.code not in _REDIRECTIONS or not target:
                raise
            url = urljoin(url, quote(target, safe=_SAFE, encoding="iso-8859-1"))
            if not is_url(url):
                raise ValueError(f"it redirects to {url}") from None
    raise ValueError(f"it redirects more than {MAX_REDIRECTIONS} times")


class _NoRedirection(HTTPRedirectHandler):
    """Leaves redirections to `_open`: urllib would also follow them to ftp, and read the bodies."""

    def redirect_request(self, *arguments: object) -> None:
        """Return None, so that urllib does not follow."""


def _check_type(url: str, headers: HTTPMessage) -> None:
    media_type = headers.get_content_type() if "Content-Type" in headers else "image/unknown"
    if not media_type.startswith("image/") and not media_type.endswith("/octet-stream"):
        raise ImageError(f"{url} is {media_type}, not a picture", "give the address of the picture")
