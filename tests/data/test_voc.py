from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frcnn_cli.data import images, voc
from frcnn_cli.data.annotation_size import upright_boxes
from frcnn_cli.data.dataset import Dataset
from frcnn_cli.data.registry import open_splits
from frcnn_cli.data.voc import load_voc
from frcnn_cli.errors import DataError, ImageError, UnlabelledError
from synthetic import STORED, write_annotation, write_voc


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


@pytest.mark.parametrize("stem", ["valid", "validation", "Val", "val_set"])
def test_other_spellings_of_the_splits(voc_folder: Path, stem: str) -> None:
    lists = voc_folder / "ImageSets" / "Main"
    (lists / "val.txt").rename(lists / f"{stem}.txt")
    for asked in (None, "val", "valid"):
        found = voc.load_voc(voc_folder, "mine", asked, ("val", "test"))
        assert (found.split, len(found)) == ("val", 4)


def test_the_usual_spelling_of_a_split_goes_first(voc_folder: Path) -> None:
    split(voc_folder, "valid", "000001")
    assert len(voc.load_voc(voc_folder, "mine", None, ("val",))) == 4
    assert ids(voc.load_voc(voc_folder, "mine", "valid", ())) == ["000001"]


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


def test_split_lists_that_are_not_text(voc_folder: Path) -> None:
    (voc_folder / "ImageSets" / "Main" / "val.txt").write_bytes(b"\xffa\n")
    with pytest.raises(DataError, match=r"cannot read .*val\.txt"):
        load_voc(voc_folder, "voc", "val", ())


def test_a_turned_tiff(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((12, 20, 3), np.uint8)).save(tmp_path / "a.tif", exif=exif)
    assert images.read_layout(tmp_path / "a.tif") == ((12, 20), 6)
    assert images.decode((tmp_path / "a.tif").read_bytes(), "a").shape == (20, 12, 3)


def test_a_split_without_annotations_is_no_background(tmp_path: Path) -> None:
    folder = make(tmp_path, {"a": [("dog", (1, 1, 20, 20), False)], "b": []})
    (folder / "Annotations" / "b.xml").unlink()
    split(folder, "train", "a")
    split(folder, "test", "b")
    with pytest.raises(UnlabelledError, match="mine test: none of its 1 images has an XML file"):
        voc.load_voc(folder, "mine", "test", ())
    assert "test" not in [each.split for each in open_splits(str(folder))]
