"""Writes a .caffemodel in the protobuf of old and of new versions of Caffe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def blob(array: np.ndarray, old: bool = False) -> bytes:
    data = field(5, array.astype("<f4").tobytes())
    if old:
        shape = (1,) * (4 - array.ndim) + array.shape
        return b"".join(field(n, d) for n, d in enumerate(shape, start=1)) + data
    return field(7, field(1, b"".join(varint(d) for d in array.shape))) + data


def layer(name: str, blobs: Sequence[np.ndarray], old: bool = False) -> bytes:
    """With fields that the reader skips: bottom, type, a fixed32 and a fixed64."""
    number = {"name": 4, "type": 5, "blobs": 6} if old else {"name": 1, "type": 2, "blobs": 7}
    content = field(3, b"data") + field(number["name"], name.encode())
    content += field(number["type"], 4 if old else b"Convolution")
    content += varint(50 << 3 | 5) + b"1234" + varint(51 << 3 | 1) + b"12345678"
    return content + b"".join(field(number["blobs"], blob(each, old)) for each in blobs)


def network(layers: Mapping[str, Sequence[np.ndarray]], old: bool = False) -> bytes:
    content = field(1, b"a network") + field(100 if not old else 2, layer("data", (), old))
    for name, blobs in layers.items():
        content += field(2 if old else 100, layer(name, blobs, old))
    return content
