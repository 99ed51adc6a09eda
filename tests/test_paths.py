from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import pytest

from frcnn_cli.errors import ConfigError, DataError, FrcnnError, WeightsError
from frcnn_cli.runtime import paths


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "site-packages" / "frcnn_cli"
    (package / "weights").mkdir(parents=True)
    monkeypatch.setattr(paths, "PACKAGE", package)
    return package


def put(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    path.write_bytes(b"")
    return path


def test_home_is_the_folder_of_the_environment(frcnn_home: Path) -> None:
    assert paths.home() == frcnn_home
    assert paths.proposals_dir() == frcnn_home / "proposals"
    assert paths.weights_dirs()[0] == frcnn_home / "weights"


def test_a_temporary_home_belongs_to_the_user_alone(
    tmp_path: Path, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_home() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv("FRCNN_HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    folder = tmp_path / f"cache-{os.getuid()}"
    assert paths.home() == paths.home() == folder / "frcnn"
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    with pytest.raises(FrcnnError, match="not a folder of yours alone"):
        paths.home()
    folder.rmdir()
    folder.symlink_to(tmp_path)  # which is the user's own
    with pytest.raises(FrcnnError, match="not a folder of yours alone"):
        paths.home()
    folder.unlink()
    folder.mkdir(mode=0o700)
    other = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: other)
    folder.rename(tmp_path / f"cache-{other}")
    with pytest.raises(FrcnnError, match="not a folder of yours alone"):
        paths.home()


def test_home_may_begin_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FRCNN_HOME", "~/frcnn")
    assert paths.home() == tmp_path / "frcnn"


@pytest.mark.parametrize("value", [None, ""])
def test_home_of_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    (tmp_path / "src" / "frcnn_cli").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.setattr(paths, "PACKAGE", tmp_path / "src" / "frcnn_cli")
    if value is None:
        monkeypatch.delenv("FRCNN_HOME")
    else:
        monkeypatch.setenv("FRCNN_HOME", value)
    assert paths.checkout() == tmp_path
    assert paths.home() == tmp_path


@pytest.mark.usefixtures("installed")
def test_home_of_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FRCNN_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert paths.checkout() is None
    assert paths.home() == tmp_path / ".cache" / "frcnn"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert paths.home() == tmp_path / "cache" / "frcnn"


def test_src_folder_without_project_file_is_not_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "src" / "frcnn_cli").mkdir(parents=True)
    monkeypatch.setattr(paths, "PACKAGE", tmp_path / "src" / "frcnn_cli")
    assert paths.checkout() is None


def test_weights_by_path(tmp_path: Path) -> None:
    path = put(tmp_path / "elsewhere", "mine")
    assert paths.find_weights(str(path)) == path


def test_weights_by_path_with_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = put(tmp_path / "elsewhere", "mine")
    assert paths.find_weights("~/elsewhere/mine.safetensors") == path


def test_weights_by_name(frcnn_home: Path) -> None:
    path = put(frcnn_home / "weights", "mine")
    assert paths.find_weights("mine") == path


def test_weights_of_the_package(installed: Path) -> None:
    path = put(installed / "weights", "shipped")
    assert paths.find_weights("shipped") == path


def test_weights_in_home_win_over_the_package(installed: Path, frcnn_home: Path) -> None:
    put(installed / "weights", "both")
    path = put(frcnn_home / "weights", "both")
    assert paths.find_weights("both") == path


def test_file_of_that_name_wins(
    tmp_path: Path, frcnn_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(frcnn_home / "weights", "mine")
    monkeypatch.chdir(tmp_path)
    Path("mine").write_bytes(b"")
    assert paths.find_weights("mine") == Path("mine")


@pytest.mark.usefixtures("installed")
def test_unknown_weights_offer_the_nearest(frcnn_home: Path) -> None:
    put(frcnn_home / "weights", "squeezenet-mine")
    with pytest.raises(ConfigError, match="unknown weights 'squeezenet-mein'") as error:
        paths.find_weights("squeezenet-mein")
    assert "did you mean 'squeezenet-mine'?" in error.value.hint


@pytest.mark.parametrize("name", ["absent.safetensors", "some/where", "../absent", "a/b.pth"])
def test_missing_weights_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=re.escape(str(Path(name)))):
        paths.find_weights(name)


def test_a_folder_is_not_a_weights_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError):
        paths.find_weights(str(tmp_path))


def test_data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flag, variable = tmp_path / "flag", tmp_path / "variable"
    flag.mkdir()
    variable.mkdir()
    assert paths.data_dir(None) is None
    assert paths.data_dir(flag) == flag
    monkeypatch.setenv("FRCNN_DATA", str(variable))
    assert paths.data_dir(None) == variable
    assert paths.data_dir(flag) == flag
    monkeypatch.setenv("FRCNN_DATA", "")
    assert paths.data_dir(None) is None


def test_data_dir_of_the_environment_may_begin_with_a_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FRCNN_DATA", "~/data")
    assert paths.data_dir(None) == tmp_path / "data"


@pytest.mark.parametrize("source", ["flag", "environment"])
@pytest.mark.parametrize("problem", ["absent", "file"])
def test_data_dir_that_is_not_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, problem: str
) -> None:
    path = tmp_path / problem
    if problem == "file":
        path.write_text("")
    if source == "environment":
        monkeypatch.setenv("FRCNN_DATA", str(path))
    with pytest.raises(DataError, match=re.escape(str(path))) as error:
        paths.data_dir(path if source == "flag" else None)
    assert "--data" in error.value.hint


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_run(name: str, written: int, *, best: bool = False) -> Path:
    folder = Path("runs/train") / name
    folder.mkdir(parents=True)
    for file in (paths.WEIGHTS_FILE, *([paths.BEST_FILE] if best else [])):
        (folder / file).touch()
        os.utime(folder / file, (written, written))
    return folder


def test_the_last_run_is_the_one_whose_weights_are_the_newest(here: Path) -> None:
    assert paths.last_run() is None
    Path("runs/train/empty").mkdir(parents=True)
    assert paths.last_run() is None
    old, new = make_run("z", 100, best=True), make_run("a", 200)
    assert paths.last_run() == new
    assert (paths.run_weights(old), paths.run_weights(new)) == (
        old / paths.BEST_FILE,
        new / paths.WEIGHTS_FILE,
    )


def test_the_weights_of_a_run_of_several_stages_are_those_of_the_last(here: Path) -> None:
    """Those of fine-tuning have untrained boxes where ridge regression follows."""
    run = make_run("run", 100, best=True)
    for name, written, expected in (
        ("svm", 150, "svm"),
        ("boxes", 160, "boxes"),
        ("svm", 170, "boxes"),  # that stage alone
        ("last", 180, "best"),  # fine-tuned further
    ):
        file = run / f"{name}.safetensors"
        file.touch()
        os.utime(file, (written, written))
        assert paths.run_weights(run) == run / f"{expected}.safetensors"
        assert paths.find_weights("run") == paths.run_weights(run)
    assert paths.find_weights("last") == run / paths.WEIGHTS_FILE


def test_names_for_the_weights_of_runs(here: Path) -> None:
    with pytest.raises(WeightsError, match="no run in runs/train has weights"):
        paths.find_weights("last")
    old = make_run("old", 100, best=True)
    assert paths.find_weights("last") == old / paths.WEIGHTS_FILE
    assert paths.find_weights("best") == old / paths.BEST_FILE
    new = make_run("new", 200)
    assert paths.find_weights("last") == new / paths.WEIGHTS_FILE
    with pytest.raises(WeightsError, match="runs/train/new was not validated"):
        paths.find_weights("best")
    assert (paths.find_weights("old"), paths.find_weights("new")) == (
        old / paths.BEST_FILE,
        new / paths.WEIGHTS_FILE,
    )
    with pytest.raises(ConfigError, match="unknown weights 'odl'") as error:
        paths.find_weights("odl")
    assert "did you mean 'old'" in error.value.hint


def test_a_file_comes_before_the_names(here: Path) -> None:
    make_run("x", 100)
    Path("last").touch()
    assert paths.find_weights("last") == Path("last")
