"""Reading .npz files, zip archives of arrays in numpy's format, within bounds.

`numpy.load` believes the sizes that a file gives. Here the header of an array is read first, and
its content is expanded only if it is as large as may be.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ...errors import reason

_MAX_HEADER = 10_000  # bytes
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # which numpy writes


class ArchiveError(Exception):
    """An archive holds something else than it may; the message says what."""


def read_arrays(content: bytes, names: Sequence[str], most: int) -> dict[str, NDArray[Any]]:
    """Read those of the named arrays that an archive holds.

    Args:
        most: bytes that they may have together.
    Raises:
        ArchiveError: an array is of objects, or the arrays are larger than `most`.
        Exception: many types, for a damaged archive.
    """
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name not in names:
                continue
            if info.compress_type not in _METHODS:
                raise ArchiveError(f"`{name}` is compressed in a way that numpy does not use")
            with archive.open(info) as member:
                arrays[name] = _read_array(member, name, most)
            most -= arrays[name].nbytes
    return arrays


def read_npy(content: bytes) -> NDArray[Any]:
    """The array in a .npy file.

    Raises:
        ArchiveError: it is of objects, or damaged.
    """
    try:
        return _read_array(io.BytesIO(content), "array", len(content))
    except Exception as error:  # of many types
        raise ArchiveError(f"it cannot be read: {reason(error)}") from None


def _read_array(member: IO[bytes], name: str, most: int) -> NDArray[Any]:
    version = npy.read_magic(member)
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in read_header:
        raise ArchiveError(f"`{name}` is of version {version} of the format, not 1.0 or 2.0")
    shape, by_columns, dtype = read_header[version](member, max_header_size=_MAX_HEADER)
    if dtype.hasobject or dtype.kind not in "biufSU" or not dtype.itemsize:
        raise ArchiveError(f"`{name}` is an array of type {dtype!s:.40}")
    size = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or size > most:
        raise ArchiveError(f"`{name}` expands to more than {most >> 20} MB")
    data = member.read(size)
    if len(data) < size:
        raise ArchiveError(f"`{name}` is cut off")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if by_columns else "C")
