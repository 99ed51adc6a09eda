from __future__ import annotations

import codecs
import contextlib
import math
import time
from pathlib import Path

import numpy as np
import pytest

from frcnn_cli.data import voc_xml
from frcnn_cli.data.annotation import Annotation
from frcnn_cli.data.voc_xml import parse_annotation
from frcnn_cli.errors import DataError
from strangers import OBJECT, OBJECTS, assert_read, opened, voc

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
    return parse_annotation(path)


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
        ("<difficult>True</difficult>", True),
        ("<difficult> yes </difficult>", True),
        ("<difficult>false</difficult>", False),
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


def test_boxes_of_parts_are_not_objects(tmp_path: Path) -> None:
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
    assert parse_annotation(path).names == ("crêpe",)


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
        box(xmin="1,500"),
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
        parse_annotation(path)
    assert str(path) in message(error)


@pytest.mark.parametrize(
    "head",
    [
        LAUGHS,
        "<!DOCTYPE annotation []>",
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


def test_many_blanks_take_no_time(tmp_path: Path) -> None:
    start = time.process_time()
    assert parse(tmp_path, " " * 100_000 + thing(box())).names == ("dog",)
    assert time.process_time() - start < 1


def test_huge_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voc_xml, "MAX_XML_BYTES", 500)
    assert parse(tmp_path, thing(box())).names == ("dog",)
    with pytest.raises(DataError, match="too large"):
        parse(tmp_path, thing(box()) + " " * 500)


def test_missing_annotation(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        parse_annotation(tmp_path / "absent.xml")
    assert str(tmp_path / "absent.xml") in message(error)


@pytest.mark.parametrize("width", ["inf", "1e400", "nan", "-3", "wide"])
def test_an_invalid_size_is_ignored(tmp_path: Path, width: str) -> None:
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


CHINESE = "安全帽"
LETTERS = {
    "gb2312": CHINESE,
    "gbk": "鎔" + CHINESE,
    "gb18030": "㐀" + CHINESE,
    "big5": "安全帽",
    "shift_jis": "ヘルメット",
    "cp932": "①ヘルメット",
    "euc-jp": "ヘルメット",
    "euc-kr": "학생",
    "iso-8859-1": "crêpe",
    "windows-1251": "каска",
    "koi8-r": "каска",
    "utf8": "triángulo",
    "UTF-8": "triángulo",
    "utf-16": CHINESE,
    "utf-32": CHINESE,
}


def write(path: Path, declared: str | None, name: str, encoding: str) -> Path:
    head = "" if declared is None else f"<?xml version='1.0' encoding='{declared}'?>\n"
    text = f"{head}<annotation>{thing(box(), name)}</annotation>"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", LETTERS)
def test_encodings_of_many_countries(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "a.xml", encoding, LETTERS[encoding], encoding)
    assert parse_annotation(path).names == (LETTERS[encoding],)


@pytest.mark.parametrize(
    ("declared", "name", "encoding"),
    [
        ("utf-16", CHINESE, "utf-16-le"),  # without a mark
        ("utf-16", CHINESE, "utf-16-be"),
        (None, CHINESE, "utf-16"),
        ("utf-8", CHINESE, "utf-16"),  # the mark counts
        ("utf-16", CHINESE, "utf-8"),  # as .NET writes it
        ("gb2312", CHINESE, "utf-8"),
        ("gb2312", "鎔", "gbk"),
        ("iso-8859-1", "triángulo", "utf-8"),
        ("windows-1252", CHINESE, "utf-8"),
        ("shift_jis", "①", "cp932"),
        ("euc-kr", "똠", "cp949"),
        ("ascii", "triángulo", "utf-8"),
        ("UTF8", CHINESE, "utf-8-sig"),
        ("gb2312", "猫", "gb2312"),  # valid UTF-8 for other letters
    ],
)
def test_wrong_and_missing_declarations(
    tmp_path: Path, declared: str | None, name: str, encoding: str
) -> None:
    assert parse_annotation(write(tmp_path / "a.xml", declared, name, encoding)).names == (name,)


@pytest.mark.parametrize(
    "declared", ["utf-7", "idna", "punycode", "unicode_escape", "rot13", "zip"]
)
def test_encodings_that_no_file_has(tmp_path: Path, declared: str) -> None:
    head = f"<?xml version='1.0' encoding='{declared}'?>"
    text = f"{head}<annotation>+ADwAIQ-DOCTYPE a+AD4-</annotation>"
    path = tmp_path / "a.xml"
    path.write_text(text)
    with pytest.raises(DataError):
        parse_annotation(path)


def test_letters_that_are_in_no_likely_encoding(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xml", "utf-8", CHINESE, "gbk")
    with pytest.raises(DataError, match="is not XML") as error:
        parse_annotation(path)
    assert "utf-8" in message(error)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-32", "gb18030", "utf-8-sig"])
def test_entities_are_refused_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    declared = codecs.lookup(encoding.removesuffix("-le").removesuffix("-sig")).name
    path = tmp_path / "a.xml"
    head = f"<?xml version='1.0' encoding='{declared}'?><!DOCTYPE a [<!ENTITY e 'x'>]>"
    path.write_bytes((head + "<annotation>&e;</annotation>").encode(encoding))
    with pytest.raises(DataError, match="declares entities"):
        parse_annotation(path)


@pytest.mark.parametrize(
    ("before", "prefix"), [(' xmlns="http://example.org/voc"', ""), (' xmlns:v="urn:v"', "v:")]
)
def test_namespaces_are_ignored(tmp_path: Path, before: str, prefix: str) -> None:
    body = f"<size><width>60</width><height>40</height></size>{thing(box())}"
    body = body.replace("</", "\0").replace("<", f"<{prefix}").replace("\0", f"</{prefix}")
    path = tmp_path / "a.xml"
    path.write_text(f"<{prefix}annotation{before}>{body}</{prefix}annotation>")
    found = parse_annotation(path)
    assert (found.names, found.size) == (("dog",), (40, 60))
    assert found.boxes.tolist() == [[2, 3, 10, 20]]


@pytest.mark.parametrize(
    "inside",
    [
        "<polygon><x1>3</x1><y1>9</y1><x2>7</x2><y2>4</y2><x3>10</x3><y3>20</y3></polygon>",
        "<polygon><pt><x>2</x><y>9</y></pt><pt><x>7</x><y>3</y></pt><pt><x>10</x><y>20</y></pt>"
        "</polygon>",
        "<polygon><username>me</username><point><x>3</x><y>4</y></point>"
        "<point><x>10</x><y>20</y></point></polygon>",
        "<polygon><x1>0</x1><y1>0</y1></polygon>" + box(),
    ],
)
def test_polygons_give_the_box_around_them(tmp_path: Path, inside: str) -> None:
    assert parse(tmp_path, thing(inside)).boxes.tolist() == [[2, 3, 10, 20]]


@pytest.mark.parametrize(
    ("angle", "expected"),
    [
        (0, [10, 30, 50, 40]),
        (math.pi / 2, [25, 15, 35, 55]),
        (math.pi, [10, 30, 50, 40]),
        (90, [25, 15, 35, 55]),
        (math.pi / 4, [30 - 25 / 2**0.5, 35 - 25 / 2**0.5, 30 + 25 / 2**0.5, 35 + 25 / 2**0.5]),
    ],
)
def test_rotated_boxes_give_the_box_around_them(
    tmp_path: Path, angle: float, expected: list
) -> None:
    inside = f"<robndbox><cx>30</cx><cy>35</cy><w>40</w><h>10</h><angle>{angle}</angle></robndbox>"
    found = parse(tmp_path, thing(f"<type>robndbox</type>{inside}"))
    np.testing.assert_allclose(found.boxes, [expected], rtol=1e-5)


@pytest.mark.parametrize(
    "inside",
    [
        "<polygon/>",
        "<polygon><x1>1</x1><y1>2</y1><x2>3</x2></polygon>",
        "<polygon><x1>1</x1><y1>two</y1></polygon>",
        "<robndbox><cx>1</cx><cy>1</cy><w>2</w><h>2</h></robndbox>",
        "<robndbox><cx>1</cx><cy>1</cy><w>-2</w><h>2</h><angle>0</angle></robndbox>",
    ],
)
def test_shapes_that_are_not_complete(tmp_path: Path, inside: str) -> None:
    with pytest.raises(DataError, match="'dog' has no box of four numbers"):
        parse(tmp_path, thing(inside))


@pytest.mark.parametrize("root", ["annotations", "html", "images"])
def test_xml_of_another_kind(tmp_path: Path, root: str) -> None:
    path = tmp_path / "a.xml"
    path.write_text(f"<{root}><image id='1'><box label='dog'/></image></{root}>")
    with pytest.raises(DataError, match=f"is not a VOC annotation: it begins with <{root}>"):
        parse_annotation(path)


@pytest.mark.parametrize(("angle", "box"), [("0.0", [10, 20, 30, 30]), ("90", [15, 15, 25, 35])])
def test_boxes_of_cvat_that_are_turned(tmp_path: Path, angle: str, box: list) -> None:
    path = tmp_path / "a.xml"
    path.write_text(
        "<annotation><object><name>a</name><bndbox><xmin>11</xmin><ymin>21</ymin><xmax>30</xmax>"
        "<ymax>30</ymax></bndbox><attributes><attribute><name>rotation</name>"
        f"<value>{angle}</value></attribute></attributes></object></annotation>"
    )
    assert parse_annotation(path).boxes.tolist() == [pytest.approx(box)]


def test_objects_in_objects_take_no_square_of_their_number(tmp_path: Path) -> None:
    one = (
        "<object><name>a</name><polygon><x1>1</x1><y1>1</y1><x2>9</x2><y2>9</y2><attributes>"
        "<attribute/></attributes>"
    )
    path = tmp_path / "a.xml"
    inside = "<x/>" * 50_000
    text = f"{one * 1500}{inside}{'</polygon></object>' * 1500}"
    path.write_text(f"<annotation>{text}</annotation>")
    start = time.process_time()
    with contextlib.suppress(DataError):
        parse_annotation(path)
    assert time.process_time() - start < 3


def test_an_object_with_two_boxes_is_two(tmp_path: Path) -> None:
    other = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    voc(tmp_path, form=OBJECT.replace("</object>", f"{other}</object>"))
    expected = {
        name: [*own, *((each[0], 0, 0, 9, 9) for each in own)] for name, own in OBJECTS.items()
    }
    assert_read(opened(tmp_path), expected)
