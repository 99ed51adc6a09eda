"""The folders, files and lists of data sets in VOC layout."""

from __future__ import annotations

import re
import shutil
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from frcnn_cli.data.registry import open_dataset
from frcnn_cli.data.voc import load_voc
from frcnn_cli.data.voc_layout import find_root
from frcnn_cli.errors import DataError
from strangers import OBJECT, OBJECTS, TRAIN, assert_read, listed, opened, voc, write_images, xml
from synthetic import write_annotation


def make_folders(folder: Path) -> None:
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)


def fill(folder: Path, images_of: dict[str, str], annotations: list[str]) -> Path:
    """Write images (path -> format) and annotations (path) of an object that is a dog."""
    for name, format_name in images_of.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 40), (90, 90, 90)).save(path, format_name)
    for name in annotations:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_annotation(folder / name, (40, 60), [("dog", (2, 3, 20, 30), False)])
    return folder


def write_list(folder: Path, name: str, text: str) -> None:
    path = folder / "ImageSets" / "Main" / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_find_root_takes_the_folder_itself(voc_folder: Path) -> None:
    assert find_root(voc_folder) == voc_folder
    assert find_root(voc_folder, "2007") == voc_folder


@pytest.mark.parametrize("below", ["VOC2007", "VOCdevkit/VOC2007"])
def test_find_root_looks_below(tmp_path: Path, below: str) -> None:
    make_folders(tmp_path / below)
    assert find_root(tmp_path, "2007") == tmp_path / below
    with pytest.raises(DataError):
        find_root(tmp_path, "2012")
    with pytest.raises(DataError):
        find_root(tmp_path)


def test_find_root_tells_years_apart(tmp_path: Path) -> None:
    for year in ("2007", "2012"):
        make_folders(tmp_path / "VOCdevkit" / f"VOC{year}")
    assert find_root(tmp_path, "2012").name == "VOC2012"
    assert find_root(tmp_path / "VOCdevkit", "2007").name == "VOC2007"


def test_lists_of_splits_below_a_folder_count(voc_folder: Path) -> None:
    above = voc_folder.parent
    assert find_root(above) == voc_folder
    (above / "more").mkdir()
    write_annotation(above / "more" / "alone.xml", (10, 10), [("a", (5, 5, 50, 35), False)])
    with pytest.raises(DataError, match="which has lists of splits, and other XML files"):
        find_root(above)
    shutil.copytree(voc_folder, above / "more" / "copy")
    with pytest.raises(DataError, match=r"holds 2 data sets: .*more/copy"):
        find_root(above)


@pytest.mark.parametrize("missing", ["Annotations", "JPEGImages"])
def test_find_root_wants_both_folders(tmp_path: Path, missing: str) -> None:
    make_folders(tmp_path)
    (tmp_path / missing).rmdir()
    with pytest.raises(DataError, match="not a data set in VOC layout") as error:
        find_root(tmp_path)
    assert str(tmp_path) in error.value.message


@pytest.mark.parametrize(
    ("annotations", "pictures"),
    [
        ("annotations", "images"),
        ("annots", "images"),
        ("Annotation", "JPEGimages"),
        ("ANNOTATIONS", "Images"),
        ("xmls", "imgs"),
        ("Annotations", "Annotations"),
        (".", "."),
        ("images", "images"),
        ("train", "train"),
        ("train/annotations", "train/images"),
    ],
)
def test_other_names_of_the_folders(tmp_path: Path, annotations: str, pictures: str) -> None:
    fill(
        tmp_path,
        {f"{pictures}/{stem}.jpg": "JPEG" for stem in "ab"},
        [f"{annotations}/{stem}.xml" for stem in "ab"],
    )
    (tmp_path / "README.txt").write_text("about")
    root = find_root(tmp_path)
    dataset = load_voc(root, "mine", None, ("trainval", "train"))
    assert dataset.ids == ("a", "b")
    assert all(path.exists() for path in dataset.paths)
    assert dataset.notes == ()


def test_a_folder_for_each_split(tmp_path: Path) -> None:
    fill(tmp_path, {"train/a.jpg": "JPEG", "valid/b.jpg": "JPEG"}, ["train/a.xml", "valid/b.xml"])
    write_annotation(tmp_path / "valid" / "b.xml", (40, 60), [("cat", (2, 3, 20, 30), False)])
    root = find_root(tmp_path)
    for split_name, stem in (("train", "a"), ("val", "b"), ("valid", "b"), (None, "b")):
        dataset = load_voc(root, "mine", split_name, ("test", "val"))
        assert dataset.ids == (stem,)
        assert dataset.classes == ("cat", "dog")
    with pytest.raises(DataError, match="no split test") as error:
        load_voc(root, "mine", "test", ())
    assert error.value.hint == "there are: train, val"
    assert load_voc(find_root(tmp_path / "train"), "mine", None, ()).ids == ("a",)


def test_folders_of_splits_in_the_folder_of_annotations(tmp_path: Path) -> None:
    names = ("train/a", "valid/b")
    fill(
        tmp_path,
        {f"JPEGImages/{name}.jpg": "JPEG" for name in names},
        [f"Annotations/{name}.xml" for name in names],
    )
    assert load_voc(tmp_path, "mine", None, ("trainval", "train")).ids == ("train/a",)
    dataset = load_voc(tmp_path, "mine", "val", ())
    assert dataset.ids == ("valid/b",)
    assert dataset.paths[0].exists()
    with pytest.raises(DataError, match="no split test"):
        load_voc(tmp_path, "mine", "test", ())


def test_folders_of_another_format_are_not_taken(tmp_path: Path) -> None:
    fill(tmp_path, {"images/a.jpg": "JPEG"}, [])
    for name in ("labels/a.txt", "annotations/instances.json"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    with pytest.raises(DataError, match="it holds annotations, images, labels"):
        find_root(tmp_path)


def test_what_a_folder_holds_is_named_where_nothing_fits(tmp_path: Path) -> None:
    fill(tmp_path, {"photos/a.jpg": "JPEG", "boxes/a.png": "PNG"}, [])
    with pytest.raises(DataError, match="it holds boxes, photos") as error:
        find_root(tmp_path)
    assert "annotations/" in error.value.message


ENDINGS = {
    "JPG": "JPEG", "jfif": "JPEG", "JPE": "JPEG", "jpeg": "JPEG", "mpo": "MPO", "PNG": "PNG",
    "Bmp": "BMP", "GIF": "GIF", "tif": "TIFF", "TIFF": "TIFF", "webp": "WEBP", "PPM": "PPM",
    "pnm": "PPM",
}  # fmt: skip


@pytest.mark.parametrize("ending", ENDINGS)
def test_images_with_any_ending(tmp_path: Path, ending: str) -> None:
    fill(tmp_path, {f"JPEGImages/a.{ending}": ENDINGS[ending]}, ["Annotations/a.xml"])
    dataset = load_voc(tmp_path, "mine", None, ())
    assert dataset.paths == (tmp_path / "JPEGImages" / f"a.{ending}",)
    content, image, truth = dataset.read(0)
    assert content
    assert image.shape == (40, 60, 3)
    assert truth.boxes.tolist() == [[2, 3, 20, 30]]


@pytest.mark.parametrize(
    ("named", "taken", "notes"),
    [("a.png", "a.png", 0), ("x\\\\A.JPG", "a.jpg", 0), ("b.png", "a.jpg", 1), ("", "a.jpg", 1)],
)
def test_images_that_differ_only_in_their_endings(
    tmp_path: Path, named: str, taken: str, notes: int
) -> None:
    pictures = {"JPEGImages/a.jpg": "JPEG", "JPEGImages/a.png": "PNG"}
    fill(tmp_path, pictures, ["Annotations/a.xml"])
    path = tmp_path / "Annotations" / "a.xml"
    text = re.sub("<filename>.*</filename>", "", path.read_text())
    path.write_text(text.replace("<annotation>", f"<annotation><filename>{named}</filename>"))
    found = load_voc(tmp_path, "mine", None, ("trainval",))
    assert found.paths[0].name == taken
    assert len(found.notes) == notes


def test_names_whose_accents_are_stored_otherwise(tmp_path: Path) -> None:
    stored, asked = (unicodedata.normalize(form, "학생_é") for form in ("NFD", "NFC"))
    assert stored != asked
    fill(tmp_path, {f"JPEGImages/{asked}.jpg": "JPEG"}, [f"Annotations/{stored}.xml"])
    write_list(tmp_path, "val", asked)
    dataset = load_voc(tmp_path, "mine", "val", ())
    assert dataset.ids == (stored,)
    assert dataset.paths[0].exists()


def test_lists_beside_the_folders(tmp_path: Path) -> None:
    fill(
        tmp_path,
        {f"images/{stem}.jpg": "JPEG" for stem in "ab"},
        [f"annotations/{stem}.xml" for stem in "ab"],
    )
    (tmp_path / "val.txt").write_text("images/b.jpg annotations/b.xml\n")
    (tmp_path / "labels.txt").write_text("dog\n")
    assert load_voc(tmp_path, "mine", "val", ()).ids == ("b",)


@pytest.mark.parametrize(
    ("stem", "line"),
    [
        ("leaf scan (0)", "leaf scan (0)"),
        ("leaf scan (0)", "leaf scan (0) -1"),
        ("leaf scan (0)", "leaf scan (0).JPG  1"),
        ("leaf 1", "leaf 1"),
        ("a", "a.jpg"),
        ("a", "a.xml"),
        ("a", "JPEGImages/a.jpg Annotations/a.xml"),
        ("a", "./JPEGImages/a.jpg"),
        ("a", "JPEGImages\\a.jpg"),
        ("a", "/somewhere/else/JPEGImages/a.jpg"),
        ("a", "a 0"),
        ("a.jpg", "a.jpg"),
        ("a_jpg.rf.0123", "a_jpg.rf.0123"),
        ("a_jpg.rf.0123", "a_jpg.rf.0123.jpg 1"),
        ("sub/a", "sub/a"),
        ("A", "a"),
    ],
)
def test_lines_of_lists(tmp_path: Path, stem: str, line: str) -> None:
    others = ["leaf", "b"]
    fill(
        tmp_path,
        {f"JPEGImages/{each}.jpg": "JPEG" for each in (stem, *others)},
        [f"Annotations/{each}.xml" for each in (stem, *others)],
    )
    write_list(tmp_path, "val", f"{line}\n\n")
    assert load_voc(tmp_path, "mine", "val", ()).ids == (stem,)


@pytest.mark.parametrize("line", ["../../outside/JPEGImages/i1", "/etc/passwd", "C:\\x\\i1"])
def test_lists_do_not_lead_out_of_the_folder(voc_folder: Path, line: str) -> None:
    write_list(voc_folder, "odd", f"{line}\n")
    with pytest.raises(DataError, match="is not inside the data set"):
        load_voc(voc_folder, "mine", "odd", ())


def test_repeated_lines_count_once(voc_folder: Path) -> None:
    write_list(voc_folder, "odd", "000003\n000001\n000003\n000003.jpg\n")
    dataset = load_voc(voc_folder, "mine", "odd", ())
    assert dataset.ids == ("000003", "000001")
    assert any("2 repeated lines" in note for note in dataset.notes)


def test_files_of_the_system_are_passed_over_and_counted(voc_folder: Path) -> None:
    for name in (
        "Annotations/._000001.xml",
        "JPEGImages/._000001.jpg",
        "JPEGImages/Thumbs.db",
        "JPEGImages/.ipynb_checkpoints/000001-checkpoint.jpg",
        "ImageSets/Main/._val.txt",
    ):
        path = voc_folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"\x00\x05\x16\x07")
    dataset = load_voc(voc_folder, "mine", None, ("trainval",))
    assert len(dataset) == 8
    assert dataset.notes == (
        "3 files whose names begin with a dot or belong to the system: ignored",
    )
    shutil.rmtree(voc_folder / "ImageSets")
    assert len(load_voc(voc_folder, "mine", None, ())) == 8


def test_images_without_xml(voc_folder: Path) -> None:
    for name in ("extra", "spare"):
        Image.new("RGB", (60, 40)).save(voc_folder / "JPEGImages" / f"{name}.jpg")
    listed = load_voc(voc_folder, "mine", "train", ())
    assert len(listed) == 4
    assert "2 images in" in listed.notes[0]
    assert "extra: left out" in listed.notes[0]
    write_list(voc_folder, "val", "000002\nextra\n")
    dataset = load_voc(voc_folder, "mine", "val", ())
    assert len(dataset.ground_truth(1).labels) == 0
    assert dataset.notes[0].startswith("1 of 2 listed images have no XML file, such as extra")
    assert "spare: left out" in dataset.notes[1]
    shutil.rmtree(voc_folder / "ImageSets")
    assert len(load_voc(voc_folder, "mine", None, ())) == 8


@pytest.mark.parametrize(("lines", "message"), [
    (" ".join(TRAIN), r"train.txt: 'img_0 img_1 .*' names several images"),
    ("img_0 img_9", "img_0"), ("img_99", "img_99 is listed, but .* has no img_99.xml"),
    ("# none\n", "train.txt lists no images"),
])  # fmt: skip
def test_lines_of_lists_that_name_several_images_or_none(
    tmp_path: Path, lines: str, message: str
) -> None:
    listed(tmp_path, "train.txt", lines)
    if message == "img_0":  # the second word may be anything else
        assert open_dataset(str(tmp_path), split="train").ids == ("img_0",)
        return
    with pytest.raises(DataError, match=message):
        open_dataset(str(tmp_path), split="train")


def test_quoted_names_in_a_list(tmp_path: Path) -> None:
    voc(tmp_path)
    (tmp_path / "train.txt").write_text("".join(f'"{name}",\n' for name in TRAIN))
    assert_read(opened(tmp_path, "train"), TRAIN)


@pytest.mark.parametrize("line", ["{}", "C:\\x\\{}.PNG", "a/{}.png b/{}.xml", "'{}',", "{}  -1"])
def test_annotations_in_no_list_are_told(tmp_path: Path, line: str) -> None:
    listed(tmp_path, "train.txt", "\n".join(line.format(name, name) for name in TRAIN))
    note = "left out 2 annotated images that are in no list, such as img_6"
    assert note in opened(tmp_path, "train").notes
    (tmp_path / "test.txt").write_bytes(b"\xff\0")
    assert note in opened(tmp_path, "train").notes
    (tmp_path / "val.txt").write_text("img_6\nimg_7\n")
    assert note not in opened(tmp_path, "train").notes


def test_lists_that_are_no_splits(tmp_path: Path) -> None:
    voc(tmp_path)
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "default.txt").write_text("\n".join(OBJECTS))
    assert len(opened(tmp_path, "train")) == 6
    assert len(opened(tmp_path, "val")) == 2


def test_a_list_of_names_of_deeper_annotations(tmp_path: Path) -> None:
    voc(tmp_path, "annotations/xmls", "images")
    lines = "".join(f"{name} 1 1 2\n" for name in TRAIN)
    (tmp_path / "annotations" / "trainval.txt").write_text(lines)
    assert_read(opened(tmp_path, "trainval"), TRAIN)


def test_a_listed_image_with_two_xml_files_is_not_background(tmp_path: Path) -> None:
    voc(tmp_path, "Annotations/upright")
    voc(tmp_path, "Annotations/turned")
    (tmp_path / "train.txt").write_text("img_0\nimg_1\n")
    with pytest.raises(DataError, match="img_0 may be annotated in turned/img_0, upright/img_0"):
        open_dataset(str(tmp_path), split="train")


def test_an_annotation_goes_with_the_image_that_it_names(tmp_path: Path) -> None:
    voc(tmp_path)
    for path in (tmp_path / "Annotations").iterdir():
        path.rename(path.with_stem(path.stem.replace("img", "ann")))
    found = opened(tmp_path)
    assert_read(found)
    assert any("not named like their images" in note for note in found.notes)


def test_the_image_of_another_annotation_is_not_taken(tmp_path: Path) -> None:
    voc(tmp_path, file="img_1.png")
    (tmp_path / "JPEGImages" / "img_5.png").unlink()
    with pytest.raises(DataError, match=r"1 of 8 images cannot be read: no such file: .*img_5"):
        opened(tmp_path)


def test_frames_of_another_sequence_are_not_taken(tmp_path: Path) -> None:
    for sequence in ("seq1", "seq2"):
        folder = tmp_path / "Annotations" / sequence
        folder.mkdir(parents=True)
        (folder / "img_0.xml").write_text(xml("img_0", OBJECTS["img_0"], OBJECT, ""))
    write_images(tmp_path / "JPEGImages" / "seq2", ["img_0"])
    with pytest.raises(DataError, match=r"1 of 2 images cannot be read: no such file: .*seq1"):
        opened(tmp_path)
