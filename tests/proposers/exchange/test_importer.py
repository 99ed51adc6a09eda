import json
import pickle
import unicodedata

import numpy as np
import pytest
from PIL import Image

from frcnn_cli.errors import DataError, ImageError
from frcnn_cli.proposers.cache import ProposalSource
from frcnn_cli.proposers.exchange.formats import WRITERS
from frcnn_cli.proposers.exchange.importer import import_boxes
from frcnn_cli.proposers.exchange.layouts import LAYOUTS
from frcnn_cli.proposers.registry import from_file

SIZES = {"000004": (30, 50), "000017": (60, 40), "dog": (33, 44)}


def boxes_of(size, seed):
    height, width = size
    rng = np.random.default_rng(seed)
    first = rng.integers(0, [width - 2, height - 2], (20, 2))
    second = first + 1 + rng.integers(0, [width, height] - first, (20, 2))
    boxes = np.concatenate([first, np.minimum(second, [width, height])], axis=1)
    boxes[0] = [0, 0, width, height]
    return boxes.astype(np.float32)


@pytest.fixture
def images(tmp_path):
    for name, (height, width) in SIZES.items():
        Image.new("RGB", (width, height), (9, 9, 9)).save(tmp_path / f"{name}.png")
    return [tmp_path / f"{name}.png" for name in SIZES]


BOXES = {name: boxes_of(size, i) for i, (name, size) in enumerate(SIZES.items())}


def import_proposals(tmp_path, images, name, content, layout=None):
    path = tmp_path / name
    path.write_bytes(content)
    source = ProposalSource(from_file(path), tmp_path / "cache")
    calls = []
    result = import_boxes(path, images, source, layout, lambda: calls.append(1))
    assert len(calls) == result.images
    return result, [source.cached(image.read_bytes()) for image in images]


def kept(proposals):
    return [None if each is None else each.boxes.tolist() for each in proposals]


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("npz", "npz"),
        ("json", "json"),
        ("detectron2", "pkl"),
        ("detectron", "pkl"),
        ("mmdetection", "pkl"),
        ("mat", "mat"),
    ],
)
def test_every_format_arrives_in_the_cache(tmp_path, images, name, suffix):
    content = WRITERS[name](list(BOXES), list(BOXES.values()))
    result, proposals = import_proposals(tmp_path, images, f"x.{suffix}", content)
    assert result.layout == LAYOUTS[{"mat": "yxyx1", "detectron": "xyxy0"}.get(name, "xyxy")]
    assert kept(proposals) == [boxes.tolist() for boxes in BOXES.values()]
    assert [each.image_size for each in proposals] == list(SIZES.values())


def test_images_are_matched_by_name_without_leading_zeros(tmp_path, images):
    content = {"ids": ["dog", 17, 99], "boxes": [BOXES["dog"], BOXES["000017"], BOXES["dog"]]}
    result, proposals = import_proposals(tmp_path, images, "x.pkl", pickle.dumps(content))
    assert (result.images, result.unused) == (2, 1)
    assert kept(proposals) == [None, BOXES["000017"].tolist(), BOXES["dog"].tolist()]


@pytest.mark.parametrize("name", ["a_jpg.rf.0123abcd", "frame.10", "Zo\u0065\u0308"])
@pytest.mark.parametrize(("form", "suffix"), [("npz", "npz"), ("json", "json"), ("mat", "mat")])
def test_names_with_points_and_accents_are_read_back(tmp_path, name, form, suffix):
    image = tmp_path / f"{name}.png"
    Image.new("RGB", (50, 30)).save(image)
    written = unicodedata.normalize("NFC", name)
    content = WRITERS[form]([written, "frame"], [BOXES["000004"], BOXES["dog"]])
    layout = LAYOUTS["yxyx1" if form == "mat" else "xyxy"]
    _, proposals = import_proposals(tmp_path, [image], f"x.{suffix}", content, layout)
    assert kept(proposals) == [BOXES["000004"].tolist()]


def test_a_name_of_two_images_is_refused(tmp_path, images):
    (tmp_path / "b").mkdir()
    twin = tmp_path / "b" / "4.png"
    Image.new("RGB", (50, 30), (7, 7, 7)).save(twin)
    content = WRITERS["npz"](["000004"], [BOXES["000004"]])
    with pytest.raises(DataError, match=r"has boxes for 4, which both .*000004\.png and .*4\.png"):
        import_proposals(tmp_path, [*images, twin], "x.npz", content)


@pytest.mark.parametrize("has_files", [True, False])
def test_coco_results_go_to_their_file_or_to_the_id_of_the_data_set(tmp_path, images, has_files):
    rows = [
        {"image_id": number, "bbox": [number, 2, 3, 4], "file_name": f"x/{image.name}"}
        for number, image in zip((17, 4, 5), images, strict=True)
    ]
    if not has_files:
        rows = [{"image_id": row["image_id"], "bbox": row["bbox"]} for row in rows]
    path = tmp_path / "x.json"
    path.write_text(json.dumps(rows))
    source = ProposalSource(from_file(path), tmp_path / "cache")
    import_boxes(path, images, source, ids=None if has_files else ["17", "4", "5"])
    found = [source.cached(image.read_bytes()).boxes[0, 0] for image in images]
    assert found == [17, 4, 5]


@pytest.mark.parametrize("name", ["detectron2", "detectron"])
@pytest.mark.parametrize("by", ["ids", "stems"])
def test_a_pickle_goes_by_the_ids_of_a_data_set(tmp_path, name, by):
    """The ids count from 1 and the names from 0, as in many a COCO file."""
    images = [tmp_path / f"{number}.png" for number in range(3)]
    for number, image in enumerate(images):
        Image.new("RGB", (50, 30), (number, 9, 9)).save(image)
    boxes = [np.array([[number, 0, 50, 30]], np.float32) for number in range(3)]
    ids = ["1", "2", "3"]
    path = tmp_path / "x.pkl"
    path.write_bytes(WRITERS[name](ids if by == "ids" else ["0", "1", "2"], boxes))
    source = ProposalSource(from_file(path), tmp_path / "cache")
    import_boxes(path, images, source, ids=ids)
    found = [source.cached(image.read_bytes()).boxes[0, 0] for image in images]
    assert found == [0, 1, 2]


def test_numbers_of_voc2012_in_a_pickle_of_detectron(tmp_path):
    image = tmp_path / "2008_000002.png"
    Image.new("RGB", (50, 30)).save(image)
    content = WRITERS["detectron"]([image.stem], [BOXES["000004"]])
    assert kept(import_proposals(tmp_path, [image], "x.pkl", content)[1]) == [
        BOXES["000004"].tolist()
    ]


@pytest.mark.parametrize(("name", "suffix"), [("mat", "mat"), ("mmdetection", "pkl")])
def test_an_image_that_cannot_be_read_does_not_stop_the_others(tmp_path, images, name, suffix):
    """A file that goes by the order of the images has a place for it."""
    images[1].write_bytes(b"not an image")
    boxes = [BOXES["000004"], np.zeros((0, 4), np.float32), BOXES["dog"]]
    content = WRITERS[name](list(BOXES), boxes)
    result, proposals = import_proposals(tmp_path, images, f"x.{suffix}", content)
    assert (result.images, result.unused) == (2, 0)
    assert kept(proposals) == [BOXES["000004"].tolist(), None, BOXES["dog"].tolist()]
    for image in images:
        image.write_bytes(b"not an image")
    with pytest.raises(ImageError, match="not an image"):
        import_proposals(tmp_path, images, f"y.{suffix}", content)


def test_a_forced_layout(tmp_path, images):
    written = [LAYOUTS["yxyx0"].encode(boxes) for boxes in BOXES.values()]
    content = WRITERS["npz"](list(BOXES), written)
    _, proposals = import_proposals(tmp_path, images, "x.npz", content, LAYOUTS["yxyx0"])
    assert kept(proposals) == [boxes.tolist() for boxes in BOXES.values()]


def test_swapped_axes_are_recognised(tmp_path, images):
    content = WRITERS["npz"](list(BOXES), [boxes[:, [1, 0, 3, 2]] for boxes in BOXES.values()])
    result, proposals = import_proposals(tmp_path, images, "x.npz", content)
    assert result.layout == LAYOUTS["yxyx"]
    assert kept(proposals) == [boxes.tolist() for boxes in BOXES.values()]


def test_a_wrong_forced_layout_is_refused_and_nothing_is_kept(tmp_path, images):
    content = WRITERS["npz"](list(BOXES), list(BOXES.values()))
    with pytest.raises(DataError, match="boxes reach beyond the image"):
        import_proposals(tmp_path, images, "x.npz", content, LAYOUTS["yxyx"])
    assert not list(tmp_path.rglob("*.boxes"))


@pytest.mark.parametrize(
    ("names", "boxes", "message"),
    [
        (["cat"], [BOXES["dog"]], "none of them is among the images to import for"),
        (["dog", "dog"], [BOXES["dog"]] * 2, "names an image twice"),
        (["dog"], [BOXES["dog"] * 10], "reach beyond their images"),
        (["dog"], [BOXES["dog"][:, [2, 1, 0, 3]]], "end before they begin"),
        (["dog"], [BOXES["dog"] / 1000], "as fractions of the images' sides do"),
    ],
)
def test_wrong_boxes_are_refused(tmp_path, images, names, boxes, message):
    with pytest.raises(DataError, match=message):
        import_proposals(tmp_path, images, "x.npz", WRITERS["npz"](names, boxes))


def test_a_file_without_names_must_fit_in_number(tmp_path, images):
    with pytest.raises(DataError, match="boxes for 2 images and no names; there are 3 images"):
        import_proposals(tmp_path, images, "x.pkl", WRITERS["mmdetection"]([], [BOXES["dog"]] * 2))
