from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import strangers
from formats import write_coco
from frcnn_cli.data import download
from frcnn_cli.data import registry as datasets
from frcnn_cli.data.recognise import recognise
from frcnn_cli.errors import ConfigError, DataError, SplitError, UnlabelledError
from synthetic import write_voc

DEFAULTS = ("trainval", "train")


def test_every_format_is_divided_by_the_share(tmp_path: Path) -> None:
    writers = {"voc": strangers.voc, "coco": strangers.coco, "yolo": strangers.yolo}
    for name, write in writers.items():
        write(tmp_path / name)
    strangers.table(tmp_path / "csv", "filename,class,xmin,ymin,xmax,ymax",
                    "{n}.png,{name},{X1},{Y1},{X2},{Y2}")  # fmt: skip
    places = [tmp_path / name for name in (*writers, "csv")]
    places += [tmp_path / "csv" / "boxes.csv", tmp_path / "coco/annotations/instances.json"]
    for place in places:
        for name in (str(place), f"{recognise(place).format}:{place}"):
            parts = {
                split: datasets.open_dataset(name, split=split, val_share=0.5)
                for split in ("train", "val")
            }
            assert [len(each) for each in parts.values()] == [4, 4]
            whole = datasets.open_dataset(name)
            assert len(whole) == 8
            assert set(whole.ids) == {*parts["train"].ids, *parts["val"].ids}
            own = datasets.open_dataset(name, part="val", val_share=0.5)
            assert own.ids == (whole if place.suffix == ".json" else parts["val"]).ids
    both = datasets.open_dataset(f"{places[0]}+{places[1]}", part="val", val_share=0.25)
    assert (len(both), both.val_share) == (4, 0.25)


def refuse(text: str) -> None:
    pytest.fail(f"announced {text!r}")


@pytest.fixture
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "fetch_voc", lambda *given: pytest.fail(f"downloads {given}"))


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    calls: list[tuple] = []

    def fake(folder: Path, year: str, split: str, on_message: object) -> None:
        calls.append((folder, year, split))
        write_voc(folder / "VOCdevkit" / f"VOC{year}", 4, 1)

    monkeypatch.setattr(download, "fetch_voc", fake)
    return calls


@pytest.mark.parametrize(
    ("name", "near"), [("voc207", "voc2007"), ("VOC2012", "voc2012"), ("vco", "voc")]
)
def test_unknown_name_offers_the_nearest(voc_folder: Path, name: str, near: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown data set or path '{name}'") as error:
        datasets.open_dataset(name, voc_folder, None, DEFAULTS, refuse)
    assert f"did you mean '{near}'?" in error.value.hint


def test_a_very_different_name_gets_the_list_of_known_names() -> None:
    with pytest.raises(ConfigError) as error:
        datasets.open_dataset("coco", None, None, DEFAULTS, refuse)
    assert "voc2007, voc2012, voc" in error.value.hint


@pytest.mark.usefixtures("no_download")
def test_a_challenge_to_download_has_no_split_of_all_images() -> None:
    with pytest.raises(ConfigError, match="unknown split 'all'"):
        datasets.open_dataset("voc2007", split="all")


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
def test_given_folder_is_not_a_data_set(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="VOC layout"):
        datasets.open_dataset(name, tmp_path, None, DEFAULTS, refuse)


@pytest.mark.usefixtures("no_download")
def test_own_data_set_needs_a_folder() -> None:
    with pytest.raises(DataError, match="no data set given") as error:
        datasets.open_dataset("voc", None, None, DEFAULTS, refuse)
    assert "--data" in error.value.hint


@pytest.mark.parametrize(
    ("name", "split", "year", "archive"),
    [
        ("voc2007", None, "2007", "trainval"),
        ("voc2007", "val", "2007", "trainval"),
        ("voc2007", "test", "2007", "test"),
        ("voc2012", None, "2012", "trainval"),
    ],
)
def test_missing_data_is_downloaded(
    downloads: list[tuple], frcnn_home: Path, name: str, split: str | None, year: str, archive: str
) -> None:
    found = datasets.open_dataset(name, None, split, DEFAULTS, refuse)
    assert downloads == [(frcnn_home / "data", year, archive)]
    assert found.split == (split or "trainval")
    assert found.paths[0].is_relative_to(frcnn_home / "data" / "VOCdevkit" / f"VOC{year}")


def test_download_of_the_other_year(downloads: list[tuple], frcnn_home: Path) -> None:
    write_voc(frcnn_home / "data" / "VOCdevkit" / "VOC2007", 4, 1)
    datasets.open_dataset("voc2012", None, None, DEFAULTS, lambda _: None)
    assert [call[1] for call in downloads] == ["2012"]


def test_default_split_decides_the_archive(downloads: list[tuple]) -> None:
    datasets.open_dataset("voc2007", None, None, ("test", "val"), lambda _: None)
    assert [call[2] for call in downloads] == ["test"]


def test_no_test_images_of_2012(downloads: list[tuple]) -> None:
    with pytest.raises(SplitError, match="no public annotations"):
        datasets.open_dataset("voc2012", None, "test", DEFAULTS, refuse)
    assert downloads == []


@pytest.mark.parametrize(
    ("name", "years"),
    [("voc2007", True), ("voc2012+voc2007", True), ("voc", False), ("yolo:x", False), ("", False)],
)
def test_names_that_a_folder_of_many_sets_knows(name: str, years: bool) -> None:
    assert datasets.is_voc_challenge(name) == years


def test_a_place_in_voc_layout(voc_folder: Path) -> None:
    found = datasets.open_dataset(f"voc:{voc_folder}", None, "val", DEFAULTS, refuse)
    assert (found.name, found.split, len(found)) == ("voc:voc", "val", 4)
    assert found.ids[0] == "000002"


@pytest.mark.parametrize(
    ("name", "data", "split", "message"),
    [
        ("voc:{}", True, None, "names the folder already"),
        ("voc:{}/absent", False, None, "no folder"),
        ("yolo:{}/absent", False, None, "no folder"),
        ("coco:{}/absent.json", False, None, "cannot read"),
        ("coco:{}/instances_train.json", False, "val", "a COCO file is one split"),
        ("coco:", False, None, "unknown data set or path"),
        ("zip:{}", False, None, "unknown data set or path"),
    ],
)
def test_places_that_cannot_be_opened(
    voc_folder: Path, name: str, data: bool, split: str | None, message: str
) -> None:
    given = voc_folder if data else None
    with pytest.raises((ConfigError, DataError), match=message) as error:
        datasets.open_dataset(name.format(voc_folder), given, split, DEFAULTS, refuse)
    assert error.value.hint


def test_names_and_places_differ_from_files() -> None:
    assert all(
        datasets.is_dataset_name(name) for name in ("voc", "voc2007", "coco:a.json", "yolo:x")
    )
    assert not any(datasets.is_dataset_name(name) for name in ("photo.jpg", "voc:", "a:b", "c:\\x"))


def test_a_plus_within_a_name_joins_nothing(voc_folder: Path) -> None:
    folder = voc_folder.rename(voc_folder.with_name("a+b"))
    assert datasets.is_dataset_name(f"voc:{folder}")
    assert datasets.open_dataset(f"voc:{folder}", None, None, ("train",), refuse).name == "voc:a+b"
    assert datasets.is_dataset_name(f"voc:{folder}+voc2012+coco:c+d.json")
    assert not datasets.is_dataset_name(f"voc:{folder}+photo.jpg+voc2012+x")


@pytest.mark.parametrize("prefix", ["", "voc:"])
def test_a_folder_may_be_called_like_joined_data_sets(voc_folder: Path, prefix: str) -> None:
    folder = voc_folder.rename(voc_folder.with_name("cars+voc"))
    assert len(datasets.open_dataset(f"{prefix}{folder}", None, "train")) == 4
    assert datasets.absolute_name(f"{prefix}{folder}") == f"{prefix}{folder}"


@pytest.mark.parametrize("prefix", ["", "voc:"])
def test_a_folder_called_like_joined_data_sets_is_joined(
    voc_folder: Path, prefix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = write_voc(tmp_path / "other", count=8, seed=8)
    monkeypatch.chdir(voc_folder.rename(voc_folder.with_name("cars+voc")).parent)
    write_voc(tmp_path / "challenge" / "VOC2007", count=8, seed=9)
    for name in (f"{prefix}cars+voc+{prefix}other", f"{prefix}other+{prefix}cars+voc"):
        joined = datasets.open_dataset(name, None, "train")
        assert joined.name.split("+voc:") in (["voc:cars+voc", "other"], ["voc:other", "cars+voc"])
        assert str(other) in datasets.absolute_name(name)
    monkeypatch.setenv("FRCNN_DATA", str(tmp_path / "challenge"))
    challenge = datasets.open_dataset(f"{prefix}cars+voc+voc2007", None, "train")
    assert challenge.name == "voc:cars+voc+voc2007"


def test_dozens_of_data_sets_are_joined(voc_folder: Path) -> None:
    """Their names together are longer than a path may be."""
    joined = "+".join([f"voc:{voc_folder}"] * (4096 // len(str(voc_folder)) + 1))
    assert datasets.absolute_name(joined) == joined


def test_a_link_to_annotations_stays_beside_the_images(tmp_path: Path, voc_folder: Path) -> None:
    elsewhere = tmp_path / "a" / "b" / "c" / "boxes.json"
    elsewhere.parent.mkdir(parents=True)
    link = write_coco(voc_folder, tmp_path / "data")
    link.rename(elsewhere)
    link.symlink_to(elsewhere)
    for name in (str(link), f"coco:{link}"):
        assert datasets.absolute_name(name) == name
        assert len(datasets.open_dataset(name)) == 8


def test_a_place_can_be_named_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert datasets.absolute_name("yolo:here") == f"yolo:{tmp_path / 'here'}"
    assert datasets.absolute_name("voc2007") == "voc2007"


def test_a_default_split_without_annotations_is_passed_over(tmp_path: Path) -> None:
    strangers.yolo(tmp_path, "{}/images", "{}/labels")
    shutil.copytree(tmp_path / "val" / "images", tmp_path / "test" / "images")
    found = datasets.open_dataset(str(tmp_path), default_splits=("test", "val"))
    assert found.split == "val"
    assert found.notes[-1].startswith(f"took split val: yolo:{tmp_path.name} test: no label files")
    with pytest.raises(UnlabelledError):
        datasets.open_dataset(str(tmp_path), split="test")
    with pytest.raises(UnlabelledError):
        datasets.open_dataset(str(tmp_path), default_splits=("test",))


@pytest.mark.parametrize("name", ["voc", "coco", "yolo"])
def test_a_format_and_a_folder_above_the_data_set(tmp_path: Path, name: str) -> None:
    write = {"voc": strangers.voc, "coco": strangers.coco, "yolo": strangers.yolo}[name]
    write(tmp_path / "a" / "b")
    found = datasets.open_dataset(f"{name}:{tmp_path}", split="val")
    assert len(found) == 2
    assert name == "voc" or f"read {tmp_path}/a/b" in found.notes
    other = "yolo" if name == "coco" else "coco"
    with pytest.raises(DataError):
        datasets.open_dataset(f"{other}:{tmp_path}")
