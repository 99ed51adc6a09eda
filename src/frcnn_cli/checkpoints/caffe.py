"""Reading the weights in a .caffemodel, from the few fields of its protobuf that hold them.

    NetParameter      2: V1LayerParameter (until 2015), 100: LayerParameter
    LayerParameter    1: name, 7: BlobProto             V1LayerParameter   4: name, 6: BlobProto
    BlobProto         5: data, packed floats, 7: BlobShape, 1..4: num, channels, height, width
    BlobShape         1: dim, packed or not

A file may be hostile, so it is memory-mapped, every length in it is checked against the bytes that
are left, and no array is larger than its part of the file.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import WeightsError, reason
from ..runtime.safe_read import open_regular

Blob = NDArray[np.float32]
_MAX_LAYERS = 10_000
_MAX_DIMENSIONS = 8
_MAX_PARTS = 10_000  # of a blob's data; Caffe writes a single one
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5  # wire types of protobuf


class _DamagedError(Exception):
    """The bytes are not those of a caffemodel; the message says why."""


def read_caffemodel(path: Path) -> dict[str, list[Blob]]:
    """Read the blobs of every layer that has weights.

    Returns:
        By name of the layer: its weight and, where it has one, its bias, each in Caffe's shape.
    Raises:
        WeightsError: the file cannot be read, or is not a caffemodel.
    """
    hint = "expected a .caffemodel file, as Caffe writes it"
    try:
        with open_regular(path) as file:
            return _network(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
        raise WeightsError(f"{path} cannot be read: {reason(error)}", hint) from None
    except _DamagedError as error:
        raise WeightsError(f"{path} is not a caffemodel: {error}", hint) from None


def _network(data: memoryview) -> dict[str, list[Blob]]:
    layers: dict[str, list[Blob]] = {}
    for count, (number, value) in enumerate(_fields(data)):
        if count > _MAX_LAYERS:
            raise _DamagedError("too many layers")
        if number not in (2, 100) or not isinstance(value, memoryview):
            continue
        name, blobs = _layer(value, *((4, 6) if number == 2 else (1, 7)))
        if blobs and name in layers:
            raise _DamagedError(f"two layers are called {name!r:.80}")
        if blobs:
            layers[name] = blobs
    if not layers:
        raise _DamagedError("it holds no weights")
    return layers


def _layer(data: memoryview, name_field: int, blob_field: int) -> tuple[str, list[Blob]]:
    name, blobs = "", []
    for number, value in _fields(data):
        if isinstance(value, memoryview) and number == name_field:
            name = bytes(value[:200]).decode("utf-8", "replace")
        elif isinstance(value, memoryview) and number == blob_field:
            blobs.append(_blob(value))
    return name, blobs


def _blob(data: memoryview) -> Blob:
    parts: list[memoryview] = []
    shape: list[int] | None = None
    old_shape = [1, 1, 1, 1]
    for number, value in _fields(data):
        if number == 5:
            if not isinstance(value, memoryview) or len(value) % 4 or len(parts) >= _MAX_PARTS:
                raise _DamagedError("the data of a blob are not packed floats")
            parts.append(value)
        elif number == 7 and isinstance(value, memoryview):
            shape = _shape(value)
        elif 1 <= number <= 4 and isinstance(value, int):
            old_shape[number - 1] = value
    shape = old_shape if shape is None else shape
    size = sum(len(part) for part in parts) // 4
    if math.prod(shape) != size:
        raise _DamagedError(f"a blob of shape {shape} holds {size} numbers")
    arrays = [np.frombuffer(part, "<f4") for part in parts]
    joined = arrays[0] if len(arrays) == 1 else np.concatenate([*arrays, np.zeros(0, "<f4")])
    return joined.reshape(shape).astype(np.float32)


def _shape(data: memoryview) -> list[int]:
    dimensions: list[int] = []
    for number, value in _fields(data):
        if number == 1 and isinstance(value, int):
            dimensions.append(value)
        elif number == 1 and isinstance(value, memoryview):
            at = 0
            while at < len(value) and len(dimensions) <= _MAX_DIMENSIONS:
                dimension, at = _varint(value, at)
                dimensions.append(dimension)
        if len(dimensions) > _MAX_DIMENSIONS:
            raise _DamagedError("a blob has too many dimensions")
    return dimensions


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a message: the number of each, and its integer or its bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire_type = key >> 3, key & 7
        if wire_type == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire_type == _LENGTH:
            length, at = _varint(data, at)
        elif wire_type in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if wire_type == _EIGHT_BYTES else 4
        else:
            raise _DamagedError(f"a field of unknown type {wire_type}")
        if length > len(data) - at:
            raise _DamagedError("it is cut off")
        yield number, data[at : at + length]
        at += length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number of up to 64 bits, and the position of the byte after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise _DamagedError("it is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _DamagedError("a number is too long")
