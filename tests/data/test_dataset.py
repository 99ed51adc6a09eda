from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from frcnn_cli.data import dataset
from frcnn_cli.data.check_data import check_data
from frcnn_cli.data.dataset import concatenate_datasets, match_classes
from frcnn_cli.data.registry import open_dataset
from frcnn_cli.data.voc import load_voc
from frcnn_cli.errors import ConfigError, DataError
from strangers import opened, voc


@pytest.mark.parametrize(
    ("own", "others", "mapping"),
    [
        (["cat", "dog"], ["dog", "cat"], {"cat": "cat", "dog": "dog"}),
        (["potted plant", "TV-Monitor"], ["pottedplant", "tv_monitor"], None),
        (["Cat", "cat"], ["cat"], {"cat": "cat"}),
        (["Cat", "CAT"], ["cat"], {"Cat": "cat"}),
        (["a b", "ab"], ["ab", "a-b"], {"ab": "ab", "a b": "a-b"}),
        ([], ["x"], {}),
    ],
)
def test_classes_are_matched_by_name(own, others, mapping) -> None:
    result = match_classes(own, others)
    expected = dict(zip(own, others, strict=True)) if mapping is None else mapping
    assert result.mapping == expected
    assert result.unmatched == tuple(name for name in own if name not in expected)
    assert result.unmatched_others == tuple(n for n in others if n not in expected.values())


def test_numbers_follow_the_other_classes(voc_folder: Path) -> None:
    own = load_voc(voc_folder, "mine", "trainval", ())
    other = own.with_classes(("zebra", "TILE", "ball"))
    for index in range(len(own)):
        before = [own.classes[k - 1] for k in own.ground_truth(index).labels]
        after = [other.classes[k - 1].lower() for k in other.ground_truth(index).labels]
        assert after == [name for name in before if name != "box"]
    with pytest.raises(DataError, match="none of the classes"):
        own.with_classes(("zebra",))


def test_limited_keeps_the_first(voc_folder: Path) -> None:
    whole = load_voc(voc_folder, "mine", "trainval", ())
    assert whole.limited(3).ids == whole.ids[:3]
    assert len(whole.limited(3).paths) == len(whole.limited(3).annotations) == 3
    assert whole.limited(None) == whole


def test_ground_truth_without_the_image_file(voc_folder: Path) -> None:
    dataset = load_voc(voc_folder, "mine", "trainval", ())
    expected = dataset.ground_truth(0)
    dataset.paths[0].unlink()
    assert dataset.ground_truth(0).boxes.tolist() == expected.boxes.tolist()


def test_data_sets_are_concatenated(voc_folder: Path) -> None:
    train = load_voc(voc_folder, "a", "train", ())
    val = load_voc(voc_folder, "b", "val", ()).with_classes(("tile", "ball"))
    both = concatenate_datasets([train, val])
    assert (both.name, both.split, len(both)) == ("a+b", "train+val", len(train) + len(val))
    assert both.classes == ("ball", "box", "tile")
    assert both.ids == train.ids + val.ids
    labels = both.ground_truth(len(train)).labels
    assert [both.classes[k - 1] for k in labels] == [
        val.classes[k - 1] for k in val.ground_truth(0).labels
    ]
    with pytest.raises(DataError, match="are the same file"):
        concatenate_datasets([train, train])


def test_ids_that_several_data_sets_have_are_qualified(voc_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(voc_folder, tmp_path / "copy")
    parts = [
        load_voc(voc_folder, "voc:a", "train", ()).with_notes("odd"),
        load_voc(tmp_path / "copy", "voc:b", "trainval", ()),
    ]
    both = concatenate_datasets(parts)
    assert both.ids[:5] == ("a/000001", "a/000003", "a/000005", "a/000007", "b/000001")
    assert both.ids[5] == "000002"
    assert len(set(both.ids)) == len(both) == 12
    assert both.notes[0] == "voc:a: odd"
    assert "share 4 names of images" in both.notes[1]
    same = concatenate_datasets([replace(part, name="voc") for part in parts])
    assert len(set(same.ids)) == 12


def test_objects_that_are_all_difficult_do_not_count(voc_folder: Path) -> None:
    dataset = load_voc(voc_folder, "mine", "trainval", ())
    dataset.require_objects()
    difficult = tuple(
        replace(each, difficult=np.ones(len(each.names), np.bool_)) for each in dataset.annotations
    )
    with pytest.raises(DataError, match="no object that counts"):
        replace(dataset, annotations=difficult).require_objects()


def test_words_for_one_class_are_matched_after_equal_names() -> None:
    match = match_classes(("airplane", "dining table", "TV", "cat", "couch"), ("Aeroplane", "sofa",
                          "diningtable", "cat", "tvmonitor", "cow"))  # fmt: skip
    assert match.mapping == {
        "airplane": "Aeroplane",
        "dining table": "diningtable",
        "TV": "tvmonitor",
        "cat": "cat",
        "couch": "sofa",
    }
    assert match.synonyms == {"airplane": "Aeroplane", "TV": "tvmonitor", "couch": "sofa"}
    assert match.unmatched_others == ("cow",)
    both = match_classes(("couch", "sofa"), ("sofa", "bed"))
    assert (both.mapping, both.unmatched) == ({"sofa": "sofa"}, ("couch",))
    assert match_classes(("tv", "television"), ("tvmonitor",)).unmatched == ("television",)


def test_renamed_classes_may_become_one(voc_folder: Path) -> None:
    dataset = open_dataset(f"voc:{voc_folder}", None, "trainval")
    counts = [
        (each.labels == 1).sum() + (each.labels == 3).sum() for each in dataset.ground_truths()
    ]
    joined = dataset.renamed({"tile": "ball", "box": "crate"})
    assert joined.classes == ("ball", "crate")
    assert [(each.labels == 1).sum() for each in joined.ground_truths()] == counts
    with pytest.raises(ConfigError, match="unknown class 'bal'"):
        dataset.renamed({"bal": "x"})


@pytest.mark.parametrize("name", ["\ud800", "a\x1b[31m", "a" * 1001])
def test_names_that_no_class_can_have(voc_folder: Path, name: str) -> None:
    dataset = load_voc(voc_folder, "mine", "test", ())
    with pytest.raises(DataError, match="has a class ") as error:
        replace(dataset, classes=(*dataset.classes, name))
    assert error.value.message.isascii()
    assert error.value.message.isprintable()


def test_more_classes_or_objects_than_can_be_trained(
    voc_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_voc(voc_folder, "voc", "trainval", ())
    most = max(len(each.names) for each in loaded.annotations)
    monkeypatch.setattr(dataset, "MAX_OBJECTS", most)
    replace(loaded, split="x")
    monkeypatch.setattr(dataset, "MAX_OBJECTS", most - 1)
    with pytest.raises(DataError, match=rf"\.jpg has {most} objects"):
        replace(loaded, split="x")
    monkeypatch.setattr(dataset, "MAX_CLASSES", 2)
    with pytest.raises(DataError, match="voc has 3 classes"):
        replace(loaded, split="x")


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
