"""Pictures from the web: http and https alone, limited in size and time."""

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
SILENCE_SECONDS = 15.0  # without a byte
TOTAL_SECONDS = 120.0
MAX_REDIRECTIONS = 5
_SAFE = "%:/?#[]@!$&'()*+,;=~"  # what stays as it is in an address
_REDIRECTIONS = (301, 302, 303, 307, 308)
_CHUNK = 2**16


def is_url(name: str) -> bool:
    """Whether a name is an address rather than a path."""
    return name.lower().startswith(("http://", "https://"))


def stem(url: str) -> str:
    """What files that are made from an address are called, without ending."""
    try:
        path = PurePosixPath(unquote(urlsplit(url).path))
    except ValueError:  # no address: `fetch` will say so
        return "picture"
    return re.sub(r"[^\w.+-]", "_", path.stem)[:100].strip(".") or "picture"


def fetch(url: str) -> bytes:
    """The content of a picture on the web.

    Raises:
        ImageError: it cannot be had, is something else than a picture, or too large.
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
            if response.length:  # http.client does not complain of what read1 does not get
                raise ImageError(f"{url} was cut off", "try again")
    except (OSError, HTTPException, ValueError) as error:
        raise ImageError(f"cannot fetch {url}: {reason(error)}", "check the address") from None
    return bytes(content)


def _open(url: str) -> HTTPResponse:
    """The answer at an address, or where it leads."""
    opener = build_opener(_NoRedirection)
    agent = {"User-Agent": f"frcnn/{__version__}", "Accept": "image/*"}
    for _ in range(MAX_REDIRECTIONS):
        try:
            asked = quote(url, safe=_SAFE)  # spaces and other scripts
            return opener.open(Request(asked, headers=agent), timeout=SILENCE_SECONDS)
        except HTTPError as error:
            error.close()
            target = error.headers.get("Location")
            if error.code not in _REDIRECTIONS or not target:
                raise
            url = urljoin(url, quote(target, safe=_SAFE, encoding="iso-8859-1"))
            if not is_url(url):
                raise ValueError(f"it leads to {url}") from None
    raise ValueError("it leads on and on")


class _NoRedirection(HTTPRedirectHandler):
    """Leaves it to `_open`: urllib would follow to ftp, and read all of what it leaves behind."""

    def redirect_request(self, *arguments: object) -> None:
        """None follows nothing."""


def _check_type(url: str, headers: HTTPMessage) -> None:
    kind = headers.get_content_type() if "Content-Type" in headers else "image/unknown"
    if not kind.startswith("image/") and not kind.endswith("/octet-stream"):
        raise ImageError(f"{url} is {kind}, not a picture", "give the address of the picture")
