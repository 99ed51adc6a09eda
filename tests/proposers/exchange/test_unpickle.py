import contextlib
import io
import pickle
import subprocess
import time
import tracemalloc
from collections import OrderedDict

import numpy as np
import pytest

from frcnn_cli.errors import DataError
from frcnn_cli.proposers.exchange.unpickle import load

ARRAYS = [
    np.arange(12, dtype=np.float32).reshape(3, 4),
    np.zeros((0, 4), np.float64),
    np.arange(8, dtype=">i2").reshape(2, 4),
    np.asfortranarray(np.arange(8.0).reshape(2, 4)),
    np.array(["a", "b"]),
]


def read(content):
    return load(io.BytesIO(content), len(content), "x.pkl")


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("array", ARRAYS, ids=str)
def test_arrays_of_every_protocol(array, protocol):
    content = {"boxes": [array, array], "n": 3, "x": 1.5, "s": "t", "none": None, "t": (1, [2])}
    loaded = read(pickle.dumps(content, protocol))
    assert {key: loaded[key] for key in ("n", "x", "s", "none", "t")} == {
        key: content[key] for key in ("n", "x", "s", "none", "t")
    }
    for got in loaded["boxes"]:
        assert (got.dtype.kind, got.dtype.itemsize) == (array.dtype.kind, array.dtype.itemsize)
        np.testing.assert_array_equal(got, array)


@pytest.mark.parametrize("protocol", range(6))
def test_a_scalar_of_numpy(protocol):
    assert read(pickle.dumps(np.float32(1.25), protocol)) == 1.25


def test_reading_changes_nothing_of_numpy():
    read(pickle.dumps(np.arange(3, dtype=">f8")))
    assert np.dtype("f8").isnative
    assert np.array([1.0]).tobytes() == np.array([1.0], "<f8").tobytes()


class Runs:
    def __init__(self, function, *arguments):
        self.what = function, arguments

    def __reduce__(self):
        return self.what

    def __str__(self):
        return f"runs {self.what[0].__name__}{self.what[1]}"


@pytest.mark.parametrize(
    "hostile",
    [
        Runs(subprocess.call, "touch ran", True),
        Runs(eval, "open('ran', 'w')"),
        Runs(np.load, "ran"),
        Runs(np.ndarray, (10**12,)),
        Runs(np.zeros, 10**12),
        Runs(getattr, "x", "upper"),
        Runs(bytes, 10**12),
        OrderedDict(a=1),
        np.array([{}], dtype=object),
        np.zeros(2, dtype="f4,i4"),
        np.float64,
    ],
    ids=str,
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_anything_else_is_refused_and_not_run(hostile, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"x\.pkl is not a pickle of numpy arrays alone"):
        read(pickle.dumps([hostile], protocol))
    assert not list(tmp_path.iterdir())


def test_an_allowed_function_cannot_be_changed():
    # GLOBAL numpy.dtype, an empty dict, BUILD
    with pytest.raises(DataError, match="changes a function"):
        read(b"cnumpy\ndtype\n}b.")


BOMBS = {
    "a place in the memo": b"N" + b"r\xff\xff\xff\x7f" + b".",
    "a frame": b"\x80\x04\x95" + b"\xff" * 7 + b"\x0fN.",
    "a string": b"\x8e" + b"\xff" * 7 + b"\x0f.",
    "lists of one list": b"](K\x01K\x01eq\x00"
    + b"".join(b"](" + bytes([104, i]) * 10 + b"eq" + bytes([i + 1]) for i in range(40))
    + b".",
    "a list that is filled when it is in another": b"]q\x00]q\x01(h\x00h\x00h\x00e0h\x00(h\x01e.",
    "a key that is a tuple": b"}(K\x01K\x02\x86K\x03u.",
    "instructions": b"N0" * 1_000_000 + b"N.",
    "marks": b"(" * 1_000_000,
    "an array without bytes": pickle.dumps(np.zeros((2, 2)))[:-20] + b".",
}


@pytest.mark.parametrize("content", BOMBS.values(), ids=BOMBS)
def test_small_files_take_little_memory_and_time(content):
    tracemalloc.start()
    begun = time.process_time()
    with contextlib.suppress(DataError):
        assert read(content) is None
    assert time.process_time() - begun < 8
    assert tracemalloc.get_traced_memory()[1] < 200 * 2**20
    tracemalloc.stop()


def test_a_flat_list_may_be_used_twice_but_not_changed_then():
    shared = [1, 2]
    assert read(pickle.dumps([shared, shared])) == [shared, shared]
    with pytest.raises(DataError, match="used twice"):
        read(b"]q\x00h\x00K\x01a.")


@pytest.mark.parametrize("seed", range(60))
def test_damaged_pickles_are_read_or_refused(seed):
    rng = np.random.default_rng(seed)
    content = bytearray(pickle.dumps({"boxes": ARRAYS[:3], "ids": ["1", "2"]}, seed % 6))
    for _ in range(3):
        content[rng.integers(len(content))] = rng.integers(256)
    with contextlib.suppress(DataError):
        read(bytes(content[: rng.integers(1, len(content) + 1)]))
