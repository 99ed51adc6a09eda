from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frcnn_cli.data.csv_boxes import load_csv
from frcnn_cli.data.csv_columns import is_csv_of_boxes
from frcnn_cli.data.dataset import Dataset
from frcnn_cli.data.registry import open_dataset
from frcnn_cli.data.voc import load_voc
from frcnn_cli.errors import DataError
from strangers import CSV, HEADER, OBJECTS, TRAIN, VAL, assert_read, opened, table, write_images

# one row of each form, for `format`
FORMS = {
    "filename,width,height,class,xmin,ymin,xmax,ymax": "{name},{W},{H},{label},{x1},{y1},{x2},{y2}",
    "image,label,x1,y1,x2,y2": "{name},{label},{x1},{y1},{x2},{y2}",
    "image_path;class_name;left;top;right;bottom": "{name};{label};{x1};{y1};{x2};{y2}",
    "Image_ID\tClass\tx\ty\twidth\theight": "{stem}\t{label}\t{x1}\t{y1}\t{w}\t{h}",
    "label_name,bbox_x,bbox_y,bbox_width,bbox_height,image_name,image_width,image_height": (
        "{label},{x1},{y1},{w},{h},{name},{W},{H}"
    ),
    "ImageID,LabelName,XMin,XMax,YMin,YMax": "{stem},{label},{fx1},{fx2},{fy1},{fy2}",
    "file;category;xmin;ymin;w;h": "{name};{label};{x1};{y1};{w};{h}",
    "": "images/{name},{x1},{y1},{x2},{y2},{label}",
}


@pytest.fixture
def voc(voc_folder: Path) -> Dataset:
    dataset = load_voc(voc_folder, "voc", "trainval", ())
    folder = (voc_folder / "JPEGImages").rename(voc_folder / "images")
    return replace(dataset, paths=tuple(folder / path.name for path in dataset.paths))


def write(path: Path, dataset: Dataset, header: str, row: str) -> Path:
    lines = [header] if header else []
    for index, image in enumerate(dataset.paths):
        truth, (height, width) = dataset.ground_truth(index), dataset.size(index)
        for (x1, y1, x2, y2), label in zip(truth.boxes.tolist(), truth.labels, strict=True):
            lines.append(
                row.format(
                    name=image.name,
                    stem=image.stem,
                    label=dataset.classes[label - 1],
                    x1=x1,
                    y1=y1,
                    x2=x2,
                    y2=y2,
                    w=x2 - x1,
                    h=y2 - y1,
                    W=width,
                    H=height,
                    fx1=x1 / width,
                    fx2=x2 / width,
                    fy1=y1 / height,
                    fy2=y2 / height,
                )
            )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return path


@pytest.mark.parametrize("header", FORMS)
def test_usual_columns(voc: Dataset, header: str) -> None:
    path = write(voc.paths[0].parent.parent / "boxes.csv", voc, header, FORMS[header])
    assert is_csv_of_boxes(path)
    found = load_csv(path, None, None, ())
    assert (found.name, found.split, found.classes) == ("csv:boxes.csv", "all", voc.classes)
    assert found.ids == voc.ids
    assert found.paths == voc.paths
    for own, other in zip(found.ground_truths(), voc.ground_truths(), strict=True):
        np.testing.assert_allclose(own.boxes, other.boxes, atol=1e-3)
        assert own.labels.tolist() == other.labels.tolist()


AUTOML = {
    "two corners": "TRAIN,gs://bucket/a/{name},{label},{fx1},{fy1},,,{fx2},{fy2},,",
    "four corners": "{set},gs://bucket/a/{name},{label},{fx1},{fy1},{fx2},{fy1},{fx2},{fy2},{fx1},{fy2}",
    "the other diagonal": "UNASSIGNED, gs://b/{name},{label},{fx1},{fy2},,,{fx2},{fy1},,",
    "without splits": "gs://bucket/{name},{label},{fx1},{fy1},,,{fx2},{fy2},,",
    "splits left out": ",gs://bucket/{name},{label},{fx1},{fy1},,,{fx2},{fy2},,",
}


@pytest.mark.parametrize("form", AUTOML)
@pytest.mark.parametrize("has_header", [False, True])
def test_rows_of_automl(voc: Dataset, form: str, has_header: bool) -> None:
    header = "ML_USE,GCS_FILE_PATH,LABEL,X_MIN,Y_MIN,X_MAX,Y_MIN,X_MAX,Y_MAX,X_MIN,Y_MAX"
    header = header.partition(",")[2] if form == "without splits" else header
    path = voc.paths[0].parent.parent / "boxes.csv"
    row = AUTOML[form].replace("{set}", "validation")
    write(path, voc, header if has_header else "", row)
    empty = row.partition("{label}")[0].format(name="none.png") + "," * 8
    path.write_text(path.read_text() + empty + "\n")
    Image.new("RGB", (40, 30)).save(voc.paths[0].parent / "none.png")
    found = load_csv(path, None, None, ("val",) if "{set}" in AUTOML[form] else ("train",))
    assert found.split == {"two corners": "train", "four corners": "val"}.get(form, "all")
    assert found.classes == voc.classes
    assert found.paths == (*voc.paths, voc.paths[0].parent / "none.png")
    for own, other in zip(found.ground_truths(), voc.ground_truths(), strict=False):
        np.testing.assert_allclose(own.boxes, other.boxes, atol=1e-3)
        assert own.labels.tolist() == other.labels.tolist()
    assert len(found.ground_truth(len(voc)).labels) == 0


@pytest.mark.parametrize(
    "row",
    [
        "a.jpg,b,c,0.1,0.1,,,0.3,0.3,,", "TRAIN,gs://b/a,c,0.1,0.1,,,0.3,0.3,,",
        "TRAIN,gs://b/a.jpg,,0.1,0.1,,,0.3,0.3,,", "TRAIN,gs://b/a.jpg,c,,,,,0.3,0.3,,",
        "TRAIN,gs://b/a.jpg,c,0.1,x,,,0.3,0.3,,",
    ],
)  # fmt: skip
def test_rows_that_are_not_of_automl(tmp_path: Path, row: str) -> None:
    (tmp_path / "a.csv").write_text(row)
    assert not is_csv_of_boxes(tmp_path / "a.csv")


@pytest.mark.parametrize("cells", ["0.1,,,0.1,0.3,0.3,,", "0.1,0.1,,,,,,", "0.1,0.1,,,x,0.3,,"])
def test_a_later_row_of_automl_without_a_box_is_refused(voc: Dataset, cells: str) -> None:
    path = voc.paths[0].parent.parent / "boxes.csv"
    first = f"TRAIN,gs://b/{voc.paths[0].name},ball"
    path.write_text(f"{first},0.1,0.1,,,0.3,0.3,,\n{first},{cells}\n")
    with pytest.raises(DataError, match=r"boxes\.csv:2: expected four numbers of a box"):
        load_csv(path, None, None, ("train",))


def test_a_folder_of_splits_has_the_classes_of_all(voc: Dataset) -> None:
    root = voc.paths[0].parent.parent
    header, row = "filename,class,xmin,ymin,xmax,ymax", "{name},{label},{x1},{y1},{x2},{y2}"
    write(root / "train_labels.csv", voc, header, row)
    (root / "test_labels.csv").write_text(f"{header}\n{voc.paths[0].name},zebra,1,1,9,9\n")
    found = load_csv(root, None, "test", ())
    assert (found.split, found.classes, len(found)) == ("test", (*voc.classes, "zebra"), 1)
    assert len(load_csv(root, None, None, ("trainval", "train"))) == 8


def test_images_without_boxes_are_background(voc: Dataset) -> None:
    path = voc.paths[0].parent.parent / "boxes.csv"
    names = [image.name for image in voc.paths]
    path.write_text(f"{names[0]},1,1,9,9,ball\n{names[1]},,,,,\n")
    found = load_csv(path, None, None, ())
    assert [len(each.labels) for each in found.ground_truths()] == [1, 0]
    assert found.notes == ("boxes.csv: took 1 image without a box for background",)


def test_train_and_val_of_one_file(voc: Dataset) -> None:
    path = write(voc.paths[0].parent.parent / "boxes.csv", voc, *next(iter(FORMS.items())))
    parts = [open_dataset(str(path), split=split) for split in ("train", "val")]
    assert [len(part) for part in parts] == [6, 2]
    assert set(parts[0].ids) | set(parts[1].ids) == set(voc.ids)


@pytest.mark.parametrize(
    "text",
    ["", "a,b,c\n1,2,3\n", "filename,class\na.jpg,ball\n", "a.jpg,1,2,3,4,5\n", "\0\n"],
)
def test_other_files_are_not_boxes(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    assert not is_csv_of_boxes(tmp_path / "a.csv")
    with pytest.raises(DataError, match="no columns of boxes"):
        load_csv(tmp_path / "a.csv", None, None, ())


def test_files_with_scores_are_read_only_by_name(voc: Dataset) -> None:
    path = voc.paths[0].parent.parent / "detections.csv"
    path.write_text(f"image,label,score,x1,y1,x2,y2\n{voc.paths[0].name},ball,0.5,1,1,9,9\n")
    assert not is_csv_of_boxes(path)
    assert "scores" in load_csv(path, None, None, ()).notes[0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.jpg,ball,1,1,x,9", "boxes.csv:3: expected four numbers"),
        ("a.jpg,ball,1,1,,9", "boxes.csv:3: expected four numbers"),
        ("a.jpg,ball,1,1,nan,9", "boxes.csv:3: expected four numbers"),
        ("a.jpg,ball,9,1,1,9", "boxes.csv:3: expected xmin < xmax"),
        ("a.jpg,,1,1,9,9", "boxes.csv:3: the box has no class"),
        (",ball,1,1,9,9", "boxes.csv:3: no image"),
        ("a\0.png,ball,1,1,9,9", "boxes.csv:3: no image"),
        ("a.jpg,ball,1,5,1,5,9,5,9,5", "boxes.csv:3: expected 6 cells, got 10"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text(f"filename,class,xmin,ymin,xmax,ymax\na.jpg,ball,1,1,9,9\n{row}\n")
    with pytest.raises(DataError, match=message):
        load_csv(path, None, None, ())


@pytest.mark.parametrize("row", ["a.jpg", "a.jpg,ball", "a.jpg,ball,1,1,9"])
def test_short_rows(tmp_path: Path, row: str) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text(f"filename,class,xmin,ymin,xmax,ymax\na.jpg,ball,1,1,9,9\n{row}\n")
    if row.endswith("9"):
        with pytest.raises(DataError, match="expected four numbers of a box"):
            load_csv(path, None, None, ())
    else:
        assert len(load_csv(path, None, None, ()).annotations[0].names) == 1


@pytest.mark.parametrize(
    "lines",
    [
        "#filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,"
        "region_attributes\n"
        'a.jpg,1,"{}",1,0,"{""name"":""rect"",""x"":1,""y"":2,""width"":8,""height"":7}",'
        '"{""type"":""ball""}"',
        "# by hand\n# file,x,y,w,h,class\na.jpg,1,2,8,7,ball",
        "# file,label,x,y,w,h\nfile,x1,y1,x2,y2,label\na.jpg,1,2,9,9,ball",
        "#a.jpg,1,2,3,4,box\na.jpg,1,2,9,9,ball",
    ],
    ids=["VIA 1", "a comment as header", "a header after it", "a row that is left out"],
)
def test_comments_before_the_rows(tmp_path: Path, lines: str) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text(f"{lines}\n")
    assert is_csv_of_boxes(path)
    (annotation,) = load_csv(path, None, None, ()).annotations
    assert (annotation.names, annotation.boxes.tolist()) == (("ball",), [[1, 2, 9, 9]])


def test_a_row_that_is_cut_before_its_class(tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text("filename,xmin,ymin,xmax,ymax,class\na.jpg,1,1,9,9,ball\na.jpg,1,1,9,9")
    with pytest.raises(DataError, match=r"boxes\.csv:3: the box has no class"):
        load_csv(path, None, None, ())


def test_empty_cells_at_the_end_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text("filename,class,xmin,ymin,xmax,ymax\na.jpg,ball,1,1,9,9,, \n")
    assert load_csv(path, None, None, ()).annotations[0].names == ("ball",)


def test_columns_without_a_meaning_cost_nothing_in_each_row(tmp_path: Path) -> None:
    """10,000 of them took minutes."""
    Image.new("RGB", (50, 40)).save(tmp_path / "a.png")
    header = f"filename,class,xmin,ymin,xmax,ymax{',x' * 10_000}\n"
    (tmp_path / "boxes.csv").write_text(header + "a.png,cat,1,2,30,40\n" * 5_000)
    start = time.process_time()
    assert len(load_csv(tmp_path / "boxes.csv", None, None, ()).annotations[0].names) == 5_000
    assert time.process_time() - start < 3


def test_numbers_of_classes_with_a_point(tmp_path: Path) -> None:
    table(tmp_path, HEADER, CSV.replace("{name}", "{c}.0"))
    assert opened(tmp_path).classes == ("0", "1")


def test_a_file_without_classes_has_one(tmp_path: Path) -> None:
    table(tmp_path, "image,x_min,y_min,x_max,y_max,seen", "{n}.png,{X1},{Y1},{X2},{Y2},often")
    found = opened(tmp_path)
    assert_read(found, {n: [("object", *o[1:]) for o in own] for n, own in OBJECTS.items()})
    assert any("no column of classes" in note and "not read are seen" in note
               for note in found.notes)  # fmt: skip


def test_a_column_of_splits(tmp_path: Path) -> None:
    table(tmp_path, f"set,{HEADER}", f"TRAIN,{CSV}")
    path = tmp_path / "boxes.csv"
    for name in VAL:
        path.write_text(path.read_text().replace(f"TRAIN,{name}", f"VALIDATION,{name}"))
    assert_read(opened(tmp_path, "train"), TRAIN)
    assert_read(found := opened(tmp_path, "val"), VAL)
    assert not any("left out" in note for note in found.notes)
    assert opened(path, "val").split == "val"
    path.write_text(path.read_text().replace("TRAIN,img_0", "UNASSIGNED,img_0"))
    found = opened(tmp_path)
    assert (len(found), found.split) == (8, "all")
    assert any("boxes.csv:2 says 'UNASSIGNED' of img_0.png" in note for note in found.notes)


@pytest.mark.parametrize("file", ["class-descriptions-boxable.csv", "metadata/classes.csv"])
def test_the_names_of_open_images_classes(tmp_path: Path, file: str) -> None:
    table(tmp_path, "ImageID,LabelName,Confidence,XMin,XMax,YMin,YMax,IsGroupOf",
          "{n},/m/0{c},1,{x1},{x2},{y1},{y2},0", "train-annotations-bbox.csv")  # fmt: skip
    assert opened(tmp_path).classes == ("/m/00", "/m/01")
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("/m/00,disc\n/m/01,square\n")
    assert_read(opened(tmp_path))


def test_points_of_the_vgg_image_annotator_are_left_out(tmp_path: Path) -> None:
    table(tmp_path, "filename,region_shape_attributes,region_attributes",
          '{n}.png,"{{""name"":""rect"",""x"":{X1},""y"":{Y1},""width"":{W},""height"":{H}}}",'
          '"{{""type"":""{name}""}}"')  # fmt: skip
    with (tmp_path / "boxes.csv").open("a") as file:
        file.write('\nimg_0.png,"{""name"":""point"",""cx"":1,""cy"":2}","{""type"":""x""}"')
    found = opened(tmp_path)
    assert_read(found)
    assert any("left out 1 point or line" in note for note in found.notes)


def test_cells_that_say_nothing(tmp_path: Path) -> None:
    table(tmp_path, "filename,class,xmin,ymin,xmax,ymax", CSV)
    with (tmp_path / "boxes.csv").open("a") as file:
        file.write("\nempty.png,,nan,nan,nan,nan\n")
    (tmp_path / "images" / "img_0.png").rename(tmp_path / "images" / "empty.png")
    write_images(tmp_path / "images", ["img_0"])
    assert_read(opened(tmp_path), {**OBJECTS, "empty": []})
