from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from caffe_format import blob, field, layer, network, varint
from frcnn_cli.checkpoints.caffe import read_caffemodel
from frcnn_cli.errors import WeightsError

RNG = np.random.default_rng(0)
LAYERS = {
    "conv1": (RNG.normal(size=(4, 3, 5, 5)), RNG.normal(size=4)),
    "fc6": (RNG.normal(size=(6, 36)), RNG.normal(size=6)),
}


def store(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "a.caffemodel"
    path.write_bytes(content)
    return path


def refused(tmp_path: Path, content: bytes) -> str:
    with pytest.raises(WeightsError) as error:
        read_caffemodel(store(tmp_path, content))
    assert "\n" not in error.value.message
    return error.value.message


@pytest.mark.parametrize("old", [False, True])
def test_layers_and_blobs(tmp_path, old) -> None:
    layers = read_caffemodel(store(tmp_path, network(LAYERS, old)))
    assert list(layers) == ["conv1", "fc6"]
    for name, blobs in LAYERS.items():
        for expected, read in zip(blobs, layers[name], strict=True):
            shape = (1,) * (4 - expected.ndim) + expected.shape if old else expected.shape
            assert read.shape == shape
            assert read.dtype == np.float32
            np.testing.assert_array_equal(read.reshape(expected.shape), expected.astype(np.float32))


def test_data_in_several_parts_and_dimensions_one_by_one(tmp_path) -> None:
    numbers = np.arange(6, dtype="<f4")
    content = field(7, field(1, 2) + field(1, 3))
    content += field(5, numbers[:2].tobytes()) + field(5, numbers[2:].tobytes())
    path = store(tmp_path, field(100, field(1, b"fc") + field(7, content)))
    np.testing.assert_array_equal(read_caffemodel(path)["fc"][0], numbers.reshape(2, 3))


def test_every_file_that_is_cut_off_is_refused(tmp_path) -> None:
    small = network({"a": (np.ones((2, 2)), np.ones(2)), "b": (np.ones((1, 2)),)})
    complete = read_caffemodel(store(tmp_path, small))
    for length in range(len(small)):
        try:
            layers = read_caffemodel(store(tmp_path, small[:length]))
        except WeightsError:
            continue
        assert layers.keys() < complete.keys()  # cut between two layers


def test_damaged_bytes_are_refused_or_read_but_nothing_else_happens(tmp_path) -> None:
    content = bytearray(network({"a": (np.ones((2, 2)), np.ones(2))}))
    rng = np.random.default_rng(1)
    for _ in range(400):
        changed = bytearray(content)
        for at in rng.integers(0, len(changed), 2):
            changed[at] = int(rng.integers(0, 256))
        try:
            read_caffemodel(store(tmp_path, bytes(changed)))
        except WeightsError:
            continue


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (b"words and no network", "is not a caffemodel"),
        (network({}), "holds no weights"),
        (varint(100 << 3 | 2) + varint(2**63) + b"x", "cut off"),
        (varint(100 << 3 | 3), "unknown type 3"),
        (b"\xff" * 11, "a number is too long"),
        (field(100, layer("a", (np.ones(2),))) * 2, "two layers are called 'a'"),
        (field(100, b"") * 10_002, "too many layers"),
        (field(100, field(7, field(5, b"123"))), "not packed floats"),
        (field(100, field(7, (varint(5 << 3 | 5) + b"1234") * 10_001)), "not packed floats"),
        (field(100, field(7, field(7, field(1, 2**62)) + field(5, b"1234"))), "holds 1 numbers"),
        (field(100, field(7, field(7, field(1, b"\x01" * 9)) + field(5, b"1234"))), "dimensions"),
        (field(100, field(7, field(7, field(1, 1)) + field(7, field(1, 2)))), "holds 0 numbers"),
        (field(100, field(7, blob(np.ones(3))[:-4])), "cut off"),
    ],
)
def test_hostile_files(tmp_path, content, message) -> None:
    assert message in refused(tmp_path, content)


def test_a_missing_file(tmp_path) -> None:
    with pytest.raises(WeightsError, match="cannot be read"):
        read_caffemodel(tmp_path / "a.caffemodel")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.caffemodel")
    with pytest.raises(WeightsError, match="a pipe or a device"):
        read_caffemodel(tmp_path / "a.caffemodel")
