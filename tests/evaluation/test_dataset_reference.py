from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from formats import write_coco
from frcnn_cli.data.voc import load_voc
from frcnn_cli.errors import DataError
from frcnn_cli.evaluation.dataset_reference import DatasetReference, find_reference
from frcnn_cli.evaluation.detection_log import Header


def write_header(path: Path, source: dict) -> Path:
    path.write_text(Header(("a",), source).line())
    return path


def test_a_described_data_set_is_found_again(voc_folder, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(voc_folder.parent)
    reference = DatasetReference(f"voc:{voc_folder.name}", None, "val")
    source = reference.describe(load_voc(voc_folder, "voc", "val", ()))
    assert source == {"dataset": f"voc:{voc_folder}", "data": None, "split": "val"}
    path = write_header(tmp_path / "d.jsonl", source)
    found = find_reference([tmp_path, path], None, None, None)
    assert found == DatasetReference(f"voc:{voc_folder}", None, "val")
    assert len(found.open(lambda _: None)) == 4
    assert find_reference([path], None, None, "train").split == "train"


def test_a_folder_is_described_by_its_absolute_path(voc_folder, monkeypatch) -> None:
    monkeypatch.chdir(voc_folder.parent)
    reference = DatasetReference("voc", Path(voc_folder.name))
    source = reference.describe(load_voc(voc_folder, "voc", "val", ()))
    assert source == {"dataset": "voc", "data": str(voc_folder), "split": "val"}


def test_a_coco_file_has_no_split(voc_folder) -> None:
    dataset = load_voc(voc_folder, "voc", "val", ())
    assert DatasetReference("coco:/x.json").describe(dataset)["split"] is None


def test_the_part_of_a_data_set_without_splits_is_opened_again(voc_folder) -> None:
    shutil.rmtree(voc_folder / "ImageSets")
    for split, stored, count in ((None, "val", 2), ("val", "val", 2), ("all", "all", 8)):
        for name in (f"voc:{voc_folder}", str(voc_folder)):
            reference = DatasetReference(name, None, split)
            source = reference.describe(reference.open(print))
            assert source == {"dataset": name, "data": None, "split": stored}
            again = DatasetReference(source["dataset"], None, source["split"])
            assert len(again.open(print)) == count


def test_a_folder_of_coco_files_keeps_its_split(voc_folder, tmp_path) -> None:
    folder = write_coco(voc_folder, tmp_path / "coco").parent.parent
    reference = DatasetReference(f"coco:{folder}")
    assert reference.describe(reference.open(print))["split"] == "val"


def test_the_data_set_of_the_caller_goes_first(tmp_path) -> None:
    path = write_header(tmp_path / "d.jsonl", {"dataset": "voc2012", "split": "val"})
    assert find_reference([path], "voc2007", None, None) == DatasetReference("voc2007")
    folder = Path("folder")
    assert find_reference([path], None, folder, "test") == DatasetReference("voc", folder, "test")


def test_files_that_name_no_data_set(tmp_path) -> None:
    (tmp_path / "r.json").write_text("[]")
    path = write_header(tmp_path / "d.jsonl", {"dataset": 5})
    for files in ([], [tmp_path / "r.json"], [path]):
        assert find_reference(files, None, None, "val") == DatasetReference("voc", None, "val")
    with pytest.raises(DataError, match="cannot read"):
        find_reference([tmp_path / "absent.jsonl"], None, None, None)
