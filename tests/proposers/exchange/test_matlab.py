import contextlib
import io
import struct

import numpy as np
import pytest

from frcnn_cli.proposers.exchange.matlab import MatlabError, read_variables, write_variables

scipy_io = pytest.importorskip("scipy.io")
NAMES = ["000004", "a b", "é\u4e2d\U0001f600", ""]


def read(content, names=("boxes", "images")):
    return read_variables(content, names, 2**24, 1000)


def saved(**options):
    out = io.BytesIO()
    cells = np.empty((1, 3), object)
    cells[:] = [
        np.arange(8.0).reshape(2, 4),
        np.zeros((0, 4)),
        np.arange(12, dtype="u2").reshape(3, 4),
    ]
    images = np.empty((3, 1), object)
    images[:, 0] = NAMES[:3]
    values = {"boxes": cells, "images": images, "other": {"a": 1}, "text": ["ab", "c"]}
    scipy_io.savemat(out, values, **options)
    return out.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
def test_what_scipy_writes_is_read(compressed):
    variables = read(saved(do_compression=compressed), ("boxes", "images", "text"))
    assert list(variables) == ["boxes", "images", "other", "text"]
    assert variables["other"] is None
    assert variables["text"] == ["ab", "c"]
    assert variables["images"] == [[name] for name in NAMES[:3]]
    assert [cell.tolist() for cell in variables["boxes"]] == [
        [[0, 1, 2, 3], [4, 5, 6, 7]],
        [],
        [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]],
    ]


@pytest.mark.parametrize(
    "dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", ">f8", ">i2"]
)
def test_numbers_of_every_type(dtype):
    out, array = io.BytesIO(), np.arange(12).reshape(3, 4).astype(dtype)
    scipy_io.savemat(out, {"boxes": array})
    np.testing.assert_array_equal(read(out.getvalue())["boxes"], array)


def test_a_file_of_a_machine_with_the_other_byte_order():
    head = b"MATLAB 5.0".ljust(124) + struct.pack(">H", 0x0100) + b"MI"
    flags = struct.pack(">IIII", 6, 8, 6, 0)
    shape = struct.pack(">IIii", 5, 8, 1, 2)
    name = struct.pack(">I4s", 1 << 16 | 1, b"b")
    content = struct.pack(">II2d", 9, 16, 1.5, 2.5)
    matrix = flags + shape + name + content
    data = head + struct.pack(">II", 14, len(matrix)) + matrix
    assert read(data, ("b",))["b"].tolist() == [[1.5, 2.5]]


def test_scipy_reads_what_is_written():
    content = write_variables(
        {"boxes": [np.arange(8.0).reshape(2, 4), np.zeros((0, 4))], "images": [[n] for n in NAMES]}
    )
    loaded = scipy_io.loadmat(io.BytesIO(content))
    assert loaded["boxes"][0, 0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert loaded["boxes"][0, 1].shape == (0, 4)
    assert [str(name[0].item()) for name in loaded["images"][:3]] == NAMES[:3]


def test_names_that_are_no_text_come_back():
    name = b"a\xff".decode("utf-8", "surrogateescape")
    assert read(write_variables({"images": [[name]]}))["images"] == [[name]]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": 1}, "is a struct"),
        (np.array([1 + 2j]), "is complex"),
        (__import__("scipy.sparse").sparse.eye(3).tocsc(), "is a sparse matrix"),
    ],
    ids=str,
)
def test_types_that_are_not_read(value, message):
    out = io.BytesIO()
    scipy_io.savemat(out, {"boxes": value})
    with pytest.raises(MatlabError, match=message):
        read(out.getvalue())


def test_a_file_of_version_7_3_is_refused_with_what_to_do():
    with pytest.raises(MatlabError, match="save it with -v7"):
        read(b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n" + bytes(100))


def test_more_cells_than_allowed():
    content = write_variables({"boxes": [np.zeros((1, 4))] * 20})
    with pytest.raises(MatlabError, match="more cells"):
        read_variables(content, ("boxes",), 2**20, 19)


def test_every_prefix_and_every_changed_byte_is_read_or_refused():
    content = saved()[: 128 + 900]
    for at in range(128, len(content), 3):
        for value in (0, 1, 14, 15, 255):
            changed = content[:at] + bytes([value]) + content[at + 1 :]
            for damaged in (changed, content[:at]):
                with contextlib.suppress(MatlabError):
                    read(damaged)
