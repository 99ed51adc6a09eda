from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frcnn_cli.data import images, voc
from frcnn_cli.data.dataset import Annotation, Dataset, upright_boxes
from frcnn_cli.data.voc import load_voc, parse_annotation
from frcnn_cli.errors import DataError, ImageError
from synthetic import STORED, write_annotation, write_voc

LAUGHS = (
    "<!DOCTYPE lolz [<!ENTITY a '" + "ha" * 50 + "'>"
    + "".join(
        f"<!ENTITY {new} '{f'&{old};' * 10}'>"
        for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    + "]>"
)  # fmt: skip


def box(xmin: object = 3, ymin: object = 4, xmax: object = 10, ymax: object = 20) -> str:
    return (
        f"<bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>"
        "</bndbox>"
    )


def thing(inside: str, name: str = "dog") -> str:
    return f"<object><name>{name}</name>{inside}</object>"


def parse(tmp_path: Path, body: str, head: str = "") -> Annotation:
    path = tmp_path / "a.xml"
    path.write_text(f"{head}<annotation>{body}</annotation>")
    return voc.parse_annotation(path)


def make(folder: Path, objects: dict[str, list], size: tuple[int, int] = (40, 60)) -> Path:
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for image_id, own in objects.items():
        write_annotation(folder / "Annotations" / f"{image_id}.xml", size, own)
        Image.new("RGB", size[::-1], (90, 90, 90)).save(folder / "JPEGImages" / f"{image_id}.jpg")
    return folder


def split(folder: Path, name: str, *ids: str) -> None:
    (folder / "ImageSets" / "Main" / f"{name}.txt").write_text("".join(f"{i}\n" for i in ids))


def message(error: pytest.ExceptionInfo[DataError]) -> str:
    assert "\n" not in error.value.message
    return error.value.message


def test_boxes_become_continuous_and_half_open(tmp_path: Path) -> None:
    found = parse(tmp_path, thing(box(48, 240, 195, 371)) + thing(box(8, 12, 352, 498), "person"))
    assert found.names == ("dog", "person")
    assert found.boxes.dtype == np.float32
    assert found.boxes.tolist() == [[47, 239, 195, 371], [7, 11, 352, 498]]


def test_single_pixel_object_has_area_one(tmp_path: Path) -> None:
    assert parse(tmp_path, thing(box(5, 6, 5, 6))).boxes.tolist() == [[4, 5, 5, 6]]


def test_coordinates_may_be_fractions_with_spaces(tmp_path: Path) -> None:
    found = parse(tmp_path, thing(box("45.70000076293945", " 2.5 ", "\n90.25\n", "1e2")))
    np.testing.assert_allclose(found.boxes, [[44.7, 1.5, 90.25, 100]], rtol=1e-6)


@pytest.mark.parametrize(
    "corners", [(10, 4, 3, 20), (3, 20, 10, 4), (10, 20, 3, 4)], ids=["x", "y", "both"]
)
def test_swapped_corners_are_put_right(tmp_path: Path, corners: tuple) -> None:
    assert parse(tmp_path, thing(box(*corners))).boxes.tolist() == [[2, 3, 10, 20]]


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("", False),
        ("<difficult>0</difficult>", False),
        ("<difficult>1</difficult>", True),
        ("<difficult/>", False),
        ("<difficult>Unspecified</difficult>", False),
    ],
)
def test_difficult(tmp_path: Path, tag: str, expected: bool) -> None:
    found = parse(tmp_path, thing(box() + tag))
    assert found.difficult.dtype == np.bool_
    assert found.difficult.tolist() == [expected]


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("<size><width>60</width><height>40</height><depth>3</depth></size>", (40, 60)),
        ("", None),
        ("<size/>", None),
        ("<size><width>0</width><height>0</height></size>", None),
        ("<size><width>60</width></size>", None),
        ("<size><width>-6</width><height>40</height></size>", None),
        ("<size><width>wide</width><height>high</height></size>", None),
        ("<size><width>nan</width><height>40</height></size>", None),
    ],
)
def test_size(tmp_path: Path, tag: str, expected: tuple | None) -> None:
    assert parse(tmp_path, tag + thing(box())).size == expected


def test_boxes_of_parts_are_no_objects(tmp_path: Path) -> None:
    part = f"<part><name>head</name>{box(1, 1, 2, 2)}</part>"
    found = parse(tmp_path, thing(part + box(), "person"))
    assert found.names == ("person",)
    assert found.boxes.tolist() == [[2, 3, 10, 20]]


def test_annotation_without_objects(tmp_path: Path) -> None:
    found = parse(tmp_path, "<filename>a.jpg</filename>")
    assert found.names == ()
    assert found.boxes.shape == (0, 4)
    assert found.difficult.shape == (0,)


def test_names_are_stripped_and_any_text(tmp_path: Path) -> None:
    found = parse(tmp_path, thing(box(), "  café &amp; bar\n"))
    assert found.names == ("café & bar",)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_declared_encodings(tmp_path: Path, encoding: str) -> None:
    declared = encoding.removesuffix("-sig")
    text = f"<?xml version='1.0' encoding='{declared}'?><annotation>{thing(box(), 'crêpe')}"
    path = tmp_path / "a.xml"
    path.write_bytes((text + "</annotation>").encode(encoding))
    assert voc.parse_annotation(path).names == ("crêpe",)


@pytest.mark.parametrize("name", ["", "  ", None])
def test_object_without_name(tmp_path: Path, name: str | None) -> None:
    body = f"<object>{box()}</object>" if name is None else thing(box(), name)
    with pytest.raises(DataError, match="no name") as error:
        parse(tmp_path, body)
    assert str(tmp_path / "a.xml") in message(error)


@pytest.mark.parametrize(
    "inside",
    [
        "",
        "<bndbox/>",
        "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax></bndbox>",
        box(xmin="nan"),
        box(ymin="inf"),
        box(xmax="-Infinity"),
        box(ymax="ten"),
        box(xmin=""),
        box(xmin="1,5"),
        box(xmin="0x10"),
    ],
)
def test_object_without_four_numbers(tmp_path: Path, inside: str) -> None:
    with pytest.raises(DataError, match="'dog' has no box of four numbers") as error:
        parse(tmp_path, thing(inside))
    assert str(tmp_path / "a.xml") in message(error)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no markup",
        b"<annotation><object>",
        b"<annotation></object></annotation>",
        b"<annotation>&undefined;</annotation>",
        b"\0\0\0\0",
        b"\xff\xd8\xff\xe0JFIF",
        b"<?xml version='1.0' encoding='no-such'?><annotation/>",
        b"<?xml version='1.0' encoding='base64'?><annotation/>",
        b"<annotation>\xff\xfe</annotation>",
    ],
)
def test_not_xml(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(content)
    with pytest.raises(DataError, match="is not XML") as error:
        voc.parse_annotation(path)
    assert str(path) in message(error)


@pytest.mark.parametrize(
    "head",
    [
        LAUGHS,
        "<!DOCTYPE annotation>",
        "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/hostname'>]>",
        "<?xml version='1.0'?>\n<!DOCTYPE a [<!ELEMENT a ANY>]>",
    ],
    ids=["laughs", "doctype", "external", "element"],
)
def test_declarations_are_refused_at_once(tmp_path: Path, head: str) -> None:
    start = time.process_time()
    with pytest.raises(DataError, match="declares entities"):
        parse(tmp_path, thing(box()) + ("<x>&i;</x>" if head is LAUGHS else ""), head)
    assert time.process_time() - start < 1


def test_huge_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voc, "MAX_XML_BYTES", 500)
    assert parse(tmp_path, thing(box())).names == ("dog",)
    with pytest.raises(DataError, match="too large"):
        parse(tmp_path, thing(box()) + " " * 500)


def test_missing_annotation(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        voc.parse_annotation(tmp_path / "absent.xml")
    assert str(tmp_path / "absent.xml") in message(error)


def test_find_root_takes_the_folder_itself(voc_folder: Path) -> None:
    assert voc.find_root(voc_folder) == voc_folder
    assert voc.find_root(voc_folder, "2007") == voc_folder


@pytest.mark.parametrize("below", ["VOC2007", "VOCdevkit/VOC2007"])
def test_find_root_looks_below(tmp_path: Path, below: str) -> None:
    make(tmp_path / below, {})
    assert voc.find_root(tmp_path, "2007") == tmp_path / below
    with pytest.raises(DataError):
        voc.find_root(tmp_path, "2012")
    with pytest.raises(DataError):
        voc.find_root(tmp_path)


def test_find_root_tells_years_apart(tmp_path: Path) -> None:
    for year in ("2007", "2012"):
        make(tmp_path / "VOCdevkit" / f"VOC{year}", {})
    assert voc.find_root(tmp_path, "2012").name == "VOC2012"
    assert voc.find_root(tmp_path / "VOCdevkit", "2007").name == "VOC2007"


@pytest.mark.parametrize("missing", ["Annotations", "JPEGImages"])
def test_find_root_wants_both_folders(tmp_path: Path, missing: str) -> None:
    make(tmp_path, {})
    (tmp_path / missing).rmdir()
    with pytest.raises(DataError, match="not a data set in VOC layout") as error:
        voc.find_root(tmp_path)
    assert str(tmp_path) in message(error)


def ids(dataset: Dataset) -> list[str]:
    return [dataset.image_id(index) for index in range(len(dataset))]


def test_named_split(voc_folder: Path) -> None:
    found = voc.load_voc(voc_folder, "mine", "train", ("val",))
    assert found.split == "train"
    assert found.name == "mine"
    assert ids(found) == ["000001", "000003", "000005", "000007"]
    assert found.paths[1] == voc_folder / "JPEGImages" / "000003.jpg"


@pytest.mark.parametrize(
    ("defaults", "expected"),
    [(("test", "val"), "test"), (("dev", "val", "test"), "val"), (("trainval",), "trainval")],
)
def test_default_split_is_the_first_there_is(
    voc_folder: Path, defaults: tuple, expected: str
) -> None:
    found = voc.load_voc(voc_folder, "mine", None, defaults)
    assert found.split == expected
    assert len(found) == (8 if expected == "trainval" else 4)


def test_lists_without_a_default_are_named(voc_folder: Path) -> None:
    with pytest.raises(DataError, match="no list dev or old") as error:
        voc.load_voc(voc_folder, "mine", None, ("dev", "old"))
    assert "train, trainval, val" in error.value.hint


def test_without_lists_every_annotated_image_counts(voc_folder: Path) -> None:
    shutil.rmtree(voc_folder / "ImageSets")
    found = voc.load_voc(voc_folder, "mine", None, ("trainval",))
    assert found.split == "all"
    assert ids(found) == [f"{index:06d}" for index in range(1, 9)]


def test_unknown_split_names_the_known_ones(voc_folder: Path) -> None:
    with pytest.raises(DataError, match="mine has no split 'dev'") as error:
        voc.load_voc(voc_folder, "mine", "dev", ("train",))
    assert "test, train, trainval, val" in error.value.hint


def test_unknown_split_without_lists(voc_folder: Path) -> None:
    shutil.rmtree(voc_folder / "ImageSets")
    with pytest.raises(DataError) as error:
        voc.load_voc(voc_folder, "mine", "val", ())
    assert "none" in error.value.hint


def test_split_lists_with_flags_and_blank_lines(voc_folder: Path) -> None:
    path = voc_folder / "ImageSets" / "Main" / "box_val.txt"
    path.write_text("000002 -1\r\n\r\n000004  1\n\n")
    assert ids(voc.load_voc(voc_folder, "mine", "box_val", ())) == ["000002", "000004"]


def test_list_order_is_kept(voc_folder: Path) -> None:
    split(voc_folder, "odd", "000007", "000001", "000004")
    assert ids(voc.load_voc(voc_folder, "mine", "odd", ())) == ["000007", "000001", "000004"]


def test_empty_split(voc_folder: Path) -> None:
    split(voc_folder, "nothing")
    with pytest.raises(DataError, match="no images"):
        voc.load_voc(voc_folder, "mine", "nothing", ())


def test_folder_without_annotations(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images"):
        voc.load_voc(make(tmp_path, {}), "mine", None, ())


def test_data_set_without_any_object(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image has an object"):
        voc.load_voc(make(tmp_path, {"a": [], "b": []}), "mine", None, ())


def test_listed_image_without_annotation(voc_folder: Path) -> None:
    split(voc_folder, "more", "000001", "999999")
    with pytest.raises(DataError, match=r"999999\.xml"):
        voc.load_voc(voc_folder, "mine", "more", ())


def test_classes_come_from_all_annotations_sorted(tmp_path: Path) -> None:
    objects = {
        "a": [("zebra", (1, 1, 9, 9), False), ("cat", (1, 1, 9, 9), False)],
        "b": [("ant", (1, 1, 9, 9), False)],
        "c": [("mole", (1, 1, 9, 9), False)],
    }
    folder = make(tmp_path, objects)
    split(folder, "train", "a")
    split(folder, "val", "b")
    for name in ("train", "val"):
        assert voc.load_voc(folder, "mine", name, ()).classes == ("ant", "cat", "mole", "zebra")


def test_labels_count_from_one_in_the_order_of_the_classes(tmp_path: Path) -> None:
    objects = [("zebra", (1, 1, 9, 9), False), ("ant", (2, 2, 8, 8), True)]
    found = voc.load_voc(make(tmp_path, {"a": objects}), "mine", None, ()).ground_truth(0)
    assert found.labels.tolist() == [2, 1]
    assert found.difficult.tolist() == [False, True]
    assert found.boxes.tolist() == [[1, 1, 9, 9], [2, 2, 8, 8]]


def test_with_classes_renumbers_and_leaves_out(tmp_path: Path) -> None:
    objects = [
        ("ant", (1, 1, 9, 9), False),
        ("cat", (2, 2, 8, 8), False),
        ("zebra", (3, 3, 7, 7), True),
    ]
    plain = voc.load_voc(make(tmp_path, {"a": objects}), "mine", None, ())
    found = plain.with_classes(["zebra", "person", "ant"])
    assert found.classes == ("zebra", "person", "ant")
    assert len(found) == 1
    truth = found.ground_truth(0)
    assert truth.labels.tolist() == [3, 1]
    assert truth.boxes.tolist() == [[1, 1, 9, 9], [3, 3, 7, 7]]
    assert truth.difficult.tolist() == [False, True]
    assert plain.ground_truth(0).labels.tolist() == [1, 2, 3]


def test_with_classes_that_are_all_unknown(voc_folder: Path) -> None:
    found = voc.load_voc(voc_folder, "mine", "val", ())
    with pytest.raises(DataError, match="mine has none of the classes") as error:
        found.with_classes(["person", "car"])
    assert "ball, box, tile" in message(error)
    assert "person, car" in message(error)


@pytest.mark.parametrize(("count", "expected"), [(None, 8), (3, 3), (1, 1), (100, 8)])
def test_limited(voc_folder: Path, count: int | None, expected: int) -> None:
    whole = voc.load_voc(voc_folder, "mine", "trainval", ())
    some = whole.limited(count)
    assert len(some) == expected
    assert len(some.annotations) == expected
    assert some.paths == whole.paths[:expected]
    assert (some.name, some.split, some.classes) == (whole.name, whole.split, whole.classes)


def test_boxes_outside_the_image_are_clipped(tmp_path: Path) -> None:
    objects = [
        ("a", (-5, -6, 70, 50), False),
        ("b", (50, 30, 61, 41), False),
        ("c", (0, 0, 60, 40), False),
    ]
    folder = make(tmp_path, {"a": objects}, size=(40, 60))
    found = voc.load_voc(folder, "mine", None, ()).ground_truth(0)
    assert found.boxes.tolist() == [[0, 0, 60, 40], [50, 30, 60, 40], [0, 0, 60, 40]]


def test_size_in_the_xml_does_not_clip(tmp_path: Path) -> None:
    folder = make(tmp_path, {"a": []}, size=(40, 60))
    write_annotation(folder / "Annotations" / "a.xml", (10, 10), [("a", (5, 5, 50, 35), False)])
    found = voc.load_voc(folder, "mine", None, ()).ground_truth(0)
    assert found.boxes.tolist() == [[5, 5, 50, 35]]


def test_degenerate_objects_are_dropped(tmp_path: Path) -> None:
    objects = [
        ("outside", (100, 5, 120, 20), False),
        ("sliver", (59.5, 5, 75, 20), False),
        ("fine", (5, 5, 6, 6), True),
        ("above", (5, -20, 30, -3), False),
        ("also", (10, 10, 20, 20), False),
    ]
    folder = make(tmp_path, {"a": objects}, size=(40, 60))
    dataset = voc.load_voc(folder, "mine", None, ())
    found = dataset.ground_truth(0)
    assert [dataset.classes[label - 1] for label in found.labels] == ["fine", "also"]
    assert found.boxes.tolist() == [[5, 5, 6, 6], [10, 10, 20, 20]]
    assert found.difficult.tolist() == [True, False]


def test_image_without_objects_among_others(tmp_path: Path) -> None:
    folder = make(tmp_path, {"a": [("x", (1, 1, 9, 9), False)], "b": []})
    dataset = voc.load_voc(folder, "mine", None, ())
    content, image, truth = dataset.read(1)
    assert content == (folder / "JPEGImages" / "b.jpg").read_bytes()
    assert image.shape == (40, 60, 3)
    assert truth.boxes.shape == (0, 4)
    assert truth.labels.shape == truth.difficult.shape == (0,)


def test_objects_lie_where_they_are_painted(voc_folder: Path) -> None:
    colours = {"ball": (230, 40, 40), "box": (40, 220, 60), "tile": (30, 50, 235)}
    dataset = voc.load_voc(voc_folder, "mine", "trainval", ())
    seen = 0
    for index in range(len(dataset)):
        _, image, truth = dataset.read(index)
        for corners, label in zip(truth.boxes, truth.labels, strict=True):
            near = np.abs(image.astype(int) - colours[dataset.classes[label - 1]]).sum(axis=2) < 110
            ys, xs = np.nonzero(near)
            painted = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            assert np.abs(corners - painted).max() <= 2
            seen += 1
    assert seen == 12


def painted_data_set(
    folder: Path, orientation: int, as_stored: bool, suffix: str = ".png"
) -> tuple[Dataset, tuple[int, int, int, int]]:
    shown = np.full((40, 60, 3), 60, np.uint8)
    where = (7, 5, 26, 17)
    shown[where[1] : where[3], where[0] : where[2]] = (250, 250, 20)
    stored = np.ascontiguousarray(STORED[orientation](shown))
    pixels = stored if as_stored else shown
    ys, xs = np.nonzero(pixels[..., 0] == 250)
    corners = (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)
    make(folder, {})
    write_annotation(
        folder / "Annotations" / "a.xml", pixels.shape[:2], [("patch", corners, False)]
    )
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = folder / "JPEGImages" / f"a{suffix}"
    Image.fromarray(stored).save(path, exif=exif, quality=95, subsampling=0)
    return voc.load_voc(folder, "mine", None, ()), where


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("as_stored", [True, False], ids=["stored", "shown"])
@pytest.mark.parametrize("orientation", [1, 5, 6, 7, 8])
def test_boxes_follow_the_exif_rotation(
    tmp_path: Path, orientation: int, as_stored: bool, suffix: str
) -> None:
    dataset, where = painted_data_set(tmp_path, orientation, as_stored, suffix)
    _, image, truth = dataset.read(0)
    assert image.shape == (40, 60, 3)
    ys, xs = np.nonzero((image[..., 0] > 160) & (image[..., 2] < 120))
    painted = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    assert painted == list(where)
    assert truth.boxes.tolist() == [painted]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_are_clipped_to_the_turned_image(tmp_path: Path, orientation: int) -> None:
    dataset, _ = painted_data_set(tmp_path, orientation, as_stored=True)
    write_annotation(
        tmp_path / "Annotations" / "a.xml", (60, 40), [("patch", (-9, -9, 99, 99), False)]
    )
    dataset = voc.load_voc(tmp_path, "mine", None, ())
    assert dataset.ground_truth(0).boxes.tolist() == [[0, 0, 60, 40]]


def test_upright_boxes_keep_area_and_stay_inside() -> None:
    boxes = np.array([[3, 5, 10, 25], [0, 0, 60, 40]], np.float32)
    for orientation in (5, 6, 7, 8):
        turned = upright_boxes(boxes, orientation, (40, 60))
        assert turned.dtype == np.float32
        np.testing.assert_array_equal(turned[1], [0, 0, 40, 60])
        assert (turned[0, 2:] - turned[0, :2]).tolist() == [20, 7]


def test_upright_boxes_move_as_the_four_orientations_say() -> None:
    box_in_corner = np.array([[0, 0, 10, 4]], np.float32)
    found = {
        orientation: upright_boxes(box_in_corner, orientation, (40, 60))[0].tolist()
        for orientation in (5, 6, 7, 8)
    }
    assert found == {
        5: [0, 0, 4, 10],
        6: [36, 0, 40, 10],
        7: [36, 50, 40, 60],
        8: [0, 50, 4, 60],
    }


def test_png_images(voc_folder: Path) -> None:
    for path in sorted((voc_folder / "JPEGImages").iterdir()):
        with Image.open(path) as picture:
            picture.save(path.with_suffix(".png"))
        path.unlink()
    dataset = voc.load_voc(voc_folder, "mine", "val", ())
    assert {path.suffix for path in dataset.paths} == {".png"}
    content, image, truth = dataset.read(0)
    assert content.startswith(b"\x89PNG")
    assert image.shape == (160, 120, 3)
    assert len(truth.boxes) == 2


def test_missing_image_is_an_error_when_read(voc_folder: Path) -> None:
    path = voc_folder / "JPEGImages" / "000002.jpg"
    path.unlink()
    dataset = voc.load_voc(voc_folder, "mine", "val", ())
    with pytest.raises(ImageError) as error:
        dataset.read(0)
    assert str(path) in error.value.message
    assert len(dataset.read(1)) == 3


def test_damaged_image_is_an_error_when_read(voc_folder: Path) -> None:
    path = voc_folder / "JPEGImages" / "000002.jpg"
    path.write_bytes(path.read_bytes()[:700])
    dataset = voc.load_voc(voc_folder, "mine", "val", ())
    with pytest.raises(ImageError) as error:
        dataset.read(0)
    assert str(path) in error.value.message


def test_synthetic_data_set_depends_on_its_seed_alone(tmp_path: Path) -> None:
    def contents(folder: Path) -> list[bytes]:
        return [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]

    one, two, three = (
        contents(write_voc(tmp_path / name, 3, seed))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert one == two
    assert one != three


@pytest.mark.parametrize("width", ["inf", "1e400", "nan", "-3", "wide"])
def test_a_size_that_is_none(tmp_path: Path, width: str) -> None:
    path = tmp_path / "a.xml"
    path.write_text(
        f"<annotation><size><width>{width}</width><height>3</height></size></annotation>"
    )
    assert parse_annotation(path).size is None


@pytest.mark.parametrize("corner", ["1e300", "-1e300", "2e6"])
def test_coordinates_that_cannot_be_pixels(tmp_path: Path, corner: str) -> None:
    box = f"<xmin>{corner}</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax>"
    path = tmp_path / "a.xml"
    path.write_text(
        f"<annotation><object><name>x</name><bndbox>{box}</bndbox></object></annotation>"
    )
    with pytest.raises(DataError, match="no box of four numbers"):
        parse_annotation(path)


def test_entities_in_another_encoding(tmp_path: Path) -> None:
    text = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>'
    path = tmp_path / "a.xml"
    path.write_bytes(text.encode("utf-16"))
    with pytest.raises(DataError, match="declares entities"):
        parse_annotation(path)


def test_split_lists_that_are_not_text(voc_folder: Path) -> None:
    (voc_folder / "ImageSets" / "Main" / "val.txt").write_bytes(b"\xff\xfe1\n")
    with pytest.raises(DataError, match=r"cannot read .*val\.txt"):
        load_voc(voc_folder, "voc", "val", ())


def test_a_turned_tiff(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((12, 20, 3), np.uint8)).save(tmp_path / "a.tif", exif=exif)
    assert images.read_layout(tmp_path / "a.tif") == ((12, 20), 6)
    assert images.decode((tmp_path / "a.tif").read_bytes(), "a").shape == (20, 12, 3)
