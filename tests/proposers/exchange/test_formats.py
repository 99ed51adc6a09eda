import json
import pickle
import pickletools
import zipfile

import numpy as np
import pytest

from frcnn_cli.errors import ConfigError, DataError
from frcnn_cli.proposers.exchange import matlab
from frcnn_cli.proposers.exchange.formats import MAT_LAYOUT, WRITERS, read_boxes

SUFFIX = {
    "mat": ".mat",
    "detectron2": ".pkl",
    "detectron": ".pkl",
    "mmdetection": ".pkl",
    "npz": ".npz",
    "json": ".json",
}
NAMES = ("000004", "a b", "000017")
BOXES = (
    np.array([[0, 0, 40, 30], [1, 2, 3, 4]], np.float32),
    np.zeros((0, 4), np.float32),
    np.array([[5, 6, 7, 9]], np.float32),
)


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_written_is_read(tmp_path, name):
    path = write(tmp_path, f"x{SUFFIX[name]}", WRITERS[name](NAMES, BOXES))
    file = read_boxes(path)
    numbers = ("4", "a b", "17")
    assert file.names == {"mmdetection": None, "detectron": numbers}.get(name, NAMES)
    assert len(file.boxes) == 3
    for got, boxes in zip(file.boxes, BOXES, strict=True):
        assert got.dtype == np.float32
        np.testing.assert_array_equal(file.expected.decode(got), boxes)


def test_girshicks_convention_is_what_a_mat_file_is_written_in(tmp_path):
    scipy_io = pytest.importorskip("scipy.io")
    path = write(tmp_path, "x.mat", WRITERS["mat"](NAMES, BOXES))
    content = scipy_io.loadmat(path)
    assert (content["boxes"].shape, content["images"].shape) == ((1, 3), (3, 1))
    assert content["boxes"][0, 1].shape == (0, 4)
    assert content["boxes"][0, 0].tolist() == [[1, 1, 30, 40], [3, 2, 4, 3]]
    assert [str(name.item()) for name in content["images"].ravel()] == list(NAMES)


def test_a_pickle_of_detectron_is_as_its_code_and_that_of_pcl_expect_it():
    names = ["000017", "2008_000002", "a b", "4"]
    content = pickle.loads(WRITERS["detectron"](names, [*BOXES, BOXES[0]]))
    assert content["indexes"] == [17, 2008000002, "a b", 4]
    assert content["boxes"][0].tolist() == [[0, 0, 39, 29], [1, 2, 2, 3]]
    assert content["boxes"][0].dtype == np.float32
    assert content["boxes"][0].flags.writeable  # boxes are clipped in place
    assert [scores.tolist() for scores in content["scores"]] == [[0, -1], [], [0], [0, -1]]


@pytest.mark.parametrize("name", ["detectron", "detectron2", "mmdetection"])
def test_pickles_are_for_python_2_and_any_numpy(name):
    content = WRITERS[name](NAMES, BOXES)
    assert content.startswith(b"\x80\x02")  # protocol 2
    functions = {
        argument for code, argument, _ in pickletools.genops(content) if code.name == "GLOBAL"
    }
    assert functions >= {"numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"}
    assert functions <= {
        "numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype",
        "_codecs encode", "__builtin__ bytes",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "inclusive"),
    [
        (["ids", "objectness_logits"], False),
        (["indexes", "scores", "bbox_mode"], False),
        (["indexes", "scores"], True),  # Detectron, PCL
        (["ids", "scores", "cfg"], True),  # Detectron's RPN
        (["indexes"], True),  # wetectron
    ],
)
def test_only_detectron2_leaves_the_last_pixel_out(tmp_path, keys, inclusive):
    values = {
        "ids": [4], "indexes": [4], "bbox_mode": 0, "cfg": "MODEL: {}",
        "scores": [np.ones(2, np.float32)], "objectness_logits": [np.ones(2, np.float32)],
    }  # fmt: skip
    content = {"boxes": [BOXES[0]], **{key: values[key] for key in keys}}
    file = read_boxes(write(tmp_path, "x.pkl", pickle.dumps(content, 2)))
    assert file.expected.inclusive == inclusive
    assert file.names == ("4",)


@pytest.mark.parametrize("dtype", [np.uint16, np.float64])
def test_a_mat_file_of_one_image(tmp_path, dtype):
    scipy_io = pytest.importorskip("scipy.io")
    scipy_io.savemat(tmp_path / "x.mat", {"boxes": BOXES[0].astype(dtype)})
    file = read_boxes(tmp_path / "x.mat")
    assert file.names is None
    assert file.boxes[0].tolist() == BOXES[0].tolist()


@pytest.mark.parametrize("name", ["scores", "boxScores"])
def test_mat_files_with_scores_are_ranked_by_them(tmp_path, name):
    scores = [np.array([[0.1], [0.9]]), np.zeros((0, 1)), np.array([[0.5]])]
    content = {"boxes": list(BOXES), "images": [[each] for each in NAMES], name: scores}
    file = read_boxes(write(tmp_path, "x.mat", matlab.write_variables(content)))
    assert [own.tolist() for own in file.boxes] == [BOXES[0][::-1].tolist(), [], BOXES[2].tolist()]
    one = matlab.write_variables({name: scores[0], "boxes": BOXES[0]})
    file = read_boxes(write(tmp_path, "y.mat", one))
    assert file.boxes[0].tolist() == BOXES[0][::-1].tolist()
    content[name] = scores[:2]
    with pytest.raises(DataError, match="3 sets of boxes, 2 of scores"):
        read_boxes(write(tmp_path, "x.mat", matlab.write_variables(content)))


def test_a_folder_of_mat_files_as_mcg_has_them(tmp_path):
    for name, own in zip(NAMES, BOXES, strict=True):
        content = {"boxes": MAT_LAYOUT.encode(own), "scores": np.arange(len(own))[:, None]}
        write(tmp_path, f"{name}.mat", matlab.write_variables(content))
    write(tmp_path, ".hidden.mat", b"")
    file = read_boxes(tmp_path)
    found = dict(zip(file.names, map(MAT_LAYOUT.decode, file.boxes), strict=True))
    assert list(found) == sorted(NAMES)
    for name, own in zip(NAMES, BOXES, strict=True):
        assert found[name].tolist() == own[::-1].tolist()
    write(tmp_path, "all.mat", WRITERS["mat"](NAMES, BOXES))
    with pytest.raises(DataError, match=r"all\.mat has the boxes of 3 images, not of the one"):
        read_boxes(tmp_path)


@pytest.mark.parametrize(("ids", "scores"), [("ids", "objectness_logits"), ("indexes", "scores")])
def test_detectron2_boxes_are_ranked_by_their_scores(tmp_path, ids, scores):
    content = {"boxes": [BOXES[0]], ids: [4], scores: [np.array([0.1, 0.9])], "bbox_mode": 0}
    file = read_boxes(write(tmp_path, "x.pkl", pickle.dumps(content)))
    assert file.names == ("4",)
    assert file.boxes[0].tolist() == BOXES[0][::-1].tolist()


def test_mmdetection_boxes_with_scores(tmp_path):
    scored = np.array([[0, 0, 4, 5, 0.2], [1, 1, 2, 2, 0.7]], np.float32)
    file = read_boxes(write(tmp_path, "x.pkl", pickle.dumps([scored, scored[:, :4]])))
    assert [boxes.tolist() for boxes in file.boxes] == [
        scored[::-1, :4].tolist(),
        scored[:, :4].tolist(),
    ]


def test_npz_of_one_image(tmp_path):
    np.savez(tmp_path / "x.npz", boxes=BOXES[0])
    assert read_boxes(tmp_path / "x.npz").boxes[0].tolist() == BOXES[0].tolist()


def npz(**arrays):
    def make(folder):
        np.savez(folder / "x.npz", **arrays)
        return folder / "x.npz"

    return make


def boastful(folder):
    """A file that claims to hold an array of ten trillion rows."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000000, 4), }"
    padded = header.ljust(117) + b"\n"
    with zipfile.ZipFile(folder / "x.npz", "w") as archive:
        archive.writestr("boxes.npy", b"\x93NUMPY\x01\x00" + bytes([118, 0]) + padded)
    return folder / "x.npz"


def flipped(folder):
    np.savez_compressed(folder / "x.npz", boxes=np.arange(400.0).reshape(100, 4))
    data = bytearray((folder / "x.npz").read_bytes())
    data[120] ^= 0xFF
    return write(folder, "x.npz", bytes(data))


def content(name, data):
    return lambda folder: write(folder, name, data)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (content("x.npz", b"PK nonsense"), "cannot read the proposals"),
        (boastful, "cannot read the proposals"),
        (flipped, "cannot read the proposals"),
        (npz(other=BOXES[0]), "it lacks 'boxes'"),
        (npz(boxes=np.array([[1, 2, 3]])), "expected N×4 numbers"),
        (npz(boxes=np.array([["a"] * 4])), "expected N×4 numbers"),
        (npz(boxes=np.array([[1, 2, np.nan, 4]])), "expected finite numbers"),
        (npz(boxes=BOXES[0], counts=[3], image_ids=["a"]), "3 boxes by `counts`, 2 in `boxes`"),
        (npz(boxes=BOXES[0], counts=[3, -1], image_ids=["a", "b"]), "boxes by `counts`"),
        (npz(boxes=BOXES[0], counts=[2], image_ids=["a", "b"]), "2 names of images, 1 sets"),
        (npz(boxes=np.array([{}], dtype=object)), "cannot read the proposals"),
        (content("x.json", b"{"), "is cut off"),
        (
            content("x.json", b'{"images": [{"image": "a", "boxes": [[1, 2, 3, 4], [1, 2]]}]}'),
            "a: expected four numbers in each box, got other rows too",
        ),
        (content("x.json", b"[" * 100_000), "nested too deeply"),
        (content("x.json", b'{"images": []}'), "holds no images"),
        (content("x.json", b'{"images": [{"image": [], "boxes": []}]}'), "is no text"),
        (content("x.pkl", pickle.dumps({"boxes": []})), "holds no images"),
        (content("x.pkl", pickle.dumps([])), "holds no images"),
        (
            npz(boxes=BOXES[1], counts=np.zeros(0, np.int64), image_ids=np.zeros(0, "U1")),
            "no images",
        ),
        (content("x.json", b'{"images": [{"image": "a"}]}'), "holds no boxes in a known form"),
        (content("x.json", b'{"images": 3}'), "holds no boxes in a known form: expected"),
        (content("x.json", b'{"a.jpg": [[1, 2, 3, 4]]}'), "holds no boxes in a known form"),
        (content("x.json", b"[[1, 2, 3, 4]]"), "holds no boxes in a known form"),
        (content("x.json", b"null"), "holds no boxes in a known form"),
        (content("x.json", b'[{"file_name": "a", "boxes": []}]'), "holds no boxes in a known"),
        (content("x.pkl", pickle.dumps({"a": 1})), "expected a list of arrays or a dict"),
        (content("x.pkl", pickle.dumps({"boxes": [], "bbox_mode": 1})), "bbox_mode 1"),
        (content("x.pkl", pickle.dumps({"boxes": BOXES, "scores": [[1, 2]]})), "1 of scores"),
        (
            content("x.pkl", pickle.dumps({"boxes": BOXES[:1], "scores": [[1, float("nan")]]})),
            "a score is not a number",
        ),
        (
            content("x.pkl", pickle.dumps({"boxes": BOXES[:1], "scores": [[1]]})),
            "2 boxes, 1 scores",
        ),
    ],
)
def test_wrong_files_give_one_line(tmp_path, make, message):
    with pytest.raises(DataError, match=message) as caught:
        read_boxes(make(tmp_path))
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("data", [b"", b"x" * 300, b"MATLAB 5.0" + bytes(200)])
def test_wrong_mat_files_give_one_line(tmp_path, data):
    with pytest.raises(DataError, match=r"x\.mat"):
        read_boxes(write(tmp_path, "x.mat", data))


def test_a_mat_file_without_boxes(tmp_path):
    scipy_io = pytest.importorskip("scipy.io")
    scipy_io.savemat(tmp_path / "x.mat", {"windows": BOXES[0]})
    with pytest.raises(DataError, match="no variable `boxes`, but windows"):
        read_boxes(tmp_path / "x.mat")


def test_an_archive_expands_to_a_multiple_of_its_size(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", boxes=np.zeros((4_000_000, 4), np.float32))
    with pytest.raises(DataError, match="expands to more than"):
        read_boxes(tmp_path / "x.npz")


def test_a_compressed_matlab_file_expands_to_a_multiple_of_its_size(tmp_path):
    content = matlab.write_variables({"boxes": np.zeros((4_000_000, 4))})
    with pytest.raises(DataError, match="expands to more than"):
        read_boxes(write(tmp_path, "x.mat", content))


def test_one_array_cannot_be_the_boxes_of_ten_thousand_images(tmp_path):
    array = np.zeros((250, 250, 4), np.float32).reshape(-1, 4)
    with pytest.raises(DataError, match="more than a file of"):
        read_boxes(write(tmp_path, "x.pkl", pickle.dumps([array] * 10_000)))


def test_one_id_cannot_be_that_of_ten_thousand_images(tmp_path):
    boxes = {"boxes": [np.zeros((4, 4), np.float32)] * 100, "ids": ["x" * 1000] * 100}
    with pytest.raises(DataError, match="longer ids than it can hold"):
        read_boxes(write(tmp_path, "x.pkl", pickle.dumps(boxes)))


def test_an_unknown_suffix(tmp_path):
    with pytest.raises(ConfigError, match="unknown file format"):
        read_boxes(tmp_path / "x.txt")


def test_json_keeps_whole_numbers_short_and_fractions_exact():
    boxes = (np.array([[0, 0.5, 40, 30.25]], np.float32),)
    (image,) = json.loads(WRITERS["json"](("a",), boxes))["images"]
    assert image == {"image": "a", "boxes": [[0, 0.5, 40, 30.25]]}
    assert '"boxes": [[0, 0.5, 40, 30.25]]' in WRITERS["json"](("a",), boxes).decode()
