"""Pictures from the web: http and https alone, limited in size and time."""

from __future__ import annotations

import re
import time
from http.client import HTTPException, HTTPMessage
from pathlib import PurePosixPath
from typing import IO
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from .. import __version__
from ..errors import ImageError, reason

MAX_BYTES = 64 * 2**20
SILENCE_SECONDS = 15.0  # without a byte
TOTAL_SECONDS = 120.0
_SCHEMES = ("http", "https")
_CHUNK = 2**16


def is_url(name: str) -> bool:
    """Whether a name is an address rather than a path."""
    return name.lower().startswith(("http://", "https://"))


def stem(url: str) -> str:
    """What files that are made from an address are called, without ending."""
    path = PurePosixPath(unquote(urlsplit(url).path))
    return re.sub(r"[^\w.+-]", "_", path.stem)[:100].strip(".") or "picture"


def fetch(url: str) -> bytes:
    """The content of a picture on the web.

    Raises:
        ImageError: it cannot be had, is something else than a picture, or too large.
    """
    deadline = time.monotonic() + TOTAL_SECONDS
    content = bytearray()
    try:
        agent = {"User-Agent": f"frcnn/{__version__}", "Accept": "image/*"}
        opener = build_opener(_HttpOnly)
        with opener.open(Request(url, headers=agent), timeout=SILENCE_SECONDS) as response:
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


def _check_type(url: str, headers: HTTPMessage) -> None:
    kind = headers.get_content_type() if "Content-Type" in headers else "image/unknown"
    if not kind.startswith("image/") and not kind.endswith("/octet-stream"):
        raise ImageError(f"{url} is {kind}, not a picture", "give the address of the picture")


class _HttpOnly(HTTPRedirectHandler):
    """Follows no redirection to another scheme."""

    def redirect_request(
        self,
        req: Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> Request | None:
        if urlsplit(newurl).scheme.lower() not in _SCHEMES:
            raise ValueError(f"it leads to {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
