from __future__ import annotations

import csv
import json
from io import StringIO
from pathlib import Path

import pytest

import tool_files
from frcnn_cli.data.checks import check_dataset
from frcnn_cli.data.registry import open_dataset
from strangers import OBJECTS, boxes


@pytest.mark.parametrize("first", ["timestamp", "image_id", "img_note", "note"])
def test_label_studios_image_among_other_texts(tmp_path: Path, first: str) -> None:
    for key in ("image", "photo"):
        contents = {
            name: text.replace('"text": "a note", "image"', f'"{first}": "10:00 1", "{key}"')
            for name, text in tool_files.label_studio().items()
        }
        tool_files.write(tmp_path, contents)
        assert all(path.is_file() for path in open_dataset(str(tmp_path)).paths)


def test_label_studios_shapes_with_their_labels_apart(tmp_path: Path) -> None:
    place = {"x": 50, "y": 50, "width": 12.5, "height": 25}
    contents = tool_files.with_shape("labelstudio", place | {"labels": ["x"]})
    ((name, text),) = contents.items()
    content = json.loads(text)
    content[0]["annotations"][1]["result"].append({**tool_files.SIDES, "value": place})
    tool_files.write(tmp_path, {name: json.dumps(content)})
    found = open_dataset(str(tmp_path))
    assert found.annotations[0].names.count("x") == 1
    assert not any("left out" in note for note in found.notes)


@pytest.mark.parametrize("kind", ["csv", "tsv", "min"])
def test_rows_of_label_studio_that_are_no_annotation(tmp_path: Path, kind: str) -> None:
    """A task that nobody has annotated has a row without a number, and one that two people have
    annotated two rows."""
    ((_, text),) = tool_files.label_studio_csv().items()
    rows = list(csv.DictReader(StringIO(text)))
    rows[0] |= {"annotation_id": "", "label": ""}
    rows[2] |= {"label": ""}
    rows.append(rows[4] | {"annotation_id": 9, "label": rows[5]["label"]})
    rows[5] |= {"history": '[{"rectanglelabels": ["cow"]}]'}
    out = StringIO()
    if kind == "min":
        for row in rows:
            row.pop("history", None)
            row["label"] = json.loads(row["label"]) if row["label"] else ""
            row["annotation_id"] = row["annotation_id"] or None
        json.dump(rows, out)
    else:
        table = csv.DictWriter(out, rows[5].keys(), delimiter="," if kind == "csv" else "\t")
        table.writeheader()
        table.writerows(rows)
    name = f"export.{'json' if kind == 'min' else kind}"
    tool_files.write(tmp_path, {name: out.getvalue()})
    found = open_dataset(str(tmp_path))
    assert boxes(found) == {
        name: [] if name == "img_2" else [(c, *map(pytest.approx, box)) for c, *box in own]
        for name, own in OBJECTS.items()
        if name != "img_0"
    }
    assert any("left out 1 image that is in" in each for each in found.notes)
    assert any("left out 1 annotation of images that have several" in each for each in found.notes)


def test_a_cell_of_label_studio_may_be_long(tmp_path: Path) -> None:
    many = {"img_0": OBJECTS["img_0"] * 1000}
    tool_files.write(tmp_path, tool_files.label_studio_csv(many))
    assert len(open_dataset(str(tmp_path)).annotations[0].names) == 1000


def test_uploads_to_label_studio_have_letters_before_their_names(tmp_path: Path) -> None:
    tool_files.write(
        tmp_path,
        tool_files.label_studio(),
        change=lambda s: s.replace("/upload/1/", "/upload/1/0a1b2c3d-"),
    )
    assert boxes(open_dataset(str(tmp_path))).keys() == OBJECTS.keys()


def test_uploads_to_label_studio_in_folders_of_any_name(tmp_path: Path) -> None:
    contents = {f"labels/{name}": text for name, text in tool_files.label_studio_csv().items()}
    tool_files.write(tmp_path, contents, "old/pictures")
    assert boxes(check_dataset(open_dataset(str(tmp_path)))).keys() == OBJECTS.keys()


def test_images_that_nobody_annotated_in_label_studio_are_no_background(tmp_path: Path) -> None:
    content = json.loads(*tool_files.label_studio().values())
    content[0]["annotations"] = []
    content[1]["annotations"][1]["was_cancelled"] = True
    content[2]["annotations"][1]["result"] = []
    tool_files.write(tmp_path, {"project.json": json.dumps(content)})
    found = open_dataset(str(tmp_path))
    assert boxes(found).keys() == OBJECTS.keys() - {"img_0", "img_1"}
    assert not boxes(found)["img_2"]
    assert any(note.startswith("left out 2 images that are in ") for note in found.notes)


def test_what_several_people_drew_in_an_image_is_told(tmp_path: Path) -> None:
    content = json.loads(*tool_files.label_studio().values())
    content[0]["annotations"].append(content[1]["annotations"][1])
    tool_files.write(tmp_path, {"project.json": json.dumps(content)})
    found = open_dataset(str(tmp_path))
    assert boxes(found).keys() == OBJECTS.keys()
    assert any("left out 1 annotation of images that have several" in note for note in found.notes)
