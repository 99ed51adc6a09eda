"""Reading torch's files, compared with torch's own loader."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from frcnn_cli.checkpoints.torch_file import read_torch_file
from frcnn_cli.runtime.pickles import PickleError

DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool,
)  # fmt: skip


def saved(path: Path, value: object, legacy: bool = False) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.mark.parametrize("legacy", [False, True])
def test_it_reads_what_torch_does(tmp_path: Path, legacy: bool) -> None:
    torch.manual_seed(1)
    base = torch.randn(6, 5)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimizer = torch.optim.AdamW(
        [{"params": network[0].parameters()}, {"params": network[1].parameters(), "lr": 0.1}]
    )
    network(torch.randn(2, 3, 5, 5)).sum().backward()
    optimizer.step()
    value = {
        "views": [base, base.t(), base[1:3, ::2], base[:0], torch.tensor(3.5)],
        "types": [torch.arange(5).to(dtype) for dtype in DTYPES],
        "model": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "parameter": nn.Parameter(torch.ones(2)),
        "plain": OrderedDict(a=(1, 2.5, None, True), b=["x", {"y": -1}]),
    }
    path = saved(tmp_path / "a.pth", value, legacy)
    ours, theirs = read_torch_file(path), torch.load(path, weights_only=True)
    assert ours["plain"] == theirs["plain"]
    assert list(ours["model"]) == list(theirs["model"])
    assert ours["optimizer"]["param_groups"] == theirs["optimizer"]["param_groups"]
    for name in ("views", "types"):
        for mine, reference in zip(ours[name], theirs[name], strict=True):
            torch.testing.assert_close(mine, reference, rtol=0, atol=0)
    for key, tensor in theirs["model"].items():
        torch.testing.assert_close(ours["model"][key], tensor, rtol=0, atol=0)
    for index, entry in theirs["optimizer"]["state"].items():
        torch.testing.assert_close(ours["optimizer"]["state"][index], entry, rtol=0, atol=0)


def rewritten(path: Path, change, method: int = zipfile.ZIP_STORED) -> Path:
    """The same archive with changed records."""
    with zipfile.ZipFile(path) as old:
        records = {info.filename: old.read(info) for info in old.infolist()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as new:
        for name, data in change(records).items():
            new.writestr(name, data, method)
    path.write_bytes(out.getvalue())
    return path


def replacing(old: bytes, new: bytes):
    return lambda records: {
        name: data.replace(old, new) if name.endswith("data.pkl") else data
        for name, data in records.items()
    }


def without_data(records: dict) -> dict:
    return {name: data for name, data in records.items() if "/data/" not in name}


SIX = b"K\x06t"  # the number of elements of the storage
STRIDES = b"K\x03K\x01\x86"


@pytest.mark.parametrize(
    ("change", "method"),
    [
        (lambda records: records, zipfile.ZIP_DEFLATED),
        (replacing(SIX, b"K\x07t"), zipfile.ZIP_STORED),  # beyond its record
        (replacing(SIX, b"J\xff\xff\xff\x7ft"), zipfile.ZIP_STORED),
        (replacing(STRIDES, b"K\x04K\x01\x86"), zipfile.ZIP_STORED),  # beyond its storage
        (replacing(b"K\x02K\x03\x86", b"J\xff\xff\xff\x7fK\x03\x86"), zipfile.ZIP_STORED),
        (replacing(b"ctorch\nFloatStorage", b"cposix\nsystem"), zipfile.ZIP_STORED),
        (without_data, zipfile.ZIP_STORED),
    ],
)
def test_records_that_do_not_fit_are_refused(tmp_path: Path, change, method: int) -> None:
    path = saved(tmp_path / "a.pth", {"a": torch.arange(6.0).reshape(2, 3)})
    with pytest.raises((PickleError, KeyError)):
        read_torch_file(rewritten(path, change, method))


def nested(records: dict[str, int], pickled: bytes) -> bytes:
    """An archive whose records lie in one another, each with the headers of the next ones; with
    data.pkl before them.

    Args:
        records: name -> number of its bytes, which must fit.
    """
    inner, parts = b"", []
    for name, size in reversed([("a/data.pkl", len(pickled)), *records.items()]):
        is_pickle = name.endswith(".pkl")
        data = pickled if is_pickle else inner.rjust(size, b"\0")
        sizes = (zlib.crc32(data), len(data), len(data), len(name), 0)
        fields = struct.pack("<5H3L2H", 20, 0, 0, 0, 0, *sizes)
        parts.append((name.encode(), fields))
        inner = b"PK\3\4" + fields + name.encode() + data + (inner if is_pickle else b"")
    directory, at = b"", 0
    for name, fields in reversed(parts):
        entry = b"PK\1\2" + struct.pack("<H", 20) + fields + struct.pack("<3H2L", 0, 0, 0, 0, at)
        directory += entry + name
        at += 30 + len(name) + (len(pickled) if name.endswith(b".pkl") else 0)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, len(parts), len(parts), len(directory),
                      len(inner), 0)  # fmt: skip
    return inner + directory + end


@pytest.mark.parametrize("count", [1, 50])
def test_records_that_lie_in_one_another_are_refused(tmp_path: Path, count: int) -> None:
    """Of such an archive of 5 MB, the storages could have 100 GB together."""
    header, tail = 30 + len("a/data/00"), 10_000
    sizes = [tail + header * index for index in reversed(range(count))]
    path = saved(tmp_path / "a.pth", [torch.zeros(size, dtype=torch.uint8) for size in sizes])
    with zipfile.ZipFile(path) as archive:
        pickled = archive.read("a/data.pkl")
    for index in range(10):
        pickled = pickled.replace(b"X\x01\0\0\0" + b"%d" % index, b"X\x02\0\0\0" + b"%02d" % index)
    path.write_bytes(nested({f"a/data/{i:02}": size for i, size in enumerate(sizes)}, pickled))
    if count == 1:
        assert len(read_torch_file(path)[0]) == tail
    else:
        with pytest.raises((PickleError, zipfile.BadZipFile), match=r"larger than|Overlapped"):
            read_torch_file(path)


def test_a_legacy_file_may_not_claim_more_than_it_has(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", {"a": torch.arange(6.0).reshape(2, 3)}, legacy=True)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"K\x06Nt", b"J\xff\xff\xff\x7fNt"))
    with pytest.raises(PickleError, match="larger than the file"):
        read_torch_file(path)
    path.write_bytes(content[:-4])
    with pytest.raises(PickleError, match="cut off"):
        read_torch_file(path)
