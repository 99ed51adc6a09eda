"""Data sets as the programs of other people leave them: read right, or refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import tool_files
from frcnn_cli.data.check_data import check_data
from frcnn_cli.data.checks import check_dataset
from frcnn_cli.data.dataset import Dataset
from frcnn_cli.data.registry import names_dataset, open_dataset
from frcnn_cli.errors import DataError
from locked import lock
from strangers import (
    BOX,
    OBJECT,
    OBJECTS,
    TRAIN,
    VAL,
    Objects,
    coco,
    table,
    voc,
    write_images,
    xml,
    yolo,
)

Write = Callable[[Path], object]


def opened(path: Path, split: str | None = None) -> Dataset:
    return check_dataset(open_dataset(str(path), None, split))


def assert_read(found: Dataset, expected: Objects = OBJECTS) -> None:
    assert sorted(path.stem for path in found.paths) == sorted(expected)
    for index, path in enumerate(found.paths):
        truth = found.ground_truth(index)
        names = [found.classes[label - 1] for label in truth.labels]
        objects = sorted(zip(names, truth.boxes.tolist(), strict=True))
        wanted = sorted((name, list(box)) for name, *box in expected[path.stem])
        assert [name for name, _ in objects] == [name for name, _ in wanted]
        for (_, box), (_, other) in zip(objects, wanted, strict=True):
            assert box == pytest.approx(other, abs=0.05)


def each_box(change: Callable[[list], object]) -> Callable[[dict], None]:
    """Changes the box of every annotation of COCO."""

    def changed(content: dict) -> None:
        for row in content["annotations"]:
            row["bbox"] = change(row["bbox"])

    return changed


def foreign(folder: Path, file: str, text: str) -> None:
    write_images(folder / "images")
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(text)


def each_row(key: str, change: Callable[[dict], object]) -> Callable[[dict], None]:
    def changed(content: dict) -> None:
        for row in content[key]:
            change(row)

    return changed


def centre(box: list) -> list:
    return [box[0] + box[2] / 2, box[1] + box[3] / 2, *box[2:]]


def corners(box: list) -> list:
    return [box[0], box[1], box[0] + box[2], box[1] + box[3]]


def lying(box: list) -> list:
    """A box with its sides exchanged, around the same centre."""
    x, y, w, h = box
    return [x + (w - h) / 2, y + (h - w) / 2, h, w]


def capitals(text: str) -> str:
    for tag in ("annotation", "object", "name", "bndbox", "xmin"):
        text = text.replace(f"{tag}>", f"{tag.upper()}>")
    return text


def decimal_commas(folder: Path) -> None:
    yolo(folder)
    for path in (folder / "labels").iterdir():
        path.write_text(path.read_text().replace(".", ","))


def darknet(settings: Path, names: Path) -> None:
    settings.write_text(f"classes = 2\nnames = /home/me/data/{names.name}\nbackup = backup/\n")
    names.write_text("disc\nsquare\n")


def listed(folder: Path, file: str, text: str) -> None:
    """VOC with a list."""
    voc(folder)
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(text)


def named(
    folder: Path, file: str, text: str, images: str = "images", labels: str = "labels"
) -> None:
    """YOLO with a list of the classes."""
    yolo(folder, images, labels, settings="")
    (folder / file).write_text(text)


def named_by_split(folder: Path, labels: str, images: str = "", val: str = "disc\n") -> None:
    """YOLO with a list of the classes for each split, of which one may lack the last class."""
    yolo(folder, images or labels.replace("labels", "images"), labels, settings="")
    (folder / labels.format("train") / "classes.txt").write_text("disc\nsquare\n")
    (folder / labels.format("val") / "classes.txt").write_text(val)


LONG = {"licenses": [{"id": index, "name": "x" * 90} for index in range(1500)]}
FRACTIONS = (
    "<object><name>{name}</name><bndbox><xmin>{fx1}</xmin><ymin>{fy1}</ymin><xmax>{fx2}</xmax>"
    "<ymax>{fy2}</ymax></bndbox></object>"
)
HEADER = "filename,class,xmin,ymin,xmax,ymax"
CSV = "{n}.png,{name},{X1},{Y1},{X2},{Y2}"
CSV_OF_THIRDS = "{n}.png;{name};{x1:.3f};{y1:.3f};{x2:.3f};{y2:.3f}"
WHOLE: dict[str, Write] = {
    "VOC, capital tags": lambda f: voc(f, change=capitals),
    "VOC, decimal commas": lambda f: voc(f, form=OBJECT.replace("}<", "},0<")
                                         .replace("{name},0", "{name}")),
    "VOC, a bare ampersand": lambda f: voc(f, file="R&D & co.png"),
    "VOC, fractions": lambda f: voc(f, form=FRACTIONS),
    "VOC, LabelMe's deleted objects": lambda f: voc(
        f, form=OBJECT + f"<object><name>cow</name><deleted>1</deleted>{BOX}</object>"),
    "VOC, other names of folders": lambda f: voc(f, "ann", "pictures"),
    "VOC, XML in the folder of images": lambda f: voc(f, "images/annotations", "images"),
    "VOC, in an archive": lambda f: voc(f / "archive/VOCdevkit/VOC2007"),
    "VOC, XML one folder deeper": lambda f: voc(f, "annotations/xmls", "images"),
    "VOC, images one folder deeper": lambda f: voc(f, "Annotations", "JPEGImages/a"),
    "COCO, texts as numbers": lambda f: coco(f, change=each_box(lambda b: list(map(str, b)))),
    "COCO, boxes with keys": lambda f: coco(
        f, change=each_box(lambda b: dict(zip(("x", "y", "width", "height"), b, strict=True)))),
    "COCO, two corners": lambda f: coco(f, change=each_box(corners)),
    "COCO, fractions": lambda f: coco(
        f, change=each_box(lambda b: [b[0] / 96, b[1] / 64, b[2] / 96, b[3] / 64])),
    "COCO, corners as fractions": lambda f: coco(f, change=each_box(
        lambda b: [b[0] / 96, b[1] / 64, (b[0] + b[2]) / 96, (b[1] + b[3]) / 64])),
    "COCO, names with blanks": lambda f: coco(
        f, change=each_row("categories", lambda r: r.update(name=f"{r['name']} "))),
    "COCO, classes by name": lambda f: coco(f, change=each_row(
        "annotations", lambda r: r.update(category_id=("disc", "square")[r["category_id"]]))),
    "COCO, long licences": lambda f: coco(
        f, change=lambda c: c.update(LONG, images=c.pop("images"))),
    "COCO, UTF-16": lambda f: coco(f, encoding="utf-16"),
    "COCO, folders of any name": lambda f: coco(f, "export/x.json", "pictures/deep"),
    "COCO, in an archive": lambda f: coco(f / "a/b", "annotations.json"),
    "COCO, of another machine": lambda f: coco(f, file_name="/home/me/set/images/{}.png"),
    "COCO, of Windows": lambda f: coco(f, file_name="C:\\data\\{}.png"),
    "COCO, from above": lambda f: coco(f, file_name="../images/{}.png"),
    "COCO, addresses": lambda f: coco(f, file_name="https://x.org/a/{}.png?token=1"),
    "COCO, Label Studio": lambda f: coco(f, file_name="/data/local-files/?d=images/{}.png"),
    "COCO, saved as PNG later": lambda f: coco(f, file_name="{}.jpg"),
    "COCO, letters of addresses": lambda f: (
        coco(f, file_name="%69mg_{}.png", change=each_row(
            "images", lambda r: r.update(file_name=r["file_name"].replace("img_", "", 1))))),
    "COCO, filename": lambda f: coco(f, change=each_row(
        "images", lambda r: r.update(filename=r.pop("file_name")))),
    "COCO, names between blanks": lambda f: coco(f, file_name=" {}.png "),
    "COCO, outlines of points alone": lambda f: coco(f, change=each_row(
        "annotations", lambda r: r.update(bbox=None, segmentation=[
            [[r["bbox"][0], r["bbox"][1]], [r["bbox"][0] + r["bbox"][2], r["bbox"][1]],
             [r["bbox"][0], r["bbox"][1] + r["bbox"][3]]]]))),
    "VOC, zeros at the end": lambda f: voc(f, change=lambda s: f"{s}\n\0\0"),
    "VOC, letters of HTML": lambda f: voc(f, change=lambda s: s.replace(
        "<annotation>", "<annotation><owner>Jos&eacute;&nbsp;&LT;b&gt; &amp; R&D;</owner>"
        ).replace("R&D;", "R&D")),
    "YOLO, settings in capitals": lambda f: (
        yolo(f, settings=""), (f / "DATA.YML").write_text("names: [disc, square]")),
    "YOLO, makesense.ai": lambda f: named(f, "labels.txt", "disc\nsquare\n"),
    "YOLO, names with numbers": lambda f: named(f, "classes.txt", "0 disc\n1: square\n"),
    "YOLO, names as in a program": lambda f: named(f, "names.txt", "'disc',\n'square'\n"),
    "YOLO, names of Darknet by any name": lambda f: named(f, "shapes.names", "disc\nsquare\n"),
    "YOLO, comments": lambda f: yolo(f, row="# by hand\n{c} {x} {y} {w} {h}"),
    "YOLO, decimal commas": decimal_commas,
    "YOLO, commas": lambda f: yolo(f, row="{c}, {x}, {y}, {w}, {h}"),
    "YOLO, commas alone": lambda f: yolo(f, row="{c},{x},{y},{w},{h}"),
    "YOLO, two corners": lambda f: yolo(f, row="{c} {x1} {y1} {x2} {y2}"),
    "YOLO, corner and sides": lambda f: yolo(f, row="{c} {x1} {y1} {w} {h}"),
    "VOC, masks in another folder": lambda f: (voc(f, "ann", "pics"), write_images(f / "masks")),
    "YOLO, masks in another folder": lambda f: (yolo(f, "pics", "txt"), write_images(f / "masks")),
    "COCO, masks in another folder": lambda f: (
        coco(f, "x.json", "pics/a", file_name="a/{}.png"), write_images(f / "train_masks/a")),
    "YOLO, masks below images": lambda f: (
        named(f, "classes.txt", "disc\nsquare", "", ""), write_images(f / "masks")),
    "YOLO, numbers by name": lambda f: yolo(f, settings="names: {disc: 0, square: 1}"),
    "YOLO, names in a text": lambda f: yolo(f, settings="names: disc, square"),
    "YOLO, capitals": lambda f: yolo(f, "Images", "Labels"),
    "YOLO, other names of folders": lambda f: yolo(f, "pictures", "txt"),
    "YOLO, capitals in the ending": lambda f: yolo(f, ending="TXT"),
    "YOLO, two endings": lambda f: yolo(f, ending="png.txt"),
    "YOLO, in an archive": lambda f: yolo(f / "a" / "b"),
    "CSV, decimal commas": lambda f: table(
        f, "filename;class;xmin;ymin;xmax;ymax", "{n}.png;{name};{X1},0;{Y1},0;{X2},0;{Y2},0"),
    "CSV, Excel's Unicode": lambda f: table(
        f, "filename\tclass\txmin\tymin\txmax\tymax", CSV.replace(",", "\t"), encoding="utf-16"),
    "CSV, a list": lambda f: table(f, "image_id,class,bbox", '{n},{name},"[{X1}, {Y1}, {W}, {H}]"'),
    "CSV, a list of corners": lambda f: table(
        f, "image_id,class,bbox", '{n},{name},"[{X1}, {Y1}, {X2}, {Y2}]"'),
    "CSV, a list of corners as fractions": lambda f: table(
        f, "image_id,class,bbox", '{n},{name},"[{x1}, {y1}, {x2}, {y2}]"'),
    "CSV, OpenImages": lambda f: table(
        f, "ImageID,LabelName,Confidence,XMin,XMax,YMin,YMax,IsGroupOf",
        "{n},{name},1,{x1},{x2},{y1},{y2},0"),
    "CSV, centres": lambda f: table(
        f, "image,label,x_center,y_center,width,height", "{n}.png,{name},{x},{y},{w},{h}"),
    "CSV, the VGG Image Annotator": lambda f: table(
        f, "filename,region_shape_attributes,region_attributes",
        '{n}.png,"{{""name"":""rect"",""x"":{X1},""y"":{Y1},""width"":{W},""height"":{H}}}",'
        '"{{""type"":""{name}""}}"'),
    "CSV, traffic signs": lambda f: table(
        f, "Path;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId", "{n}.png;{X1};{Y1};{X2};{Y2};{name}"),
    "CSV, in a folder": lambda f: table(
        f, "filename,class,xmin,ymin,xmax,ymax", CSV, "tables/x.csv", "pictures"),
    "CSV, decimal commas of three digits": lambda f: table(
        f, "filename;class;xmin;ymin;xmax;ymax", CSV_OF_THIRDS, change=lambda s: s.replace(".", ",")
        .replace(",png", ".png")),
    "CSV, quoted decimal commas": lambda f: table(
        f, HEADER, '{n}.png,{name},"{X1},0","{Y1},0","{X2},0","{Y2},00"'),
    "CSV, powers of ten": lambda f: table(f, HEADER, "{n}.png,{name},{X1:e},{Y1:e},{X2:e},{Y2:e}"),
    "CSV, bars": lambda f: table(f, HEADER.replace(",", "|"), CSV.replace(",", "|")),
    "CSV, old line ends": lambda f: table(f, HEADER, CSV, change=lambda s: s.replace("\n", "\r")),
    "CSV, a comment": lambda f: table(f, f"# made by hand, in June\n{HEADER}", CSV),
    "CSV, Excel's line": lambda f: table(
        f, f"sep=;\n{HEADER.replace(',', ';')}", CSV.replace(",", ";")),
    "CSV, called .tsv": lambda f: table(
        f, HEADER.replace(",", "\t"), CSV.replace(",", "\t"), "boxes.tsv"),
    "CSV, German": lambda f: table(f, "Datei;Klasse;xmin;ymin;xmax;ymax", CSV.replace(",", ";")),
    "CSV, Chinese": lambda f: table(f, "文件名,类别,xmin,ymin,xmax,ymax", CSV),
    "CSV, numbers beside names": lambda f: table(
        f, "image_id,filename,class,xmin,ymin,xmax,ymax", f"17,{CSV}"),
    "CSV, corners called sides": lambda f: table(
        f, "image,label,x,y,w,h", "{n}.png,{name},{X1},{Y1},{X2},{Y2}"),
    "CSV, polygons of the VGG Image Annotator": lambda f: table(
        f, "filename,region_shape_attributes,region_attributes",
        '{n}.png,"{{""name"":""polygon"",""all_points_x"":[{X1},{X2},{X2}],'
        '""all_points_y"":[{Y1},{Y1},{Y2}]}}","{{""type"":""{name}""}}"'),
    "CSV, the image's sides before the box's": lambda f: table(
        f, "image_id,image_width,image_height,x,y,width,height,class",
        "{n},96,64,{X1},{Y1},{W},{H},{name}"),
    "CSV, the image's sides, and corner and sides": lambda f: table(
        f, "image,img_width,img_height,xmin,ymin,width,height,class",
        "{n},96,64,{X1},{Y1},{W},{H},{name}"),
    "CSV, the image's sides called plainly": lambda f: table(
        f, "image,width,height,x_center,y_center,w,h,label",
        "{n}.png,96,64,{x},{y},{w},{h},{name}"),
    "CSV, numbers called classes": lambda f: table(
        f, "filename,class,class_name,xmin,ymin,xmax,ymax",
        "{n}.png,{c},{name},{X1},{Y1},{X2},{Y2}"),
    "COCO, outlines beside boxes of zeros": lambda f: coco(
        f, change=each_row("annotations", lambda row: row.update(
            segmentation=[corners(row["bbox"])], bbox=[0, 0, 0, 0]))),
    "YOLO, Darknet's names in another file": lambda f: (
        yolo(f, "data/obj", "data/obj", ""), darknet(f / "voc.data", f / "data/voc.names")),
    "YOLO, names in quotes": lambda f: yolo(f, settings="names: \"['disc', 'square']\""),
    "VOC, a document type": lambda f: voc(
        f, change=lambda s: f'<?xml version="1.0"?><!DOCTYPE annotation SYSTEM "x.dtd">{s}'),
    "CSV, corners and the sides of the box": lambda f: table(
        f, "image,class,x1,y1,x2,y2,width,height", "{n}.png,{name},{X1},{Y1},{X2},{Y2},{W},{H}",
        change=lambda text: f"{text}\nimg_0.png,,0,0,0,0,,"),
    "CSV, four corners": lambda f: table(
        f, "image_url,cls,x1,y1,x2,y2,x3,y3,x4,y4",
        "https://a.b/c/{n}.png?d=1,{name},{X1},{Y1},{X2},{Y1},{X2},{Y2},{X1},{Y2}"),
    "COCO, boxes of CVAT that are turned": lambda f: coco(
        f, change=each_row("annotations", lambda row: row.update(
            bbox=lying(row["bbox"]), attributes={"occluded": False, "rotation": 90.0}))),
    "COCO, decimal commas": lambda f: coco(
        f, change=each_box(lambda b: [f"{each},0" for each in b])),
    "CSV, corners of LISA": lambda f: table(
        f, "Filename;Annotation tag;Upper left corner X;Upper left corner Y;"
        "Lower right corner X;Lower right corner Y;Origin file",
        "{n}.png;{name};{X1};{Y1};{X2};{Y2};a/b.avi"),
    "CSV, corners of CVAT": lambda f: table(f, "image,label,xtl,ytl,xbr,ybr", CSV),
    "CSV, start and end": lambda f: table(f, "image,label,x_start,y_start,x_end,y_end", CSV),
    "CSV, class before the corners, no header": lambda f: table(f, "", CSV),
    "CSV, TensorFlow's columns, no header": lambda f: table(
        f, "", "{n}.png,96,64,{name},{X1},{Y1},{X2},{Y2}"),
    "CSV, SKU-110K's columns": lambda f: table(f, "", "{n}.png,{X1},{Y1},{X2},{Y2},{name},96,64"),
    "CSV, makesense.ai, no header": lambda f: table(
        f, "", "{name},{X1},{Y1},{W},{H},{n}.png,96,64"),
    "CSV, cells of several lines": lambda f: table(
        f, f"{HEADER},note", f'{CSV},"one\n""two"" lines"'),
    "CSV, numbers called labels, names called classes": lambda f: table(
        f, "filename,label,class,xmin,ymin,xmax,ymax", "{n}.png,{c},{name},{X1},{Y1},{X2},{Y2}"),
    "CSV, names called classes, numbers called labels": lambda f: table(
        f, "filename,class,label,xmin,ymin,xmax,ymax", "{n}.png,{name},{c}.0,{X1},{Y1},{X2},{Y2}"),
    "CSV, labels": lambda f: table(f, "image,labels,tl_x,tl_y,br_x,br_y", CSV),
    "CSV, corners from 0": lambda f: table(f, "name,class,x0,y0,x1,y1", CSV),
    "CSV, sides of rectangles": lambda f: table(
        f, "photo,defect_type,rect_x,rect_y,rect_width,rect_height",
        "{n}.png,{name},{X1},{Y1},{W},{H}"),
    "CSV, left and upper": lambda f: table(f, "photo,obj_class,left,upper,right,lower", CSV),
    "CSV, types beside classes": lambda f: table(
        f, "image,type,class,xmin,ymin,xmax,ymax", "{n}.png,photo,{name},{X1},{Y1},{X2},{Y2}"),
    "CSV, NIH's chest X-rays": lambda f: table(
        f, "Image Index,Finding Label,Bbox [x,y,w,h],,,", "{n}.png,{name},{X1},{Y1},{W},{H},,,"),
    "CSV, a list called bounding_box": lambda f: table(
        f, "image_path,label,bounding_box", '{n}.png,{name},"[{X1}, {Y1}, {W}, {H}]"'),
    "CSV, the header again": lambda f: table(
        f, "filename,class,xmin,ymin,xmax,ymax\nfilename,class,xmin,ymin,xmax,ymax", CSV),
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_read_right(tmp_path: Path, name: str) -> None:
    WHOLE[name](tmp_path)
    assert names_dataset(str(tmp_path))
    assert_read(opened(tmp_path, "all"))


NOTED = {
    "COCO, corners as fractions": "two corners",
    "VOC, fractions": "fractions of 1",
    "COCO, fractions": "fractions of 1",
    "COCO, two corners": "two corners",
    "YOLO, two corners": "two corners",
    "YOLO, corner and sides": "corner and sides, not centre and sides",
    "CSV, a list of corners": "two corners",
    "COCO, folders of any name": "and the others likewise",
    "COCO, boxes of CVAT that are turned": "took the box around 12 boxes that are turned",
    "CSV, class before the corners, no header": "no header: taken as image, label, x1, y1, x2, y2",
}


@pytest.mark.parametrize("name", NOTED)
def test_what_was_guessed_is_said(tmp_path: Path, name: str) -> None:
    WHOLE[name](tmp_path)
    assert any(NOTED[name] in note for note in opened(tmp_path, "all").notes)


def move_lists(folder: Path, place: str) -> None:
    (folder / place).mkdir(parents=True)
    for split, part in (("train", TRAIN), ("val", VAL)):
        (folder / place / f"{split}.txt").write_text("\n".join(part))


def spelled(folder: Path) -> None:
    """The folders of the splits in two spellings."""
    for path in sorted(folder.rglob("train*"), reverse=True):
        path.rename(path.with_name(path.name.replace("train", "Train2017")))


def lists(folder: Path, file: str) -> None:
    """PaddleDetection's lists."""
    voc(folder)
    for split, part in (("train", TRAIN), ("val", VAL)):
        lines = [f"./JPEGImages/{name}.png ./Annotations/{name}.xml" for name in part]
        (folder / file.format(split)).write_text("\n".join(lines))


SPLIT: dict[str, Write] = {
    "VOC, lists called so": lambda f: lists(f, "{}_list.txt"),
    "VOC, beside masks": lambda f: (
        voc(f, "marks/{}", "images/{}"), write_images(f / "masks", OBJECTS)),
    "YOLO, beside masks": lambda f: (
        yolo(f, "pics_{}", "texts_{}"), write_images(f / "masks", OBJECTS)),
    "YOLO, beside masks, in deeper folders": lambda f: (
        yolo(f, "pics_{}/a", "texts_{}/a"), write_images(f / "masks/a", OBJECTS)),
    "YOLO, beside masks and test images": lambda f: (
        yolo(f, "{}2017/pics", "{}2017/labels"), write_images(f / "masks", OBJECTS),
        write_images(f / "test", ["img_6"])),
    "VOC, lists deeper": lambda f: (
        voc(f / "a", "", "pictures"), move_lists(f, "a/ImageSets/Main")),
    "VOC, lists beside folders of any name": lambda f: (
        voc(f / "a", "xmls", "pictures"), move_lists(f, "a/ImageSets/Main")),
    "VOC, folders of ImageNet": lambda f: voc(
        f, "Annotations/CLS-LOC/{}/n01440764", "Data/CLS-LOC/{}/n01440764"),
    "VOC, lists of a year": lambda f: (
        (f / "ImageSets/Main").mkdir(parents=True), lists(f, "ImageSets/Main/{}set_2020.txt")),
    "VOC, folders of both": lambda f: voc(f, "{}_annotations", "{}_images"),
    "VOC, a folder each": lambda f: voc(f, "flowers-{}/a", "flowers-{}/b"),
    "VOC, images together": lambda f: voc(f, "Annotations/{}", "JPEGImages"),
    "VOC, one folder above": lambda f: voc(f, "data/{}", "data/{}"),
    "VOC, lists in capitals": lambda f: (
        listed(f, "ImageSets/Main/TRAIN.TXT", "\n".join(TRAIN)),
        (f / "ImageSets/Main/Val.txt").write_text("\n".join(VAL))),
    "VOC, comments in lists": lambda f: (
        listed(f, "train.txt", "# mine\n" + "\n".join(TRAIN)),
        (f / "val.txt").write_text("#\n" + "\n".join(VAL) + "\n,\n")),
    "YOLO, names above the splits": lambda f: named(
        f, "classes.txt", "disc\nsquare\n", "{}/images", "{}/labels"),
    "YOLO, names beside the texts of splits": lambda f: named_by_split(f, "labels/{}"),
    "YOLO, names in the folders of splits": lambda f: named_by_split(f, "{}/labels"),
    "YOLO, names beside images": lambda f: named_by_split(f, "{}", "{}"),
    "YOLO, names beside texts of any name": lambda f: named(
        f, "txt/classes.txt", "disc\nsquare", "a/{}", "txt/{}"),
    "YOLO, lists, and names beside texts, in an archive": lambda f: (
        named(f / "a/b", "texts/classes.txt", "disc\nsquare", "images", "texts"), [
            (f / f"a/b/{split}.txt").write_text("\n".join(f"images/{name}.png" for name in part))
            for split, part in (("train", TRAIN), ("val", VAL))]),
    "YOLO, folders of splits in two spellings": lambda f: (
        yolo(f, "images/{}", "labels/{}"), spelled(f)),
    "YOLO, splits in two spellings": lambda f: (yolo(f, "{}/images", "{}/labels"), spelled(f)),
    "COCO, splits in two spellings": lambda f: (coco(f, "{}/a.json", "{}"), spelled(f)),
    "COCO, splits in two spellings, deeper": lambda f: (
        coco(f, "{}/ann/a.json", "{}/images"), spelled(f)),
    "COCO, splits behind a point": lambda f: coco(f, "instances.{}.json", "img_{}"),
    "COCO, deep in an archive": lambda f: coco(f / "a", "annotations_{}/a.json", "img_{}"),
    "YOLO, comments in lists": lambda f: (
        yolo(f), (f / "train.txt").write_text("# mine\n" + "\n".join(TRAIN)),
        (f / "val.txt").write_text("\n".join([*VAL, "#"]))),
    "COCO, folders of both": lambda f: coco(f, "annotations/{}_annotations.json", "{}_images"),
    "COCO, one folder above": lambda f: coco(f, "data/{}/_annotations.coco.json", "data/{}"),
    "COCO, one name in the folders of both": lambda f: (
        coco(f, "{}.json", "{}/images"), write_images(f / "train/images", VAL)),
    "COCO, deeper": lambda f: coco(f, "{}/annotations/instances.json", "{}/images"),
    "YOLO, folders of both": lambda f: yolo(f, "{}_images", "{}_labels"),
    "YOLO, sets": lambda f: yolo(f, "images/{}set", "labels/{}set"),
    "YOLO, other names": lambda f: yolo(f, "{}/Images", "{}/Labels"),
    "YOLO, one folder above": lambda f: yolo(f, "data/{}/images", "data/{}/labels"),
    "YOLO, settings that err": lambda f: yolo(
        f, "images/{}", "labels/{}", "names: [disc, square]\ntrain: training\nval: validation"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPLIT)
def test_splits_are_found(tmp_path: Path, name: str) -> None:
    SPLIT[name](tmp_path)
    assert_read(opened(tmp_path, "train"), TRAIN)
    assert_read(opened(tmp_path, "val"), VAL)


REFUSED: dict[str, tuple[Write, str, str]] = {
    "two data sets": (lambda f: (voc(f / "a"), coco(f / "b")), "holds 2 data sets", "name one"),
    "classes without names": (lambda f: yolo(f, settings=""), "no data set", "into classes.txt"),
    "an empty line in the names": (
        lambda f: (yolo(f, settings=""), (f / "classes.txt").write_text("disc\n\nsquare\n")),
        "line 2 is empty", "remove the line"),
    "other numbers in each split": (
        lambda f: named_by_split(f, "{}/labels", val="square\ndisc"),
        "train/labels/classes.txt and .*val/labels/classes.txt give the classes different",
        "each split needs the same ones"),
    "numbers with gaps": (
        lambda f: yolo(f, settings="names: {1: disc, 2: square}"), "the numbers 1, 2", "0 to 1"),
    "LabelMe without its images": (
        lambda f: (write_images(f), (f / "a.json").write_text('{"shapes": [], "imagePath": ""}')),
        "an image has no name", "export it again"),
    "CVAT, cut off": (
        lambda f: (write_images(f), (f / "a.xml").write_text("<annotations><image id='0'/>")),
        "is not XML", ""),
    "dlib": (
        lambda f: (write_images(f), (f / "a.xml").write_text("<dataset><images><image/>")),
        "no data set", "looks like the XML of dlib"),
    "Datumaro": (
        lambda f: coco(f, change=lambda content: content.update(items=content.pop("images"))),
        "no list of images", "looks like Datumaro"),
    "VisDrone": (
        lambda f: foreign(f, "annotations/img_0.txt", "1,2,30,40,1,4,0,0\n"), "no data set",
        "VisDrone's texts, which is not read: convert it to COCO"),
    "MOT": (
        lambda f: foreign(f, "gt/gt.txt", "1,1,10.5,10,20,20,1,1,1\n"), "no data set", "of MOT"),
    "VOC, two XML files of an image": (
        lambda f: (voc(f, "Annotations/upright"), voc(f, "Annotations/turned")),
        "turned/img_0 and upright/img_0 below .* both annotate .*img_0.png", "leave one"),
    "VOC, images of one name in two folders": (
        lambda f: (voc(f, "ann", "pictures"), write_images(f / "small")),
        "img_0 may be the annotation of pictures/img_0, small/img_0", "leave one image for each"),
    "images of one name in two folders": (
        lambda f: (coco(f, images="a/images"), write_images(f / "b/images")),
        r"img_0.png may be a/images/img_0, b/images/img_0, below", "with --data"),
    "YOLO, texts of DOTA": (
        lambda f: yolo(f, row="{X1} {Y1} {X2} {Y1} {X2} {Y2} {X1} {Y2} {name} 0"),
        "img_0.txt:1: expected a class number and a box, got four corners and a class",
        "as dota:DIR"),
    "the number of boxes before them": (
        lambda f: foreign(f, "Labels/001/img_0.txt", "1\n4 6 28 26 disc\n"), "no data set",
        "texts that begin with the number of boxes, which is not read: convert it"),
    "Penn-Fudan": (
        lambda f: foreign(f, "Annotation/img_0.txt", "# Compatible with PASCAL Annotation Version"
                          ' 1.00\nImage filename : "PNGImages/img_0.png"\n'),
        "no data set", "the texts of Penn-Fudan"),
    "ExDark": (
        lambda f: foreign(f, "a/img_0.png.txt", "% bbGt version=3\nBicycle 204 28 71 9 0 0 0 0\n"),
        "no data set", "bbGt's texts"),
    "NWPU VHR-10": (
        lambda f: foreign(f, "ground truth/img_0.txt", "(563,478),(630,573),1 \n"), "no data set",
        "NWPU VHR-10's texts"),
    "GTSDB": (
        lambda f: foreign(f, "gt.txt", "img_0.ppm;774;411;815;446;11\n"), "no data set",
        "GTSDB's list, which is not read: begin it with the line filename;xmin"),
    "HRSC2016": (
        lambda f: foreign(f, "a.xml", "<HRSC_Image><HRSC_Objects/></HRSC_Image>"), "no data set",
        "the XML of HRSC2016"),
    "UA-DETRAC": (
        lambda f: foreign(f, "a.xml", '<sequence name="MVI"><frame num="1"><target_list>'),
        "no data set", "the XML of UA-DETRAC"),
    "Cityscapes": (
        lambda f: foreign(f, "a.json", '{"imgHeight": 64, "objects": [{"polygon": [[1, 2]]}]}'),
        "no data set", "Cityscapes' JSON"),
    "FiftyOne": (
        lambda f: foreign(f, "labels.json", '{"classes": ["a"], "labels": {"img_0": '
                          '[{"label": 0, "bounding_box": [0, 0, 1, 1]}]}}'),
        "no data set", "FiftyOne's JSON"),
    "MegaDetector": (
        lambda f: foreign(f, "a.json", '{"images": [{"file": "img_0.png", "detections": []}], '
                          '"detection_categories": {"1": "animal"}}'),
        "its images have neither file_name nor id", "MegaDetector's results"),
    "Dataloop": (
        lambda f: foreign(f, "json/a.json", '{"filename": "/img_0.png", "annotations": [{"label": '
                          '"disc", "type": "box", "coordinates": [{"x": 4, "y": 6}]}]}'),
        "no data set", "a.json is in no format that is read: export it as COCO"),
    "GeoJSON": (
        lambda f: foreign(f, "a.geojson", '{"type": "FeatureCollection"}'), "no data set",
        "looks like GeoJSON"),
    "Ground Truth": (
        lambda f: foreign(f, "output.manifest", '{"source-ref": "s3://b/img_0.png"}'),
        "no data set", "the manifest of Ground Truth"),
    "Azure": (
        lambda f: foreign(f, "a.jsonl", '{"image_url": "azureml://img_0.png", "label": []}'),
        "no data set", "rows of Azure"),
    "PaliGemma": (
        lambda f: foreign(f, "a.jsonl", '{"image": "img_0.png", "prefix": "detect disc", '
                          '"suffix": "<loc0100> disc"}'),
        "no data set", "texts for a language model, which is not read: export it as COCO"),
    "Labelbox": (
        lambda f: foreign(f, "a.ndjson", '{"data_row": {"id": "x"}, "projects": {"p": {"labels": '
                          '[{"annotations": {"objects": []}}]}}}'),
        "no data set", "Labelbox's export"),
    "an unknown format": (
        lambda f: foreign(f, "a.yaml", "- boxes:\n  - {x_max: 3}\n"), "no data set",
        "; it holds 8 .png, 1 .yaml"),
    "a table in a deep folder": (
        lambda f: table(f, HEADER, CSV, "a/b/c/d/boxes.csv"), "no data set",
        "boxes.csv has columns of boxes: csv:"),
    "YOLO for Keras": (
        lambda f: foreign(f, "train.txt", "images/a b.png 1,2,30,40,0 5,6,30,40,1\n"),
        "no data set", "the list of YOLO for Keras"),
    "CrowdHuman": (
        lambda f: foreign(f, "a.odgt", '{"ID": "img_0", "gtboxes": []}'), "no data set",
        "the texts of CrowdHuman"),
    "KITTI's results": (
        lambda f: foreign(f, "label_2/img_0.txt", f"car{' 1' * 15}\n"), "no data set",
        "so these are detections: without it"),
    "VoTT": (
        lambda f: foreign(f, "a.json", '{"assets": {"1": {"regions": []}}}'), "no data set",
        "the JSON of VoTT, which is not read"),
    "Scalabel's frames": (
        lambda f: foreign(f, "a.json", '{"frames": [{"labels": [{"box2d": {}}]}]}'),
        "no data set", "name the list of frames in it"),
    "Vertex AI": (
        lambda f: foreign(f, "a.jsonl", '{"imageGcsUri": "gs://b/img_0.png"}'), "no data set",
        "rows of Vertex AI, which is not read: convert it to COCO"),
    "Ultralytics' platform": (
        lambda f: foreign(f, "a.ndjson", '{"type": "dataset", "class_names": {"0": "disc"}}\n'),
        "no data set", "of Ultralytics' platform, which is not read: export it as YOLO"),
    "OIDv4": (
        lambda f: foreign(f, "train/Label/img_0.txt", "Hot dog 1.5 2 30.25 40\n"), "no data set",
        "texts of OIDv4's toolkit"),
    "Git LFS": (
        lambda f: foreign(f, "a.json", "version https://git-lfs.github.com/spec/v1\n"),
        "no data set", "a pointer of Git LFS, which is not read: fetch the files with git lfs"),
    "Hugging Face": (
        lambda f: foreign(f, "train/metadata.jsonl", '{"file_name": "a.png"}'), "no data set",
        "objects of Hugging Face"),
    "Parquet": (
        lambda f: foreign(f, "data/train.parquet", "PAR1"), "no data set", "rows of Parquet"),
    "TensorFlow": (
        lambda f: foreign(f, "train/a.tfrecord", ""), "no data set", "TensorFlow's records"),
    "an archive": (lambda f: foreign(f, "a.zip", "PK"), "no data set", "unpack it"),
    "images alone": (write_images, "no data set", "it holds 8 images but no annotations"),
    "images by class": (
        lambda f: (write_images(f / "cats"), write_images(f / "dogs")), "no data set",
        r"it holds 16 images in folders (cats, dogs …) but no annotations"),
    "annotations alone": (
        lambda f: (voc(f), shutil.rmtree(f / "JPEGImages")), "no data set",
        "it holds no images: name the folder that holds the images and their annotations"),
    "an empty folder": (lambda f: None, "no data set", "it holds no files"),
    "other columns": (
        lambda f: table(f, "image,label,polygon", "{n},{name},1"), "no data set",
        "boxes.csv begins with 'image,label,polygon': expected the columns filename"),
    "detections": (
        lambda f: table(f, "image,label,conf,xmin,ymin,xmax,ymax", "{n},{name},1,1,2,30,40"),
        "no data set", "boxes.csv has scores, as detections have: csv:"),
    "tabs in settings": (
        lambda f: yolo(f, settings="names:\n\t- disc\n"), "is not YAML", "blanks in the place of"),
    "keypoints of a detector": (
        lambda f: yolo(f, row="{c} {x} {y} {w} {h} {x} {y} 0.8 {x1} {y} 0.7"),
        "the rows of 11 numbers can be outlines or boxes with 2 keypoints", "kpt_shape: [2, 3]"),
    "CSV, a quote in a class that is not closed": (
        lambda f: table(f, HEADER, CSV, change=lambda text: text.replace(",disc", ',"disc', 1)),
        "boxes.csv:2: a quote is not closed", "mend the row"),
    "CSV, a quote in a note that ends in another": (
        lambda f: table(f, f"{HEADER},note", f"{CSV},a", change=lambda text: text.replace(
            ",a", ',"a', 1) + '\nimg_0.png,disc,1,1,9,9,"b"'),
        "boxes.csv:2: a quote is not closed", "mend the row"),
    "a table in a text": (
        lambda f: table(f, HEADER, CSV, "boxes.txt"), "no data set",
        "boxes.txt has columns of boxes: csv:"),
    "JSON with a comment": (
        lambda f: foreign(f, "a.json", '// mine\n{"images": []}'), "no data set",
        "a.json is in no format that is read: export it as COCO"),
    "CSV, a list of decimal commas": (
        lambda f: table(f, "image;class;bbox", '{n}.png;{name};"{X1},0 {Y1},0 {W},0 {H},0"'),
        "boxes.csv:2: expected four numbers", "mend the row"),
    "CSV, thousands": (
        lambda f: table(f, HEADER, '{n}.png,{name},{X1},{Y1},"1,028",{Y2}'),
        "boxes.csv:2: 1,028 may be 1.028 or 1028", "without marks of thousands"),
    "CSV, thousands by blanks": (
        lambda f: table(f, HEADER, "{n}.png,{name},{X1},{Y1},1 028,{Y2}"),
        "boxes.csv:2: expected four numbers", "mend the row"),
    "CSV, per cent": (
        lambda f: table(f, HEADER, "{n}.png,{name},{x1:%},{y1:%},{x2:%},{y2:%}"),
        "boxes.csv:2: expected four numbers", "mend the row"),
    "CSV, numbers of programmers": (
        lambda f: table(f, HEADER, "{n}.png,{name},{X1}_0,{Y1}_0,{X2}_0,{Y2}_0"),
        "boxes.csv:2: expected four numbers", "mend the row"),
    "CSV, negative sides": (
        lambda f: table(f, "image,label,x,y,w,h", "{n}.png,{name},{X1},{Y1},-{W},{H}"),
        "boxes.csv:2: expected no negative sides", "mend the row"),
    "CSV, not UTF-8": (
        lambda f: table(f, HEADER, f"{{n}}é{CSV[3:]}", encoding="latin-1"),
        "cannot read .*boxes.csv", "save it as CSV in UTF-8"),
    "YOLO with scores": (
        lambda f: yolo(f, row="{c} {x} {y} {w} {h} 0.9"), "expected 5 numbers, got 6", "score"),
    "COCO, thousands": (
        lambda f: coco(f, change=each_box(lambda b: [f"1,{each:03d}" for each in b])),
        "has no box", ""),
    "JPEG 2000": (
        lambda f: (voc(f), [path.rename(path.with_suffix(".jp2"))
                            for path in (f / "JPEGImages").iterdir()]),
        "no such file", "there are .jp2 files of these names: convert them to JPEG or PNG"),
    "thousands": (
        lambda f: voc(f, form=OBJECT.replace("{x1}", "1,234")),
        "no box of four numbers, but xmin 1,234, ymin 7", "mend"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(tmp_path: Path, name: str) -> None:
    write, message, hint = REFUSED[name]
    write(tmp_path)
    with pytest.raises(DataError, match=message) as error:
        opened(tmp_path, "all")
    assert hint in (error.value.hint or "")


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


@pytest.mark.parametrize("write", [
    lambda f: coco(f, change=each_box(lambda b: [b[0] / 96, b[1] / 64, b[2] / 96, b[3] / 64])),
    lambda f: table(f, HEADER, "{n}.png,{name},{x1},{y1},{x2},{y2}"),
    lambda f: voc(f, form=FRACTIONS),
])  # fmt: skip
def test_fractions_that_reach_out_of_an_image(tmp_path: Path, write: Write) -> None:
    write(tmp_path)
    for path in tmp_path.rglob("*.*"):
        if path.suffix in (".json", ".csv", ".xml"):  # the left edge of img_0's object
            old, new = (
                ("0.041666666666666664, ", "-0.2, ")
                if path.suffix == ".json"
                else ("0.041666666666666664", "-0.2")
            )
            path.write_text(path.read_text().replace(old, new, 1))
    found = opened(tmp_path).ground_truth(0).boxes[0]
    right = -0.2 * 96 + 24 if any(tmp_path.rglob("*.json")) else 28
    assert found.tolist() == pytest.approx([0, 6, right, 26], abs=1e-3)


def test_fractions_of_photos_that_are_turned(tmp_path: Path) -> None:
    coco(tmp_path, change=each_box(lambda b: [b[0] / 96, b[1] / 64, b[2] / 96, b[3] / 64]))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter clockwise; the sizes are those before that
    for path in (tmp_path / "images").iterdir():
        with Image.open(path) as picture:
            picture.save(path, exif=exif)
    turned = {
        name: [(c, 64 - y2, x1, 64 - y1, x2) for c, x1, y1, x2, y2 in own]
        for name, own in OBJECTS.items()
    }
    assert_read(opened(tmp_path), turned)


@pytest.mark.parametrize("write", [
    lambda f: coco(f, change=each_row("images", lambda row: row.pop("width"))), voc,
    lambda f: tool_files.write(f, tool_files.via()),
])  # fmt: skip
def test_boxes_that_reach_out_of_resized_images_are_told(tmp_path: Path, write: Write) -> None:
    write(tmp_path)
    sentence = "4 of 12 objects reach beyond the edges of their images"
    assert not any(sentence in note for note in opened(tmp_path, "all").notes)
    for path in tmp_path.rglob("*.png"):
        with Image.open(path) as picture:
            picture.resize((48, 32)).save(path)
    assert any(sentence in note for note in opened(tmp_path, "all").notes)


def test_sizes_as_texts_tell_of_resized_images(tmp_path: Path) -> None:
    coco(tmp_path, change=each_row("images", lambda r: r.update(width="192", height="128")))
    half = {
        name: [(c, *(side / 2 for side in box)) for c, *box in own] for name, own in OBJECTS.items()
    }
    assert_read(opened(tmp_path), half)


def test_others_folders_do_not_keep_a_data_set_from_being_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "private").mkdir()
    lock(monkeypatch, tmp_path / "private")
    yolo(tmp_path / "set")
    assert_read(opened(tmp_path))


@pytest.mark.parametrize(("write", "locked"), [
    (voc, "Annotations"), (voc, "JPEGImages"), (coco, "annotations"),
    (yolo, "images"), (lambda f: voc(f / "set"), "set"),
    (lambda f: tool_files.write(f, tool_files.labelme()), "json"),
])  # fmt: skip
def test_folders_that_may_not_be_looked_into_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Write, locked: str
) -> None:
    write(tmp_path)
    lock(monkeypatch, tmp_path / locked)
    with pytest.raises(DataError) as error:
        opened(tmp_path)
    assert str(error.value) == f"cannot look into the folder {tmp_path / locked}: Permission denied"


@pytest.mark.parametrize(("write", "note"), [
    (lambda f: voc(f, "{}/a", "{}/b"), "2 XML files that are in no folder of a split"),
    (lambda f: yolo(f, "images/{}", "labels/{}"), "2 images that are in no split, though annot"),
    (lambda f: coco(f, "annotations/{}.json", "{}"), "1 file of annotations that is of no split"),
])  # fmt: skip
def test_what_is_in_no_split_is_told(tmp_path: Path, write: Write, note: str) -> None:
    write(tmp_path)
    assert not any("left out" in each for each in opened(tmp_path, "train").notes)
    for path in sorted(tmp_path.rglob("val*"), reverse=True):
        path.rename(path.with_name(path.name.replace("val", "holdout")))
    found = opened(tmp_path, "train")
    assert_read(found, TRAIN)
    assert any(f"left out {note}" in each for each in found.notes)


@pytest.mark.parametrize("line", ["{}", "C:\\x\\{}.PNG", "a/{}.png b/{}.xml", "'{}',", "{}  -1"])
def test_annotations_in_no_list_are_told(tmp_path: Path, line: str) -> None:
    listed(tmp_path, "train.txt", "\n".join(line.format(name, name) for name in TRAIN))
    note = "left out 2 annotated images that are in no list, such as img_6"
    assert note in opened(tmp_path, "train").notes
    (tmp_path / "test.txt").write_bytes(b"\xff\0")
    assert note in opened(tmp_path, "train").notes
    (tmp_path / "val.txt").write_text("img_6\nimg_7\n")
    assert note not in opened(tmp_path, "train").notes


def test_other_words_for_val(tmp_path: Path) -> None:
    voc(tmp_path, "{}/a", "{}/b")
    (tmp_path / "val").rename(tmp_path / "eval")
    assert_read(opened(tmp_path, "val"), VAL)


@pytest.mark.parametrize("place", ["images/more", "images"])
def test_folders_behind_links(tmp_path: Path, place: str) -> None:
    yolo(tmp_path / "real")
    for name in ("images", "labels"):
        link = tmp_path / "set" / place.replace("images", name)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(tmp_path / "real" / name)
    (tmp_path / "real" / "data.yaml").rename(tmp_path / "set" / "data.yaml")
    assert_read(opened(tmp_path / "set"))


def test_a_listed_image_with_two_xml_files_is_not_background(tmp_path: Path) -> None:
    voc(tmp_path, "Annotations/upright")
    voc(tmp_path, "Annotations/turned")
    (tmp_path / "train.txt").write_text("img_0\nimg_1\n")
    with pytest.raises(DataError, match="img_0 may be annotated in turned/img_0, upright/img_0"):
        open_dataset(str(tmp_path), split="train")


def test_another_number_of_classes_is_told(tmp_path: Path) -> None:
    yolo(tmp_path, settings="nc: 3\nnames: [disc, square]")
    assert any("say 3 classes, but name 2: these" in note for note in opened(tmp_path, "all").notes)


def test_names_in_another_order_are_told(tmp_path: Path) -> None:
    named(tmp_path, "labels/classes.txt", "square\ndisc\n")
    (tmp_path / "data.yaml").write_text("names: [disc, square]")
    found = opened(tmp_path, "all")
    assert_read(found)
    note = "labels/classes.txt names the classes in another order: those of data.yaml count"
    assert any(each.endswith(note) for each in found.notes)


def test_a_long_list_of_names_is_no_path(tmp_path: Path) -> None:
    yolo(tmp_path, settings=f"names: disc, square, {'x' * 250}, {'y' * 250}")
    assert len(opened(tmp_path, "all").classes) == 4


def test_names_of_classes_stay_as_they_are_written(tmp_path: Path) -> None:
    yolo(tmp_path, settings="names: [no, 010]")
    assert opened(tmp_path).classes == ("no", "010")


def test_an_object_with_two_boxes_is_two(tmp_path: Path) -> None:
    other = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    voc(tmp_path, form=OBJECT.replace("</object>", f"{other}</object>"))
    expected = {
        name: [*own, *((each[0], 0, 0, 9, 9) for each in own)] for name, own in OBJECTS.items()
    }
    assert_read(opened(tmp_path), expected)


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


def test_a_list_of_names_of_deeper_annotations(tmp_path: Path) -> None:
    voc(tmp_path, "annotations/xmls", "images")
    lines = "".join(f"{name} 1 1 2\n" for name in TRAIN)
    (tmp_path / "annotations" / "trainval.txt").write_text(lines)
    assert_read(opened(tmp_path, "trainval"), TRAIN)


def test_lists_that_are_no_splits(tmp_path: Path) -> None:
    voc(tmp_path)
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "default.txt").write_text("\n".join(OBJECTS))
    assert len(opened(tmp_path, "train")) == 6
    assert len(opened(tmp_path, "val")) == 2


def test_quoted_names_in_a_list(tmp_path: Path) -> None:
    voc(tmp_path)
    (tmp_path / "train.txt").write_text("".join(f'"{name}",\n' for name in TRAIN))
    assert_read(opened(tmp_path, "train"), TRAIN)


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


def test_pages_behind_the_first_are_told(tmp_path: Path) -> None:
    voc(tmp_path)
    path = tmp_path / "JPEGImages" / "img_0.png"
    with Image.open(path) as page:
        page.save(path.with_suffix(".tif"), save_all=True, append_images=[page])
    path.unlink()
    note = "1 of 8 images have several pages or frames, such as img_0.tif: the first one is read"
    assert note in opened(tmp_path).notes


LONG_NAME = "x" * 300


@pytest.mark.parametrize("write", [
    lambda f: coco(f, change=lambda content: content["images"][0].update(file_name=LONG_NAME)),
    lambda f: table(f, HEADER, CSV.replace("{n}", LONG_NAME)),
    lambda f: tool_files.write(f, tool_files.via(), change=lambda s: s.replace("img_0", LONG_NAME)),
    lambda f: (yolo(f, settings="names: [disc, square]\ntrain: train.txt"),
               (f / "train.txt").write_text(f"images/img_1.png\nimages/{LONG_NAME}.png")),
])  # fmt: skip
def test_names_that_are_too_long_for_a_file(tmp_path: Path, write: Write) -> None:
    write(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        opened(tmp_path)


def test_cells_that_say_nothing(tmp_path: Path) -> None:
    table(tmp_path, "filename,class,xmin,ymin,xmax,ymax", CSV)
    with (tmp_path / "boxes.csv").open("a") as file:
        file.write("\nempty.png,,nan,nan,nan,nan\n")
    (tmp_path / "images" / "img_0.png").rename(tmp_path / "images" / "empty.png")
    write_images(tmp_path / "images", ["img_0"])
    assert_read(opened(tmp_path), {**OBJECTS, "empty": []})


def test_ignored_objects_count_as_difficult(tmp_path: Path) -> None:
    coco(tmp_path, change=lambda content: content["annotations"][0].update(ignore=1))
    assert [truth.difficult.sum() for truth in opened(tmp_path).ground_truths()][:2] == [1, 0]


AT_THE_EDGES = {
    f"img_{i}": [("disc", 60, 30, 92, 60), ("square", 4, 4, 20, 10)] for i in range(len(OBJECTS))
}


@pytest.mark.parametrize("write", [
    lambda f: coco(f, change=lambda content: content.update(annotations=[
        {"image_id": i, "category_id": c, "bbox": centre([x1, y1, x2 - x1, y2 - y1])}
        for i, own in enumerate(AT_THE_EDGES.values()) for c, (_, x1, y1, x2, y2) in enumerate(own)
    ])),
    lambda f: table(f, "filename,class,x,y,w,h", "", change=lambda text: text.strip() + "".join(
        f"\n{name}.png,{c},{(x1 + x2) / 192},{(y1 + y2) / 128},{(x2 - x1) / 96},{(y2 - y1) / 64}"
        for name, own in AT_THE_EDGES.items() for c, x1, y1, x2, y2 in own)),
])  # fmt: skip
def test_centres_in_the_place_of_corners(tmp_path: Path, write: Write) -> None:
    write(tmp_path)
    found = opened(tmp_path)
    assert_read(found, AT_THE_EDGES)
    assert any("the boxes are centre and sides" in note for note in found.notes)


def test_some_boxes_that_reach_out_are_no_centres(tmp_path: Path) -> None:
    rows = [{"image_id": i, "category_id": 0, "bbox": [50, 30, 40, 30]} for i in range(8)]
    rows[0]["bbox"] = rows[1]["bbox"] = [60, 30, 50, 30]
    coco(tmp_path, change=lambda content: content.update(annotations=rows))
    found = opened(tmp_path)
    assert found.ground_truth(0).boxes.tolist() == [[60, 30, 96, 60]]
    assert found.ground_truth(7).boxes.tolist() == [[50, 30, 90, 60]]


def test_right_boxes_of_coco_are_not_taken_for_corners(tmp_path: Path) -> None:
    rows = [{"image_id": 0, "category_id": 0, "bbox": [2, 2, 90, 60]}]
    coco(tmp_path, change=lambda content: content.update(annotations=rows))
    assert opened(tmp_path).ground_truth(0).boxes.tolist() == [[2, 2, 92, 62]]


@pytest.mark.parametrize("row", ["{c} {x1} {y1} {w} {h}", "{c} {x1} {y1} {x2} {y2}"])
def test_the_form_of_rows_is_that_of_all_splits(tmp_path: Path, row: str) -> None:
    yolo(tmp_path, "images/{}", "labels/{}", row=row)
    (tmp_path / "labels/val/img_6.txt").write_text("")
    (tmp_path / "labels/val/img_7.txt").write_text("0 0.4 0.4 0.5 0.5")
    right = [38.4, 25.6, 48, 32] if "x2" in row else [38.4, 25.6, 86.4, 57.6]
    assert opened(tmp_path, "val").ground_truth(1).boxes[0].tolist() == pytest.approx(right)


@pytest.mark.parametrize(
    "file",
    [
        "{}.json",
        "{}_coco.json",
        "annotations/{}_annotations.json",
        "annotations/{}/boxes.json",
    ],
)
@pytest.mark.parametrize("images", ["{}", "data/{}", "{}_images", "images/{}2017", "{}/images"])
def test_images_of_equal_names_in_each_split(tmp_path: Path, file: str, images: str) -> None:
    coco(tmp_path, file, images, file_name="{}.png")
    for split, names in (("train", TRAIN), ("val", VAL)):
        path = tmp_path / file.format(split)
        text = path.read_text()
        for index, name in enumerate(names):
            picture = tmp_path / images.format(split) / f"{name}.png"
            picture.rename(picture.with_stem(f"{index}"))
            text = text.replace(f"{name}.png", f"{index}.png")
        path.write_text(text)
    found = opened(tmp_path, "val")
    assert {path.parent for path in found.paths} == {tmp_path / images.format("val")}
    assert_read(found, {"0": VAL["img_6"], "1": VAL["img_7"]})


@pytest.mark.parametrize("folders", [("imgs/{}", "txts/{}"), ("{}_images", "{}_labels")])
def test_images_of_equal_names_in_each_split_of_yolo(
    tmp_path: Path, folders: tuple[str, str]
) -> None:
    yolo(tmp_path, *folders)
    for names in (TRAIN, VAL):
        for index, name in enumerate(names):
            for path in list(tmp_path.rglob(f"{name}.*")):
                path.rename(path.with_stem(str(index)))
    assert_read(opened(tmp_path, "val"), {"0": VAL["img_6"], "1": VAL["img_7"]})
    assert len(opened(tmp_path, "train")) == len(TRAIN)


def test_images_without_label_files_in_folders_of_any_name(tmp_path: Path) -> None:
    yolo(tmp_path, "pictures", "texts")
    (tmp_path / "texts/img_3.txt").unlink()
    write_images(tmp_path / "more", ["img_3"])
    (tmp_path / "more/img_3.png").rename(tmp_path / "more/a.png")
    found = opened(tmp_path, "all")
    assert_read(found, {**OBJECTS, "img_3": []})
    assert "took 1 image of 8 for background, for want of a label file" in found.notes
    assert any("left out 1 image in folders without any label" in each for each in found.notes)


def test_some_rows_that_reach_out_do_not_begin_at_corners(tmp_path: Path) -> None:
    yolo(tmp_path)
    rows = ["0 0.02 0.5 0.1 0.1", "0 0.5 0.02 0.1 0.1", "1 0.01 0.4 0.1 0.1"]
    for index, row in enumerate([*rows, "1 0.95 0.5 0.1 0.1"]):
        (tmp_path / f"labels/img_{index}.txt").write_text(row)
    found = opened(tmp_path, "all").ground_truth(0).boxes[0]
    assert found.tolist() == pytest.approx([0, 28.8, 6.72, 35.2], abs=0.01)


def test_right_rows_of_yolo_are_not_taken_for_corners(tmp_path: Path) -> None:
    yolo(tmp_path, row="{c} 0.4 0.4 0.7 0.7")
    assert opened(tmp_path).ground_truth(0).boxes[0].tolist() == pytest.approx([4.8, 3.2, 72, 48])


def test_classes_that_differ_in_spelling_are_told(tmp_path: Path) -> None:
    voc(tmp_path)
    path = tmp_path / "Annotations" / "img_0.xml"
    path.write_text(path.read_text().replace("disc", "Disc"))
    sentence = "the classes 'Disc' and 'disc' differ only in their spelling"
    assert any(sentence in note for note in opened(tmp_path).notes)
    assert any(sentence in each for each in check_data([opened(tmp_path)]).remarks)


def test_classes_whose_accents_are_composed_differently_are_told(tmp_path: Path) -> None:
    voc(tmp_path)
    for name, letters in (("img_0", "caf\u00e9"), ("img_2", "cafe\u0301")):
        path = tmp_path / "Annotations" / f"{name}.xml"
        path.write_text(path.read_text().replace("disc", letters))
    assert any("differ only in their spelling" in note for note in opened(tmp_path).notes)


@pytest.mark.parametrize("file", ["JPEGImages/img_0.png", "Annotations/img_0.xml"])
def test_a_file_of_one_image_is_no_data_set(tmp_path: Path, file: str) -> None:
    voc(tmp_path)
    with pytest.raises(DataError, match="no data set of a known format") as error:
        open_dataset(str(tmp_path / file))
    assert error.value.hint == "name the folder that holds the images and their annotations"


def test_the_results_of_coco_are_named(tmp_path: Path) -> None:
    rows = [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]
    (tmp_path / "results.json").write_text(json.dumps(rows))
    with pytest.raises(DataError) as error:
        open_dataset(str(tmp_path / "results.json"))
    assert "a list of COCO's results" in error.value.hint
