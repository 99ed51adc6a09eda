import contextlib
import io
import pickle
import subprocess
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
    return load(io.BytesIO(content), "x.pkl")


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


@pytest.mark.parametrize("seed", range(60))
def test_damaged_pickles_are_read_or_refused(seed):
    rng = np.random.default_rng(seed)
    content = bytearray(pickle.dumps({"boxes": ARRAYS[:3], "ids": ["1", "2"]}, seed % 6))
    for _ in range(3):
        content[rng.integers(len(content))] = rng.integers(256)
    with contextlib.suppress(DataError):
        read(bytes(content[: rng.integers(1, len(content) + 1)]))
