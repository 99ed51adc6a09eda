"""Reading the files of `torch.save` without torch's own loader.

A file is a zip archive with a pickle, data.pkl, and the bytes of each storage in a record of its
own; until torch 1.6 it was five pickles and the storages behind one another. The pickles are run by
`runtime.pickles`, and a tensor is made only where it lies inside bytes that are in the file, so
that reading executes nothing and takes no more memory than the file has bytes.
"""

from __future__ import annotations

import math
import os
import struct
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ..runtime import pickles
from ..runtime.pickles import Function, Functions, PickleError
from ..runtime.safe_read import open_regular

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_MAX_PICKLE_BYTES = 2**26  # of data.pkl
_STORAGES = {
    "Double": torch.float64, "Float": torch.float32, "Half": torch.float16,
    "BFloat16": torch.bfloat16, "Long": torch.int64, "Int": torch.int32, "Short": torch.int16,
    "Char": torch.int8, "Byte": torch.uint8, "Bool": torch.bool,
}  # fmt: skip


class _StorageType:
    """The type of a storage; pickles name it, but may not call it."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __call__(self, *arguments: object) -> None:
        raise PickleError("it makes a storage")


def _ordered_dict(pairs: Iterable[Sequence[Any]] = ()) -> dict[Any, Any]:
    return {str(key): value for key, value in pairs}


def _parameter(tensor: Any, *_: object) -> Any:
    return tensor


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: object) -> Tensor:
    """A view of a storage, which must have each of the view's elements once."""
    numbers = [offset, *size, *stride]
    if not isinstance(storage, Tensor) or not all(type(n) is int and n >= 0 for n in numbers):
        raise PickleError("a tensor has impossible sizes")
    end = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) + 1
    if math.prod(size) and (end > storage.numel() or math.prod(size) > storage.numel()):
        raise PickleError("a tensor is larger than its storage")
    return storage.new_empty(size) if 0 in size else storage.as_strided(size, stride, offset)


_FUNCTIONS: Functions = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.Size": tuple,
    **{f"torch.{name}Storage": _StorageType(dtype) for name, dtype in _STORAGES.items()},
}


def read_torch_file(path: Path) -> Any:
    """The numbers, texts, containers and tensors in a file of `torch.save`, on the CPU.

    Raises:
        OSError: the file cannot be opened.
        PickleError: it holds anything else. Exception: of nearly any type, where it is damaged.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if zipfile.is_zipfile(file):
            return _read_archive(file, size)
        file.seek(0)
        return _read_legacy(file, size)


def _read_archive(file: BinaryIO, left: int) -> Any:
    """The content of an archive of `left` bytes, in which records may lie in one another."""
    with zipfile.ZipFile(file) as archive:
        records = {info.filename: info for info in archive.infolist()}
        name = next((each for each in records if each.endswith("/data.pkl")), "")
        folder = name.removesuffix("data.pkl")
        if not name:
            raise PickleError("it is an archive of another program")
        if (
            f"{folder}byteorder" in records
            and _record(archive, records, f"{folder}byteorder", 16) != b"little"
        ):
            raise PickleError("it is of a machine of another byte order")
        storages: dict[str, Tensor] = {}

        def storage(key: str, dtype: torch.dtype, count: int) -> Tensor:
            nonlocal left
            if key not in storages:
                size = count * dtype.itemsize
                left -= size
                if left < 0:
                    raise PickleError("its storages are larger than the file")
                data = bytearray(_record(archive, records, f"{folder}data/{key}", size))
                if len(data) != size:
                    raise PickleError("a storage is cut off")
                storages[key] = (
                    torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
                )
            return storages[key]

        with archive.open(_stored(records[name])) as record:
            size = min(records[name].file_size, _MAX_PICKLE_BYTES)
            return pickles.load(record, size, _FUNCTIONS, _persistent(storage))


def _stored(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """A record, which torch never compresses; a compressed one could expand a thousandfold."""
    if info.compress_type != zipfile.ZIP_STORED:
        raise PickleError("a record is compressed, which torch does not do")
    return info


def _record(
    archive: zipfile.ZipFile, records: dict[str, zipfile.ZipInfo], name: str, most: int
) -> bytes:
    info = _stored(records[name])
    if info.file_size > most:
        raise PickleError("a record is larger than what it is for")
    return archive.read(info)


def _persistent(storage: Callable[[str, torch.dtype, int], Tensor]) -> Callable[[Any], Tensor]:
    """The function that gives the storage of a persistent id."""

    def find(key: Any) -> Tensor:
        kind, storage_type, name, _, count, *view = key
        known = isinstance(storage_type, Function) and isinstance(storage_type.call, _StorageType)
        if kind != "storage" or not known or not isinstance(name, str) or any(view):
            raise PickleError("it holds something that is no storage")
        if type(count) is not int or count < 0:
            raise PickleError("a storage has an impossible size")
        return storage(name, storage_type.call.dtype, count)

    return find


def _read_legacy(file: BinaryIO, size: int) -> Any:
    try:
        magic = pickles.load(file, size, {})
    except PickleError:
        raise
    except Exception:  # of nearly any type, and their words say nothing of the file
        magic = None
    if magic != _LEGACY_MAGIC:
        raise PickleError("it is no file of torch.save")
    pickles.load(file, size, {})  # the version of the protocol, 1001
    system = pickles.load(file, size, {})
    if system.get("little_endian") is not True:
        raise PickleError("it is of a machine of another byte order")
    storages: dict[str, Tensor] = {}
    left = size

    def storage(key: str, dtype: torch.dtype, count: int) -> Tensor:
        nonlocal left
        if key not in storages:
            left -= count * dtype.itemsize
            if left < 0:
                raise PickleError("its storages are larger than the file")
            storages[key] = torch.empty(count, dtype=dtype)
        return storages[key]

    value = pickles.load(file, size, _FUNCTIONS, _persistent(storage))
    for key in pickles.load(file, size, {}):
        tensor = storages[key]
        (count,) = struct.unpack("<q", file.read(8))
        data = file.read(tensor.numel() * tensor.element_size())
        if count != tensor.numel() or len(data) != tensor.numel() * tensor.element_size():
            raise PickleError("a storage is cut off")
        if data:
            tensor.copy_(torch.frombuffer(bytearray(data), dtype=tensor.dtype))
        del storages[key]
    if storages:
        raise PickleError("a storage is missing")
    return value
