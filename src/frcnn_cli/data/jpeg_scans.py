"""Counts the scans of a JPEG before it is decoded: each goes over all pixels, and takes 2 bytes."""

from __future__ import annotations

import re

# A marker may follow any number of \xff; \xff\x00 stands for \xff in the data of a scan. With
# \xff+ the search would try every start of a long row of \xff to its end: the square of its length.
_MARKER = re.compile(rb"\xff([^\x00\xff])")
_SCAN, _END = 0xDA, 0xD9
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})


def count_scans(content: bytes) -> int:
    """The number of scans up to the end of the first image, as libjpeg finds them."""
    count = at = 0
    while (marker := _MARKER.search(content, at)) is not None:
        at, kind = marker.end(), marker[1][0]
        if kind == _END:
            break
        if kind not in _WITHOUT_LENGTH:
            at += max(2, int.from_bytes(content[at : at + 2], "big"))
        count += kind == _SCAN
    return count
