"""Data sets as the programs of other people leave them: read right, or refused by name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from frcnn_cli.data.registry import names_dataset
from frcnn_cli.errors import DataError
from strangers import (
    BOX,
    CSV,
    FRACTIONS,
    HEADER,
    OBJECT,
    OBJECTS,
    TRAIN,
    VAL,
    Write,
    assert_read,
    coco,
    each_box,
    each_row,
    listed,
    named,
    opened,
    table,
    voc,
    write_images,
    yolo,
)


def foreign(folder: Path, file: str, text: str) -> None:
    write_images(folder / "images")
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(text)


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


def named_by_split(folder: Path, labels: str, images: str = "", val: str = "disc\n") -> None:
    """YOLO with a list of the classes for each split, of which one may lack the last class."""
    yolo(folder, images or labels.replace("labels", "images"), labels, settings="")
    (folder / labels.format("train") / "classes.txt").write_text("disc\nsquare\n")
    (folder / labels.format("val") / "classes.txt").write_text(val)


LONG = {"licenses": [{"id": index, "name": "x" * 90} for index in range(1500)]}
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
    "Stanford Dogs": (
        lambda f: foreign(f, "Annotation/pug/img_0", "<annotation><object><name>pug</name>"),
        "no data set", "looks like the XML of VOC, which is not read: give such files the ending"),
    "dlib": (
        lambda f: (write_images(f), (f / "a.xml").write_text("<dataset><images><image/>")),
        "no data set", "looks like the XML of dlib"),
    "Datumaro": (
        lambda f: coco(f, change=lambda content: content.update(items=content.pop("images"))),
        "no list of images", "looks like Datumaro"),
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
