"""Reading torch's files, compared with torch's own loader."""

from __future__ import annotations

import io
import zipfile
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


def test_a_legacy_file_may_not_claim_more_than_it_has(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", {"a": torch.arange(6.0).reshape(2, 3)}, legacy=True)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"K\x06Nt", b"J\xff\xff\xff\x7fNt"))
    with pytest.raises(PickleError, match="larger than the file"):
        read_torch_file(path)
    path.write_bytes(content[:-4])
    with pytest.raises(PickleError, match="cut off"):
        read_torch_file(path)
