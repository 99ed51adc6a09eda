"""Downloading images: over http and https only, limited in size and time."""

from __future__ import annotations

import re
import time
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import PurePosixPath
from urllib.error import HTTPError
from urllib.parse import quote, unquote, urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

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
    deadline = time.monotonic() + TOTAL_SECONDS
    content = bytearray()
    try:
        with _open(url) as response:
            _check_type(url, response.headers)
            while part := response.read1(_CHUNK):
                content += part
                if len(content) > MAX_BYTES:
                    raise ImageError(
                        f"{url} is larger than {MAX_BYTES >> 20} MB", "download and scale it down"
                    )
                if time.monotonic() > deadline:
                    raise ImageError(
                        f"{url} took longer than {TOTAL_SECONDS:g} s", "download it first"
                    )
            if response.length:  # bytes that were announced but not sent; read1 does not raise
                raise ImageError(f"{url} was cut off", "try again")
    except (OSError, HTTPException, ValueError) as error:
        raise ImageError(f"cannot fetch {url}: {reason(error)}", "check the address") from None
    return bytes(content)


def _open(url: str) -> HTTPResponse:
    """Open an address, following at most MAX_REDIRECTIONS redirections.

    Raises:
        OSError, HTTPException, ValueError: no answer, an error status, or a bad redirection.
    """
    opener = build_opener(_NoRedirection)
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
