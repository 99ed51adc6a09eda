from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from formats import write_coco, write_yolo
from frcnn_cli.data import voc_layout
from frcnn_cli.data.checks import check_dataset
from frcnn_cli.data.images import SUFFIXES
from frcnn_cli.data.recognise import fits_any_format, recognise
from frcnn_cli.data.registry import names_dataset, open_dataset
from frcnn_cli.data.sources import find_files
from frcnn_cli.errors import ConfigError, DataError, SplitError
from strangers import voc

DEFAULTS = ("trainval", "train")
CASES = Path(__file__).parents[3] / "shared" / "cases"


@pytest.fixture
def folders(voc_folder: Path, tmp_path: Path) -> dict[str, Path]:
    """A folder of each format, with the same images."""
    coco = write_coco(voc_folder, tmp_path / "coco").parent.parent
    table = tmp_path / "csv"
    shutil.copytree(voc_folder / "JPEGImages", table / "images")
    names = sorted(path.name for path in (table / "images").iterdir())
    rows = "".join(f"{name},ball,1,1,30,30\n" for name in names)
    (table / "boxes.csv").write_text(f"filename,class,xmin,ymin,xmax,ymax\n{rows}")
    yolo = write_yolo(voc_folder, tmp_path / "yolo")
    return {"voc": voc_folder, "coco": coco, "yolo": yolo, "csv": table}


@pytest.mark.parametrize("name", ["voc", "coco", "yolo", "csv"])
def test_a_folder_is_recognised(folders: dict[str, Path], name: str) -> None:
    folder = folders[name]
    assert recognise(folder).format == name
    assert names_dataset(str(folder))
    found = open_dataset(str(folder), None, "val", DEFAULTS)
    assert found.notes[0].startswith(f"read {folder} as {name.upper()}: ")
    prefixed = open_dataset(f"{name}:{folder}", None, "val", DEFAULTS)
    assert (found.ids, found.classes) == (prefixed.ids, prefixed.classes)
    assert prefixed.notes == found.notes[1:]


@pytest.mark.parametrize(
    ("name", "file"),
    [("coco", "annotations/instances_val.json"), ("yolo", "data.yaml"), ("csv", "boxes.csv")],
)
def test_a_file_is_recognised(folders: dict[str, Path], name: str, file: str) -> None:
    path = folders[name] / file
    assert recognise(path)[0] == name
    assert len(open_dataset(str(path), None, None, DEFAULTS))


def test_a_folder_that_fits_several_formats_is_refused(folders: dict[str, Path]) -> None:
    folder = folders["yolo"]
    (folder / "annotations").mkdir()
    content = {"images": [], "categories": [], "annotations": []}
    (folder / "annotations" / "all.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"can be read in 2 ways: coco: .*; yolo: ") as error:
        open_dataset(str(folder), None, None, DEFAULTS)
    assert f"choose one: coco:{folder}, yolo:{folder}" in error.value.hint
    assert open_dataset(f"yolo:{folder}", None, None, DEFAULTS).name == "yolo:yolo"


def test_a_folder_of_photographs_is_no_data_set(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = folders["csv"] / "images"
    (folder / "notes.txt").write_text("holiday")
    (folder / "coco.json").write_text('[{"image_id": 1}]')
    assert not fits_any_format(folder)
    assert not names_dataset(str(folder))
    with pytest.raises(DataError, match="no data set of a known format") as error:
        open_dataset(str(folder), None, None, DEFAULTS)
    for word in ("VOC", "COCO", "YOLO", "CSV"):
        assert word in error.value.hint
    (folder / "detections.csv").write_text("image,label,score,x1,y1,x2,y2\n")
    assert not fits_any_format(folder)
    assert not fits_any_format(folder / "notes.txt")


def test_xml_files_beside_the_images_are_voc(voc_folder: Path, tmp_path: Path) -> None:
    flat = tmp_path / "side_by_side"
    flat.mkdir()
    for path in [*voc_folder.glob("JPEGImages/*"), *voc_folder.glob("Annotations/*")]:
        path.rename(flat / path.name)
    assert recognise(flat)[0] == "voc"
    assert len(open_dataset(str(flat), None, None, DEFAULTS)) == 8


def test_several_files_of_settings(folders: dict[str, Path]) -> None:
    folder = folders["yolo"]
    shutil.copy(folder / "data.yaml", folder / "a.yaml")
    (folder / "data.yaml").rename(folder / "b.yaml")
    with pytest.raises(DataError, match=r"several files of settings: a\.yaml, b\.yaml"):
        open_dataset(str(folder), None, None, DEFAULTS)
    assert open_dataset(str(folder / "b.yaml"), None, None, DEFAULTS).split == "train"


def test_what_does_not_exist_is_a_name() -> None:
    with pytest.raises(ConfigError, match="unknown data set or path"):
        open_dataset("nowhere/at/all", None, None, DEFAULTS)
    assert not names_dataset("nowhere/at/all")
    assert names_dataset("voc2007")
    assert names_dataset("coco:x.json")


def test_folders_are_joined_and_shared_ids_are_qualified(folders: dict[str, Path]) -> None:
    shutil.copytree(folders["coco"], other := folders["coco"].with_name("other"))
    for name in (f"coco:{folders['coco']}+coco:{other}", f"{folders['coco']}+{other}"):
        found = open_dataset(name, None, None, ("val",))
        assert found.ids[:2] == ("coco/1", "coco/2")
        assert found.ids[8:10] == ("other/1", "other/2")
        assert len(found.ground_truths()) == 16
        assert any("share 8 names" in note for note in found.notes)
    files = [f"coco:{folder}/annotations/instances_val.json" for folder in (folders["coco"], other)]
    assert open_dataset("+".join(files), None, None, ()).ids[8] == "other/1"


def test_only_the_shared_ids_are_qualified(voc_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(voc_folder, tmp_path / "b")
    lists = tmp_path / "b" / "ImageSets" / "Main"
    (lists / "mine.txt").write_text("000002\n000001\n")
    (voc_folder / "ImageSets" / "Main" / "mine.txt").write_text("000002\n000003\n")
    found = open_dataset(f"voc:{voc_folder}+voc:{tmp_path / 'b'}", None, "mine", ())
    assert found.ids == ("voc/000002", "000003", "b/000002", "000001")


def test_train_and_val_without_lists(voc_folder: Path) -> None:
    shutil.rmtree(voc_folder / "ImageSets")
    for name, data in ((f"voc:{voc_folder}", None), ("voc", voc_folder), (str(voc_folder), None)):
        train, val = (open_dataset(name, data, split, ()) for split in ("train", "val"))
        assert (len(train), len(val), val.split) == (6, 2, "val")
        assert not set(train.ids) & set(val.ids)
        assert open_dataset(name, data, None, DEFAULTS).split == "all"
        with pytest.raises(DataError, match="no split"):
            open_dataset(name, data, "test", ())


def test_lists_go_before_a_split_by_content(voc_folder: Path) -> None:
    (voc_folder / "ImageSets" / "Main" / "train.txt").unlink()
    with pytest.raises(DataError, match="no split 'train'"):
        open_dataset(f"voc:{voc_folder}", None, "train", ())


@pytest.mark.parametrize("stem", ["ann", "result"])
def test_train_and_val_of_a_coco_file(folders: dict[str, Path], stem: str) -> None:
    path = folders["coco"] / "annotations" / "instances_val.json"
    assert open_dataset(f"coco:{path}", None, "val", ()).split == "instances_val"
    with pytest.raises(SplitError, match="is one split"):
        open_dataset(f"coco:{path}", None, "train", ())
    path = path.rename(path.with_name(f"{stem}.json"))
    found = open_dataset(f"coco:{path}", folders["coco"] / "val", "train", ())
    assert (len(found), found.split) == (6, "train")


needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason="needs the shared cases")


@needs_cases
@pytest.mark.parametrize(
    ("name", "split", "images", "objects", "classes"),
    [
        ("base_voc", "train", 12, 22, 2), ("base_voc", "val", 6, 10, 2),
        ("c01_upper", "val", 6, 10, 2), ("c01b_PNG", "val", 2, 4, 2), ("c01e_jfif", "val", 2, 4, 2),
        ("c02_blanks", "val", 6, 10, 2), ("c02b_ending", "val", 2, 4, 2),
        ("c02f_nolists", None, 18, 32, 2),
        ("c03_robo", "valid", 4, 7, 2), ("c03b_samename", "train", 6, 12, 1),
        ("c04_kp3x2", "val", 4, 7, 2), ("c04b_kp1x3", "val", 4, 7, 2),
        ("c04f_boxes", "val", 4, 7, 2),
        ("c05_halved", "val", 4, 6, 2), ("c05b_coco", None, 6, 12, 2),
        ("c05c_onehalved", "train", 8, 16, 2),
        ("c06_backslash", None, 6, 12, 2), ("c06d_dotslash", None, 6, 12, 2),
        ("c07_cct", None, 12, 18, 3),
        ("c08_two/a+c08_two/b", None, 12, 21, 2),
        ("c09_cfg", "val", 4, 7, 2), ("c09c_cfg", "val", 4, 7, 2),
        ("c10_dense", "val", 2, 360, 1),
        ("c11g_ct12", "val", 4, 8, 1), ("c11h_ct16", "val", 4, 8, 1),
        ("c12_tiny", "val", 1, 12, 1), ("c12b_tiles", "train", 30, 32, 1),
        ("c13_apple", "val", 4, 7, 2), ("c13c_apple_yolo", "val", 4, 8, 2),
        ("c14_gb2312", "val", 4, 7, 2), ("c14b_utf8", "val", 4, 7, 2),
        ("c15_three", "val", 3, 5, 3),
        ("c17_polygon", "val", 2, 4, 2), ("c17e_namespace", "val", 2, 4, 2),
        ("c18_flatvoc", "val", 4, 7, 2), ("c21_clean", "val", 4, 8, 2),
        ("c21_ipynb_yolo", "val", 4, 8, 2), ("c22_nfd", "val", 2, 4, 2),
        ("c23_labelimg", None, 6, 12, 2), ("c24_many", "val", 4, 6, 1201),
        ("c26_negatives", "val", 6, 7, 1), ("c30_cvat_yolo", None, 6, 12, 2),
        ("c34_repeat", "train", 3, 5, 2), ("c34c_yolo_repeat", "train", 3, 5, 2),
        ("c35_noxml", "val", 9, 10, 2),
        ("c37_o6_shown", "val", 6, 10, 2), ("c37_o6_stored", "val", 6, 10, 2),
    ],
)  # fmt: skip
def test_shared_cases(
    name: str, split: str | None, images: int, objects: int, classes: int
) -> None:
    whole = "+".join(str(CASES / each) for each in name.split("+"))
    found = check_dataset(open_dataset(whole, None, split, DEFAULTS))
    truths = found.ground_truths()
    counts = (len(found), sum(len(each.labels) for each in truths), len(found.classes))
    assert counts == (images, objects, classes)
    assert len(set(found.ids)) == images


@needs_cases
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("c11e_hu_float", "4 of 4 images .* has negative values"),
        ("c27_truncated", "1 of 4 images .* is damaged"),
        ("c27d_html", "1 of 4 images .* is a web page"),
    ],
)
def test_shared_cases_that_are_refused(name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_dataset(open_dataset(str(CASES / name), None, "val", DEFAULTS))


@needs_cases
@pytest.mark.parametrize(
    ("name", "least", "most"), [("c13d_apple_photos", 3, 3), ("c20_jfif_photos", 8, 10)]
)  # AVIF and HEIC are read where a library is installed
def test_shared_folders_of_photographs(name: str, least: int, most: int) -> None:
    notes: list[str] = []
    found = find_files([str(CASES / name)], SUFFIXES, on_note=notes.append)
    assert least <= len(found) <= most
    assert len(notes) == 1


@needs_cases
def test_shared_phone_pictures_agree_in_either_frame() -> None:
    shown, stored = (
        open_dataset(str(CASES / name), None, "val") for name in ("c37_o6_shown", "c37_o6_stored")
    )
    for a, b in zip(shown.ground_truths(), stored.ground_truths(), strict=True):
        np.testing.assert_array_equal(a.boxes, b.boxes)


def test_a_folder_of_too_many_files_is_not_crawled(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data set of another format is found among them; without one, the error says why."""
    monkeypatch.setattr(voc_layout, "_MAX_SCATTERED", 20)
    for index in range(30):
        (tmp_path / "heap" / str(index)).mkdir(parents=True)
    with pytest.raises(DataError, match="heap holds more than 20 files, too many to look at"):
        recognise(tmp_path / "heap")
    assert not fits_any_format(tmp_path / "heap")
    (folders["coco"] / "more").mkdir()
    (tmp_path / "heap").rename(folders["coco"] / "more" / "heap")
    assert recognise(folders["coco"]).format == "coco"


@pytest.mark.parametrize("file", ["JPEGImages/img_0.png", "Annotations/img_0.xml"])
def test_a_file_of_one_image_is_no_data_set(tmp_path: Path, file: str) -> None:
    voc(tmp_path)
    with pytest.raises(DataError, match="no data set of a known format") as error:
        open_dataset(str(tmp_path / file))
    assert error.value.hint == "name the folder that holds the images and their annotations"
