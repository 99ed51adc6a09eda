"""MATLAB files of versions 5 to 7 (MAT-file level 5): the few types that boxes are kept in.

A file is a header of 128 bytes and a list of elements; an element is a tag (its type and its number
of bytes) and its data. A variable is an element of type matrix, which holds elements itself: flags,
dimensions, name, and the content. It may lie in an element of compressed bytes. Read here are full
real matrices, texts, and cells of these; the format is described in MathWorks' "MAT-File Format".

Files are not trusted: every length is checked against the bytes that there are, compressed elements
are expanded up to a limit only, and arrays are views of the bytes that were read.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import reason

HEADER_BYTES = 128
_HDF5 = b"\x89HDF\r\n\x1a\n"
_NUMBERS = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"
}  # fmt: skip
_MATRIX, _COMPRESSED = 14, 15
_UTF8 = 16
_ENCODINGS = {1: "latin1", 2: "latin1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
# Classes of matrices.
_CELL, _CHAR, _DOUBLE = 1, 4, 6
_NUMERIC = range(6, 16)
_CLASS_NAMES = {2: "a struct", 3: "an object", 5: "a sparse matrix", 16: "a function", 17: "opaque"}
_COMPLEX = 0x08  # a flag
_MAX_DIMENSIONS = 32
_NAME_BYTES = 4096  # enough for the flags, dimensions and name of a matrix

Value = NDArray[Any] | list[str] | list[Any]  # numbers, the rows of a text, or the cells of a cell


class MatlabError(Exception):
    """A file is damaged or holds a type that is not read; the message says which."""


@dataclass(frozen=True)
class _Reader:
    """The bytes of elements, in the byte order of their file."""

    data: memoryview
    order: str  # "<" or ">"

    def elements(self) -> Iterator[tuple[int, memoryview]]:
        """The type and the data of each element."""
        at = 0
        while at + 8 <= len(self.data):
            kind, length = struct.unpack_from(f"{self.order}II", self.data, at)
            begin = at + 8
            if kind >> 16:  # up to four bytes of data lie in the tag itself
                kind, length, begin = kind & 0xFFFF, kind >> 16, at + 4
                if length > 4:
                    raise MatlabError("a small element is too long")
            if length > len(self.data) - begin:
                raise MatlabError("it is cut off")
            yield kind, self.data[begin : begin + length]
            # only compressed elements are not followed by bytes that fill eight
            at = begin + length if kind == _COMPRESSED else at + _filled(begin + length - at)

    def within(self, data: memoryview) -> _Reader:
        """A reader of the elements in an element."""
        return _Reader(data, self.order)


def read_variables(
    content: bytes, names: Sequence[str], most_bytes: int, most_cells: int
) -> dict[str, Value | None]:
    """Read variables of a file.

    Args:
        names: of the variables to read. most_bytes: of an expanded variable. most_cells: of a cell.
    Returns:
        The variables of these names, and None for each other variable of the file.
    Raises:
        MatlabError: the file is of another version, damaged, or holds more than it may.
    """
    try:
        return _variables(content, names, most_bytes, most_cells)
    except (ValueError, OverflowError, zlib.error, struct.error) as error:
        raise MatlabError(f"it is damaged: {reason(error)}") from None


def _variables(
    content: bytes, names: Sequence[str], most_bytes: int, most_cells: int
) -> dict[str, Value | None]:
    file = _open(content)
    variables: dict[str, Value | None] = {}
    for kind, data in file.elements():
        if kind == _COMPRESSED:
            matrix = _matrix(file, _expand(data, _NAME_BYTES))
        elif kind == _MATRIX:
            matrix = _parse(file, data)
        else:
            raise MatlabError(f"it holds an element of type {kind} outside a variable")
        if matrix.name in variables:
            raise MatlabError(f"it holds `{matrix.name:.40}` twice")
        variables[matrix.name] = None
        if matrix.name not in names:
            continue
        if kind == _COMPRESSED:
            expanded = _expand(data, most_bytes + 1)
            if len(expanded) > most_bytes:
                raise MatlabError(f"`{matrix.name}` expands to more than {most_bytes >> 20} MB")
            matrix = _matrix(file, expanded)
        if matrix.kind == _CELL and math.prod(matrix.shape) > most_cells:
            raise MatlabError(f"`{matrix.name}` has more cells than the file can hold images")
        variables[matrix.name] = _read(file, matrix, matrix.name)
    return variables


def _open(content: bytes) -> _Reader:
    head = content[:HEADER_BYTES]
    if _HDF5 in content[:1024] or head.startswith(b"MATLAB 7.3"):
        raise MatlabError("it is of MATLAB 7.3 (HDF5); save it with -v7")
    order = {b"IM": "<", b"MI": ">"}.get(head[126:128])
    if order is None or struct.unpack(f"{order}H", head[124:126]) != (0x0100,):
        raise MatlabError("it is no MATLAB file of versions 5 to 7; save it with -v7")
    return _Reader(memoryview(content)[HEADER_BYTES:], order)


def _filled(length: int) -> int:
    return -(-length // 8) * 8


def _expand(data: memoryview, most: int) -> memoryview:
    """The first bytes, `most` of them, that compressed bytes stand for."""
    return memoryview(zlib.decompressobj().decompress(data, most))


@dataclass(frozen=True)
class _Matrix:
    """A matrix whose content is still to be read."""

    kind: int  # one of the classes above
    is_complex: bool
    shape: tuple[int, ...]
    name: str
    content: memoryview  # elements


def _matrix(file: _Reader, element: memoryview) -> _Matrix:
    """The matrix in an element that was compressed; the element may be cut off after the name."""
    kind, length = struct.unpack_from(f"{file.order}II", element)
    if kind != _MATRIX:
        raise MatlabError(f"it holds a compressed element of type {kind}")
    return _parse(file, element[8 : 8 + length])


def _parse(file: _Reader, data: memoryview) -> _Matrix:
    if not data:  # an empty cell
        return _Matrix(_DOUBLE, False, (0, 0), "", data)
    parts, at = [], 0
    for _ in range(3):  # flags, dimensions, name
        if len(data) < at + 8:
            raise MatlabError("it is cut off")
        kind, length = struct.unpack_from(f"{file.order}II", data, at)
        size = 8 if kind >> 16 else 8 + _filled(length)
        parts += list(file.within(data[at : at + size]).elements())
        at += size
    if len(parts) < 3 or len(parts[0][1]) < 4:
        raise MatlabError("it is cut off")
    (flags,) = struct.unpack_from(f"{file.order}I", parts[0][1])
    shape = np.frombuffer(parts[1][1], f"{file.order}i4").tolist()
    if not 2 <= len(shape) <= _MAX_DIMENSIONS or any(side < 0 for side in shape):
        raise MatlabError("a matrix has impossible dimensions")
    name = bytes(parts[2][1]).decode("latin1")
    return _Matrix(flags & 0xFF, bool(flags >> 8 & _COMPLEX), tuple(shape), name, data[at:])


def _read(file: _Reader, matrix: _Matrix, name: str, in_cell: bool = False) -> Value:
    """The value of a matrix; a cell's cells are no cells."""
    where = f"a cell of `{name}`" if in_cell else f"`{name}`"
    if matrix.kind == _CELL and not in_cell:
        count = math.prod(matrix.shape)
        elements = list(islice(file.within(matrix.content).elements(), count))
        if len(elements) != count or any(kind != _MATRIX for kind, _ in elements):
            raise MatlabError(f"{where} has {len(elements)} cells, not {count}")
        return [_read(file, _parse(file, data), name, True) for _, data in elements]
    if matrix.kind == _CHAR:
        return _text(file, matrix, where)
    if matrix.kind not in _NUMERIC or matrix.is_complex:
        kind = "complex" if matrix.is_complex else _CLASS_NAMES.get(matrix.kind, "a cell of cells")
        raise MatlabError(f"{where} is {kind}; expected a matrix of real numbers")
    if 0 in matrix.shape:
        return np.zeros(matrix.shape[:2])
    code, data = _only(file, matrix, where)
    if code not in _NUMBERS or len(data) != math.prod(matrix.shape) * int(_NUMBERS[code][1]):
        raise MatlabError(f"{where} does not hold as many numbers as it has entries")
    numbers = np.frombuffer(data, file.order + _NUMBERS[code])
    return numbers.reshape(matrix.shape, order="F")


def _text(file: _Reader, matrix: _Matrix, where: str) -> list[str]:
    """The rows of a text; MATLAB fills them with blanks to the same length."""
    if 0 in matrix.shape:
        return []
    kind, data = _only(file, matrix, where)
    if kind not in _ENCODINGS:
        raise MatlabError(f"{where} is a text in no known encoding")
    encoding = _ENCODINGS[kind]
    if encoding in ("utf-16", "utf-32"):
        encoding += "-le" if file.order == "<" else "-be"
    # names of files may hold bytes that are no text
    letters = bytes(data).decode(encoding, "surrogateescape" if kind == _UTF8 else "replace")
    rows = matrix.shape[0]
    if len(matrix.shape) != 2 or (rows > 1 and len(letters) != math.prod(matrix.shape)):
        raise MatlabError(f"{where} does not hold as many letters as it has entries")
    return [letters[row::rows].rstrip(" ") if rows > 1 else letters for row in range(rows)]


def _only(file: _Reader, matrix: _Matrix, where: str) -> tuple[int, memoryview]:
    first = next(file.within(matrix.content).elements(), None)
    if first is None:
        raise MatlabError(f"{where} has no content")
    return first


def write_variables(variables: Mapping[str, Value]) -> bytes:
    """The content of a file with variables, each of them compressed."""
    text = b"MATLAB 5.0 MAT-file, written by frcnn".ljust(124)
    parts = [text + struct.pack("<H", 0x0100) + b"IM"]
    for name, value in variables.items():
        data = zlib.compress(_written(value, name))
        parts.append(struct.pack("<II", _COMPRESSED, len(data)) + data)
    return b"".join(parts)


def _written(value: Value, name: str = "") -> bytes:
    if isinstance(value, np.ndarray):
        shape, kind = value.shape, _DOUBLE
        content = _element(9, np.asarray(value, "<f8").tobytes(order="F"))
    elif all(isinstance(each, str) for each in value) and len(value) == 1 and not name:
        shape, kind = (1, len(value[0])), _CHAR
        content = _element(_UTF8, value[0].encode("utf-8", "surrogateescape"))
    else:
        # as in the files that were published: boxes lie in a row, names in a column
        is_column = all(isinstance(each, list) for each in value)
        shape, kind = ((len(value), 1) if is_column else (1, len(value))), _CELL
        content = b"".join(map(_written, value))
    head = (
        _element(6, struct.pack("<II", kind, 0))
        + _element(5, struct.pack(f"<{len(shape)}i", *shape))
        + _element(1, name.encode())
    )
    return _element(_MATRIX, head + content)


def _element(kind: int, data: bytes) -> bytes:
    padded = data.ljust(_filled(len(data)), b"\0")
    return struct.pack("<II", kind, len(data)) + padded
