"""The files of annotation tools; the objects are those of strangers.py."""

from __future__ import annotations

import csv
import json
import shutil
import time
from pathlib import Path

import pytest

import tool_files
from frcnn_cli.data.checks import check_dataset
from frcnn_cli.data.recognise import recognise
from frcnn_cli.data.registry import TOOL_KEYS, names_dataset, open_dataset
from frcnn_cli.data.tools import TOOLS
from frcnn_cli.errors import DataError
from strangers import HEIGHT, OBJECTS, WIDTH, Objects, assert_read, boxes, write_images


def test_every_tool_has_a_name() -> None:
    assert tuple(TOOLS) == TOOL_KEYS
    assert {name.partition(" ")[0] for name in tool_files.FILES} == set(TOOLS)


@pytest.mark.parametrize("name", tool_files.FILES)
def test_the_files_of_a_tool_are_read(tmp_path: Path, name: str) -> None:
    key = name.partition(" ")[0]
    tool_files.write(tmp_path, tool_files.FILES[name](), tool_files.IMAGES.get(name, "images"))
    assert names_dataset(str(tmp_path))
    assert recognise(tmp_path)[:2] == (key, TOOLS[key].title)
    for place in (str(tmp_path), f"{key}:{tmp_path}"):
        found = check_dataset(open_dataset(place))
        assert found.split == "all"
        assert_read(found, tool_files.objects_of(key), within=1e-3)
    parts = [open_dataset(str(tmp_path), split=split) for split in ("train", "val")]
    assert [len(part) for part in parts] == [6, 2]


@pytest.mark.parametrize("name", [name for name, t in TOOLS.items() if not t.is_per_image])
def test_one_file_is_enough(tmp_path: Path, name: str) -> None:
    contents = tool_files.FILES[name]()
    tool_files.write(tmp_path, contents, tool_files.IMAGES.get(name, "images"))
    file = tmp_path / next(iter(contents))
    assert recognise(file).format == name
    assert len(check_dataset(open_dataset(str(file)))) == len(OBJECTS)


@pytest.mark.parametrize(
    ("train", "val"),
    [
        (
            "wider_face_split/wider_face_train_bbx_gt.txt",
            "wider_face_split/wider_face_val_bbx_gt.txt",
        ),
        ("train/gt.txt", "valid/gt.txt"),
    ],
)
def test_splits_are_in_the_names_of_files_or_folders(tmp_path: Path, train: str, val: str) -> None:
    names = list(OBJECTS)
    parts = {train: names[:6], val: names[6:]}
    text = {
        file: next(iter(tool_files.wider({n: OBJECTS[n] for n in own}).values()))
        for file, own in parts.items()
    }
    tool_files.write(tmp_path, text)
    for split, own in zip(("train", "val"), parts.values(), strict=True):
        assert sorted(path.stem for path in open_dataset(str(tmp_path), split=split).paths) == own
    with pytest.raises(DataError, match="no split test"):
        open_dataset(str(tmp_path), split="test")


def test_cvat_names_the_splits_of_images(tmp_path: Path) -> None:
    (text,) = tool_files.cvat().values()
    for index in range(8):
        subset = "Validation" if index > 5 else "Train"
        text = text.replace(f'<image id="{index}"', f'<image subset="{subset}" id="{index}"')
    tool_files.write(tmp_path, {"annotations.xml": text})
    assert len(open_dataset(str(tmp_path), split="val")) == 2


def test_a_file_for_each_image_goes_with_the_image_of_its_folder(tmp_path: Path) -> None:
    own = {"img_0": OBJECTS["img_0"]}
    for number, folder in enumerate(("a", "b")):
        content = json.loads(next(iter(tool_files.labelme(own).values())))
        content |= {"imagePath": "img_0.png"}
        content["shapes"][0]["label"] = f"class {number}"
        write_images(tmp_path / folder, own)
        (tmp_path / folder / "img_0.json").write_text(json.dumps(content))
    found = open_dataset(str(tmp_path))
    assert [(path.parent.name, each.names) for path, each in
            zip(found.paths, found.annotations, strict=True)] == [
        ("a", ("class 0",)), ("b", ("class 1",)),
    ]  # fmt: skip


TWO = {"img_0": OBJECTS["img_0"], "img_1": OBJECTS["img_1"]}
OTHERS = {"img_0": OBJECTS["img_2"], "img_1": OBJECTS["img_3"]}


def write_in_folder(folder: Path, name: str, objects: Objects, images: str) -> None:
    write_images(folder / images, objects)
    for file, text in tool_files.FILES[name](objects).items():
        (folder / file).write_text(text)


@pytest.mark.parametrize("name", ["via", "labelstudio", "createml", "bdd", "cvat"])
@pytest.mark.parametrize("images", ["", "images"])
def test_images_of_one_name_in_two_folders(tmp_path: Path, name: str, images: str) -> None:
    parts = {"task_1": TWO, "task_2": OTHERS}
    for folder, objects in parts.items():
        write_in_folder(tmp_path / folder, name, objects, images)
    found = check_dataset(open_dataset(str(tmp_path)))
    assert len(found) == len(set(found.paths)) == 4
    for index, path in enumerate(found.paths):
        own = parts[path.relative_to(tmp_path).parts[0]][path.stem]
        read = boxes(found.select([index]))[path.stem]
        for mine, other in zip(read, own, strict=True):
            assert mine[1:] == pytest.approx(other[1:], abs=1e-3)


def test_images_of_one_name_in_two_splits(tmp_path: Path) -> None:
    for split, objects in (("train", TWO), ("valid", OTHERS)):
        write_in_folder(tmp_path / split, "createml", objects, "")
    for split, folder, objects in (("train", "train", TWO), ("val", "valid", OTHERS)):
        found = open_dataset(str(tmp_path), split=split)
        assert {path.parent.name for path in found.paths} == {folder}
        assert boxes(found) == objects


def test_the_images_of_a_split_are_missing(tmp_path: Path) -> None:
    for split, objects in (("train", TWO), ("valid", OTHERS)):
        write_in_folder(tmp_path / split, "createml", objects, "")
    for path in (tmp_path / "valid").glob("*.png"):
        path.unlink()
    with pytest.raises(DataError, match=r"img_0\.png, of split val, is only in .*/train"):
        open_dataset(str(tmp_path), split="val")


@pytest.mark.parametrize("is_apart", [True, False])
def test_images_of_one_name_in_two_subsets_of_cvat(tmp_path: Path, is_apart: bool) -> None:
    (train,), (val,) = (tool_files.cvat(own).values() for own in (TWO, OTHERS))
    rows = [
        text[text.index("<image ") : text.rindex("</annotations>")].replace(
            "<image ", f'<image subset="{subset}" '
        )
        for subset, text in (("Train", train), ("Validation", val))
    ]
    head = train[: train.index("<image ")]
    (tmp_path / "annotations.xml").write_text(head + "".join(rows) + "</annotations>")
    for subset in ("Train", "Validation"):
        write_images(tmp_path / "images" / (subset if is_apart else ""), TWO)
    if not is_apart:
        with pytest.raises(DataError, match=r"\(Train\) and .*\(Validation\) both have the image"):
            open_dataset(str(tmp_path))
        return
    for split, folder, objects in (("train", "Train", TWO), ("val", "Validation", OTHERS)):
        found = open_dataset(str(tmp_path), split=split)
        assert {path.parent.name for path in found.paths} == {folder}
        assert boxes(found) == objects


def test_two_files_that_have_the_same_image_are_named(tmp_path: Path) -> None:
    write_in_folder(tmp_path, "via", TWO, "")
    (text,) = tool_files.via(OTHERS).values()
    (tmp_path / "second.json").write_text(text)
    with pytest.raises(DataError, match=r"second\.json and .*via_region_data\.json both have"):
        open_dataset(str(tmp_path))


def test_a_project_of_via_for_videos_is_refused(tmp_path: Path) -> None:
    tool_files.write(
        tmp_path, tool_files.via_3(), change=lambda s: s.replace('"type": 2', '"type": 4')
    )
    with pytest.raises(DataError, match="it annotates videos, sounds or several images together"):
        open_dataset(str(tmp_path))


@pytest.mark.parametrize(
    ("value", "label"), [("K", "sky"), ("K,", "sky"), ("K,C", None), ("", None), ("cow", "cow")]
)
def test_options_of_via(tmp_path: Path, value: str, label: str | None) -> None:
    content = json.loads(*tool_files.via_3().values())
    content["attribute"]["1"] |= {"type": 2, "options": {"K": "sky", "C": "car"}}
    content["file"]["1"] |= {"fname": "a title", "loc": 2, "src": "http://a.b/c/img_0.png"}
    for row in content["metadata"].values():
        row["av"] = {"1": value}
    tool_files.write(tmp_path, {"via.json": json.dumps(content)})
    if label is None:
        with pytest.raises(DataError, match=r"img_0\.png has no class"):
            open_dataset(str(tmp_path))
    else:
        found = open_dataset(str(tmp_path))
        assert (found.classes, boxes(found).keys()) == ((label,), OBJECTS.keys())


def test_difficult_objects(tmp_path: Path) -> None:
    tool_files.write(
        tmp_path / "dota", tool_files.with_shape("dota", "10 20 20 10 30 20 20 30 x 1")
    )
    text = "0--Parade/img_0.png\n2\n1 2 9 9 0 0 0 1 0 0\n1 2 20 20 2 0 0 0 0 0\n"
    tool_files.write(tmp_path / "wider", {"x_bbx_gt.txt": text})
    for folder in ("dota", "wider"):
        assert open_dataset(str(tmp_path / folder)).ground_truth(0).difficult.sum() == 1


@pytest.mark.parametrize(
    ("attributes", "label"),
    [
        ({}, "object"), ({"anything": "cat"}, "cat"), ({"class": "cat", "age": "old"}, "cat"),
        ({"kind": {"cat": True, "dog": False}}, "cat"), ({"a": "x", "b": "y"}, None),
        ({"a": ""}, None), ({"kind": {"cat": True, "dog": True}}, None),
    ],
)  # fmt: skip
def test_the_class_of_a_region(tmp_path: Path, attributes: dict, label: str | None) -> None:
    content = json.loads(*tool_files.via().values())
    for row in content.values():
        for region in row["regions"]:
            region["region_attributes"] = attributes
    tool_files.write(tmp_path, {"via.json": json.dumps(content)})
    if label is None:
        with pytest.raises(
            DataError, match=r"img_0\.png has no class|which attribute is the class: a"
        ):
            open_dataset(str(tmp_path))
    else:
        assert open_dataset(str(tmp_path)).classes == (label,)


@pytest.mark.parametrize("form", ["json", "csv"])
def test_another_attribute_is_not_the_class_that_is_not_filled_in(
    tmp_path: Path, form: str
) -> None:
    content = json.loads(*tool_files.via().values())
    for row in content.values():
        for region in row["regions"]:
            region["region_attributes"] |= {"hidden": ""}
    content["img_0.png123"]["regions"][0]["region_attributes"] = {"type": "", "hidden": "no"}
    if form == "json":
        tool_files.write(tmp_path, {"via.json": json.dumps(content)})
    else:
        write_images(tmp_path)
        with (tmp_path / "via.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["filename", "region_shape_attributes", "region_attributes"])
            for row in content.values():
                for region in row["regions"]:
                    rows.writerow([row["filename"], *map(json.dumps, region.values())])
    with pytest.raises(
        DataError, match=r"a region of img_0.png has no class|via.csv:2: the box has no"
    ):
        open_dataset(str(tmp_path))


def test_a_file_of_labelme_goes_with_the_image_beside_it(tmp_path: Path) -> None:
    """Files that were renamed together with their images name the earlier ones."""
    for index, (file, text) in enumerate(tool_files.labelme().items()):
        content = json.loads(text) | {"imagePath": f"img_{index + 1}.png"}
        tool_files.write(tmp_path, {Path(file).name: json.dumps(content)}, "")
    found = open_dataset(str(tmp_path))
    assert boxes(found) == OBJECTS
    note = "8 files name an image that is called otherwise: img_0.json names img_1.png, but goes"
    assert any(note in each for each in found.notes)


def test_the_image_in_a_file_of_labelme_may_come_first(tmp_path: Path) -> None:
    tool_files.write(
        tmp_path,
        tool_files.labelme(),
        change=lambda s: json.dumps({"imageData": "x" * 100_000, **json.loads(s)}),
    )
    assert boxes(open_dataset(str(tmp_path))) == OBJECTS


@pytest.mark.parametrize(("old", "new"), [(" ", "\t"), (" ", "  "), (" 1.6 ", " 1.6e+00 ")])
def test_rows_of_kitti(tmp_path: Path, old: str, new: str) -> None:
    tool_files.write(tmp_path, tool_files.kitti(), "image_2", lambda s: s.replace(old, new))
    assert boxes(open_dataset(str(tmp_path))) == OBJECTS


def test_a_class_of_kitti_with_a_blank_is_refused(tmp_path: Path) -> None:
    """The columns behind it were taken for others."""
    contents = tool_files.kitti()
    contents["label_2/img_2.txt"] = "round " + contents["label_2/img_2.txt"]
    tool_files.write(tmp_path, contents, "image_2")
    with pytest.raises(DataError, match=r"img_2\.txt looks like .*expected numbers, got"):
        open_dataset(str(tmp_path))


def test_crowds_of_bdd_are_difficult(tmp_path: Path) -> None:
    content = json.loads(*tool_files.bdd().values())
    for row in content[:2]:
        row["labels"][0]["attributes"] = {"crowd": row is content[0], "occluded": True}
    tool_files.write(tmp_path, {"det.json": json.dumps(content)})
    found = open_dataset(str(tmp_path))
    assert [each.difficult.any() for each in found.annotations[:2]] == [True, False]


@pytest.mark.parametrize("first", ["img_0", "img_2"])
def test_wider_without_rows_of_zeros_and_with_fractions(tmp_path: Path, first: str) -> None:
    own = {**tool_files.objects_of("wider"), first: []}
    (text,) = tool_files.wider(own).values()
    text = text.replace("0 0 0 0 0 0 0 0 0 0 \n", "").replace(" 0 0 0 0 0 0 ", ".0")
    tool_files.write(tmp_path, {"train_bbx_gt.txt": text}, "WIDER/images/0--Parade")
    found = open_dataset(str(tmp_path))
    assert {name: sorted(each) for name, each in boxes(found).items()} == {
        name: sorted(each) for name, each in own.items()
    }


@pytest.mark.parametrize("flags", ["", "- - - True - - "])
def test_cvats_lists_of_wider_face_name_other_classes(tmp_path: Path, flags: str) -> None:
    text = "no_label/img_0.png\n"  # an image without objects, as CVAT writes it
    for name, own in list(OBJECTS.items())[1:]:
        rows = (f"{x1}.0 {y1}.0 {x2 - x1}.0 {y2 - y1}.0 {flags}{c}" for c, x1, y1, x2, y2 in own)
        text += "\n".join((f"no_label/{name}.png", str(len(own)), *rows, ""))
    file = "wider_face_split/wider_face_default_bbx_gt.txt"
    tool_files.write(tmp_path, {file: text}, "WIDER_default/images/no_label")
    assert recognise(tmp_path).format == "wider"
    assert boxes(open_dataset(str(tmp_path))) == {**OBJECTS, "img_0": []}


def test_a_folder_is_listed_once_for_many_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """labelImg writes a file of CreateML for each image: listings for each took hours."""
    (text,) = tool_files.createml().values()
    files = {f"{row['image']}.json": json.dumps([row]) for row in json.loads(text)}
    tool_files.write(tmp_path, files, "deep/er")
    listed: list[Path] = []
    monkeypatch.setattr(
        "frcnn_cli.data.locate.list_folder", lambda folder: listed.append(folder) or []
    )
    open_dataset(f"createml:{tmp_path}")
    assert listed.count(tmp_path) <= 2


@pytest.mark.parametrize(
    ("image", "rows"), [("imagefilename", "annotation"), ("image", "annotation")]
)
def test_other_keys_of_createml(tmp_path: Path, image: str, rows: str) -> None:
    (text,) = tool_files.createml().values()
    text = text.replace('"image"', f'"{image}"').replace('"annotations"', f'"{rows}"')
    tool_files.write(tmp_path, {"createml.json": text})
    assert boxes(open_dataset(str(tmp_path))) == OBJECTS


def test_splits_of_some_images_alone_are_told(tmp_path: Path) -> None:
    (text,) = tool_files.cvat().values()
    text = text.replace('<image id="0"', '<image subset="Validation" id="0"')
    tool_files.write(tmp_path, {"annotations.xml": text})
    assert any("7 images are in no split" in note for note in open_dataset(str(tmp_path)).notes)


def test_files_whose_first_object_is_very_long_are_of_their_tools(tmp_path: Path) -> None:
    """Such a file among others was left out."""
    points = [[4 + i % 24, 6 + i % 20] for i in range(20_000)] + [[28, 26]]
    labelme = {"shapes": [{"label": "disc", "points": points}], "imagePath": "../images/img_0.png"}
    sly = {"objects": [{"geometryType": "polygon", "tags": [], "classTitle": "disc",
                        "points": {"exterior": points}}],
           "size": {"height": HEIGHT, "width": WIDTH}}  # fmt: skip
    xs, ys = zip(*points, strict=True)
    shape = {"name": "polygon", "all_points_x": xs, "all_points_y": ys}
    regions = [{"shape_attributes": shape, "region_attributes": {"type": "disc"}}]
    via = {"img_0": {"filename": "img_0.png", "regions": regions, "file_attributes": {}}}
    for name, content in (("a", labelme), ("b/img_0.png", sly), ("c", via)):
        folder = tmp_path / name[0]
        tool_files.write(folder / "x", {f"{name.rpartition('/')[2]}.json": json.dumps(content)})
        assert boxes(open_dataset(str(folder)))["img_0"] == [("disc", 4, 6, 28, 26)]


DAMAGES = {
    "labelme": ('"points"', '"p"'), "via": ('"rect"', '"rct"'), "via project": ('"x"', '"X"'),
    "via 3": ('"xy": [2', '"xy": [10'), "labelstudio csv": ('""disc""', '""disc"", ""x""'),
    "labelstudio": ('"rotation": 0', '"rotation": "a"'), "labelstudio min": ('["disc"]', "[]"),
    "supervisely": ('"disc"', '""'), "createml": ('"width"', '"w"'), 
    "bdd": ('"y2": 26', '"y2": "a"'), "bdd image": ('"y2": 26', '"y2": "a"'),
    "cvat": ("xtl", "x"), "kitti": (" 4.00 ", " 4,000 "), "dota": ("4.0 ", "4_0 "),
    "wider": ("\n1\n", "\n2\n"), "visdrone": ("1,4,0", "1,12,0"), "pascal": ("(28, 26)", "(28)"),
}  # fmt: skip


@pytest.mark.parametrize("name", tool_files.FILES)
def test_damaged_files_are_refused_by_name(tmp_path: Path, name: str) -> None:
    contents = tool_files.FILES[name]()
    file, text = next(iter(contents.items()))
    assert DAMAGES[name][0] in text
    damaged = {**contents, file: text.replace(*DAMAGES[name], 1)}
    tool_files.write(tmp_path, damaged, tool_files.IMAGES.get(name, "images"))
    with pytest.raises(DataError, match=f"{Path(file).name} looks like") as error:
        open_dataset(str(tmp_path))
    assert error.value.hint == "export it again, or mend it"


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("labelme", '"points": [[', '"points": [["x"], [', "a point is not two numbers, but ['x']"),
        ("labelme", '"shapes": [', '"shapes": [7, ', "a part of it is something else"),
        ("via", '"regions": [', '"regions": [null, ', "a part of it is something else"),
        ("kitti", " -1.57 4.00", "\n", "a row has not 15 values, but 3"),
        ("createml", '"x": 16.0', '"x": null', "a coordinate is no number"),
        ("labelstudio", '"original_width": 96', '"original_width": null', "is no number"),
    ],
)
def test_what_is_wrong_with_a_file_is_not_said_in_pythons_words(
    tmp_path: Path, name: str, old: str, new: str, message: str
) -> None:
    contents = tool_files.FILES[name]()
    file, text = next(iter(contents.items()))
    assert old in text
    damaged = {**contents, file: text.replace(old, new, 1)}
    tool_files.write(tmp_path, damaged, tool_files.IMAGES.get(name, "images"))
    with pytest.raises(DataError) as error:
        open_dataset(f"{name}:{tmp_path}")
    assert message in error.value.message


@pytest.mark.parametrize("side", ["imageWidth", "imageHeight"])
def test_a_size_of_one_side_is_none(tmp_path: Path, side: str) -> None:
    (text, *_) = tool_files.labelme().values()
    content = json.loads(text) | {side: None, "imagePath": "img_0.png"}
    tool_files.write(tmp_path, {"img_0.json": json.dumps(content)}, "")
    assert open_dataset(str(tmp_path)).annotations[0].size is None


def test_classes_that_are_numbers(tmp_path: Path) -> None:
    def change(text: str) -> str:
        return text.replace('"disc"', "7").replace('"square"', "0")

    tool_files.write(tmp_path, tool_files.labelme(), change=change)
    found = open_dataset(str(tmp_path))
    assert found.classes == ("0", "7")
    assert len(found) == len(OBJECTS)


def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    (text,) = tool_files.wider().values()
    tool_files.write(tmp_path, {"x_bbx_gt.txt": text.replace("img_0", "img\0_0")})
    with pytest.raises(DataError, match="1 of 8 images cannot be read"):
        check_dataset(open_dataset(str(tmp_path)))


def test_images_that_no_file_names_are_told(tmp_path: Path) -> None:
    own = {name: each for name, each in OBJECTS.items() if name != "img_3"}
    tool_files.write(tmp_path, tool_files.labelme(own))
    found = open_dataset(str(tmp_path))
    assert len(found) == 7
    image = tmp_path / "images" / "img_3.png"
    assert f"left out 1 image that no file annotates, first {image}" in found.notes


def test_images_without_objects(tmp_path: Path) -> None:
    empty = {**OBJECTS, "img_0": []}
    for key in ("labelme", "cvat", "kitti", "wider", "visdrone", "pascal"):
        contents = getattr(tool_files, key)(empty)
        tool_files.write(tmp_path / key, contents, tool_files.IMAGES.get(key, "images"))
        found = open_dataset(str(tmp_path / key))
        assert len(found) == len(OBJECTS)
        assert boxes(found)["img_0"] == []
        assert "took 1 image without a box for background" in found.notes


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("dota", "imagesource:" + " " * 10_000 + "x"),
        ("cvat", "<?xml " + "?><!---->" * 7_000),
        ("labelstudio", "annotation_id" * 5_000),
        ("kitti", "a" + " \t" * 30_000 + "x"),
    ],
)
def test_long_texts_of_another_kind_take_no_time(key: str, text: str) -> None:
    start = time.process_time()
    assert not TOOLS[key].is_own(text)
    assert time.process_time() - start < 1


def video(first: int = 0) -> str:
    """Each image of OBJECTS is a frame, in which an object is alone, and outside of the next."""
    box = '<box frame="{}" outside="{}" keyframe="1" xtl="{}" ytl="{}" xbr="{}" ybr="{}"/>'
    tracks = [
        f'<track label="{c}">{box.format(frame, 0, *corners)}{box.format(frame + 1, 1, *corners)}'
        "</track>"
        for frame, own in enumerate(OBJECTS.values(), start=first)
        for c, *corners in own
    ]
    size = f"<original_size><width>{WIDTH}</width><height>{HEIGHT}</height></original_size>"
    return f"<annotations><meta><task>{size}</task></meta>{''.join(tracks)}</annotations>"


def test_frames_of_a_video_of_cvat(tmp_path: Path) -> None:
    tool_files.write(tmp_path, {"annotations.xml": video()}, "images")
    for index, name in enumerate(OBJECTS):
        (tmp_path / f"images/{name}.png").rename(tmp_path / f"images/frame_{index:06}.PNG")
    shutil.copy(tmp_path / "images/frame_000007.PNG", tmp_path / "images/frame_000008.PNG")
    found = boxes(check_dataset(open_dataset(str(tmp_path))))
    assert found == {
        **{f"frame_{index:06}": own for index, own in enumerate(OBJECTS.values())},
        "frame_000008": [],
    }


def test_frames_of_several_videos_of_cvat_are_not_mixed(tmp_path: Path) -> None:
    tracks = "".join(
        f'<track id="{n}" task_id="{n}" label="disc"><box frame="0" outside="0" xtl="1" ytl="2" '
        'xbr="30" ybr="40"/></track>'
        for n in range(2)
    )
    tool_files.write(tmp_path, {"a.xml": f"<annotations><version/>{tracks}</annotations>"})
    with pytest.raises(DataError, match="several tasks, whose frames have the same numbers"):
        open_dataset(str(tmp_path))


@pytest.mark.parametrize("name", ["labelstudio", "createml", "bdd", "cvat", "wider"])
def test_an_image_that_a_file_has_twice_is_named(tmp_path: Path, name: str) -> None:
    ((file, text),) = tool_files.FILES[name]().items()
    text = text.replace("img_1.png", "img_0.png")
    tool_files.write(tmp_path, {file: text}, tool_files.IMAGES.get(name, "images"))
    with pytest.raises(DataError, match=r"has twice the image .*img_0\.png"):
        open_dataset(str(tmp_path))


def test_frames_that_are_numbered_from_one_are_not_taken_for_those_before(tmp_path: Path) -> None:
    tool_files.write(tmp_path, {"annotations.xml": video(first=1)}, "images")
    for index, name in enumerate(OBJECTS):
        (tmp_path / f"images/{name}.png").rename(tmp_path / f"images/frame_{index + 1:06}.png")
    with pytest.raises(DataError, match="frame_000000"):
        check_dataset(open_dataset(str(tmp_path)))


def test_no_files_of_the_tool(tmp_path: Path) -> None:
    write_images(tmp_path)
    with pytest.raises(DataError, match="no file of LabelMe's JSON"):
        open_dataset(f"labelme:{tmp_path}")


def test_some_images_of_one_name_in_two_splits_of_any_folders(tmp_path: Path) -> None:
    for split, names in (("train", ("img_0", "img_1", "img_2")), ("val", ("img_0",))):
        own = {name: OBJECTS[name] for name in names}
        tool_files.write(tmp_path / "json" / split, tool_files.via(own), "nowhere")
        shutil.rmtree(tmp_path / "json" / split / "nowhere")
        write_images(tmp_path / split, own)
    found = check_dataset(open_dataset(str(tmp_path), split="train"))
    assert [path.relative_to(tmp_path).as_posix() for path in found.paths] == [
        "train/img_0.png", "train/img_1.png", "train/img_2.png",
    ]  # fmt: skip
