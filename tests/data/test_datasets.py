from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from frcnn_cli.data import datasets, download
from frcnn_cli.errors import ConfigError, DataError
from synthetic import write_voc

DEFAULTS = ("trainval", "train")


def refuse(text: str) -> None:
    pytest.fail(f"announced {text!r}")


@pytest.fixture
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "download_voc", lambda *given: pytest.fail(f"downloads {given}"))


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    calls: list[tuple] = []

    def fake(folder: Path, year: str, image_set: str) -> None:
        calls.append((folder, year, image_set))
        write_voc(folder / "VOCdevkit" / f"VOC{year}", 4, 1)

    monkeypatch.setattr(download, "download_voc", fake)
    return calls


@pytest.mark.parametrize(
    ("name", "near"), [("voc207", "voc2007"), ("VOC2012", "voc2012"), ("vco", "voc")]
)
def test_unknown_name_offers_the_nearest(voc_folder: Path, name: str, near: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown data set '{name}'") as error:
        datasets.open_dataset(name, voc_folder, None, DEFAULTS, refuse)
    assert f"did you mean '{near}'?" in error.value.hint


def test_unlike_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError) as error:
        datasets.open_dataset("coco", None, None, DEFAULTS, refuse)
    assert "voc2007, voc2012, voc" in error.value.hint


@pytest.mark.usefixtures("no_download")
def test_folder_is_given(voc_folder: Path) -> None:
    found = datasets.open_dataset("voc", voc_folder, None, DEFAULTS, refuse)
    assert (found.name, found.split, len(found)) == ("voc", "trainval", 8)
    assert datasets.open_dataset("voc", voc_folder, "val", DEFAULTS, refuse).split == "val"


@pytest.mark.usefixtures("no_download")
@pytest.mark.parametrize("below", ["VOCdevkit/VOC2007", "VOC2007", "."])
def test_challenge_is_found_below_the_given_folder(tmp_path: Path, below: str) -> None:
    write_voc(tmp_path / below, 4, 1)
    found = datasets.open_dataset("voc2007", tmp_path, "test", DEFAULTS, refuse)
    assert (found.name, found.split, len(found)) == ("voc2007", "test", 2)


@pytest.mark.usefixtures("no_download")
def test_folder_from_the_environment(voc_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRCNN_DATA", str(voc_folder))
    assert len(datasets.open_dataset("voc", None, None, DEFAULTS, refuse)) == 8


@pytest.mark.usefixtures("no_download")
def test_given_folder_wins_over_the_environment(
    tmp_path: Path, voc_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRCNN_DATA", str(write_voc(tmp_path / "other", 2, 1)))
    assert len(datasets.open_dataset("voc", voc_folder, None, DEFAULTS, refuse)) == 8


@pytest.mark.usefixtures("no_download")
@pytest.mark.parametrize("name", datasets.DATASETS)
def test_given_folder_is_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="no folder") as error:
        datasets.open_dataset(name, tmp_path / "absent", None, DEFAULTS, refuse)
    assert str(tmp_path / "absent") in error.value.message
    assert "--data" in error.value.hint


@pytest.mark.usefixtures("no_download")
def test_folder_of_the_environment_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRCNN_DATA", str(tmp_path / "absent"))
    with pytest.raises(DataError, match="absent"):
        datasets.open_dataset("voc2007", None, None, DEFAULTS, refuse)


@pytest.mark.usefixtures("no_download")
@pytest.mark.parametrize("name", datasets.DATASETS)
def test_given_folder_is_no_data_set(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="VOC layout"):
        datasets.open_dataset(name, tmp_path, None, DEFAULTS, refuse)


@pytest.mark.usefixtures("no_download")
def test_own_data_set_needs_a_folder() -> None:
    with pytest.raises(DataError, match="no data set given") as error:
        datasets.open_dataset("voc", None, None, DEFAULTS, refuse)
    assert "--data" in error.value.hint


@pytest.mark.parametrize(
    ("name", "split", "year", "image_set"),
    [
        ("voc2007", None, "2007", "trainval"),
        ("voc2007", "val", "2007", "trainval"),
        ("voc2007", "test", "2007", "test"),
        ("voc2012", None, "2012", "trainval"),
    ],
)
def test_download_is_announced_and_then_done(
    downloads: list[tuple],
    frcnn_home: Path,
    name: str,
    split: str | None,
    year: str,
    image_set: str,
) -> None:
    told: list[str] = []

    def say(text: str) -> None:
        assert not downloads
        told.append(text)

    found = datasets.open_dataset(name, None, split, DEFAULTS, say)
    assert downloads == [(frcnn_home / "data", year, image_set)]
    assert len(told) == 1
    assert f"VOC{year} {image_set}" in told[0]
    assert str(frcnn_home / "data") in told[0]
    assert found.split == (split or "trainval")
    assert found.paths[0].is_relative_to(frcnn_home / "data" / "VOCdevkit" / f"VOC{year}")


@pytest.mark.usefixtures("no_download")
def test_no_download_of_what_is_there(frcnn_home: Path) -> None:
    write_voc(frcnn_home / "data" / "VOCdevkit" / "VOC2007", 4, 1)
    for kind in ("trainval", "test"):
        (frcnn_home / "data" / f"voc2007-{kind}.complete").touch()
    assert len(datasets.open_dataset("voc2007", None, None, DEFAULTS, refuse)) == 4
    assert datasets.open_dataset("voc2007", None, "test", DEFAULTS, refuse).split == "test"


def test_download_of_the_other_year(downloads: list[tuple], frcnn_home: Path) -> None:
    write_voc(frcnn_home / "data" / "VOCdevkit" / "VOC2007", 4, 1)
    datasets.open_dataset("voc2012", None, None, DEFAULTS, lambda _: None)
    assert [call[1] for call in downloads] == ["2012"]


def test_default_split_decides_the_archive(downloads: list[tuple]) -> None:
    datasets.open_dataset("voc2007", None, None, ("test", "val"), lambda _: None)
    assert [call[2] for call in downloads] == ["test"]


@pytest.mark.parametrize(
    "failure", [OSError("no route"), RuntimeError("File not found or corrupted."), ValueError("x")]
)
def test_failed_download_is_a_data_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setitem(sys.modules, "torchvision.datasets", SimpleNamespace(VOCDetection=fail))
    with pytest.raises(DataError, match="cannot download VOC2007 test") as error:
        download.download_voc(tmp_path / "new", "2007", "test")
    assert str(failure) in error.value.message
    assert "--data" in error.value.hint


def test_download_keeps_stdout_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[tuple] = []

    def chatty(root: str, **options: object) -> None:
        print("Using downloaded and verified file")
        calls.append((root, options))

    monkeypatch.setitem(sys.modules, "torchvision.datasets", SimpleNamespace(VOCDetection=chatty))
    download.download_voc(tmp_path / "a" / "b", "2012", "trainval")
    wanted = {"year": "2012", "image_set": "trainval", "download": True}
    assert calls == [(str(tmp_path / "a" / "b"), wanted)]
    assert (tmp_path / "a" / "b").is_dir()
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "verified" in shown.err
