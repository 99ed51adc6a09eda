"""Unlucky machines, made with Linux's namespaces: no home, nothing writable, full disks, pipes.

They need the right to make namespaces, and are skipped without it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synthetic import write_voc


def _works(*command: str) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0


USER = ("unshare", "--user", "--map-user=1234", "--map-group=1234")
MOUNTS = ("unshare", "--mount", "--propagation", "private")
needs_users = pytest.mark.skipif(not _works(*USER), reason="no right to make user namespaces")
needs_mounts = pytest.mark.skipif(not _works(*MOUNTS), reason="no right to mount")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "a.png"
    path.parent.mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)).save(path)
    return path


def frcnn(*words: object, before: tuple[str, ...] = (), **options) -> subprocess.CompletedProcess:
    command = [*before, sys.executable, "-m", "frcnn_cli", *map(str, words)]
    options.setdefault("env", dict(os.environ))
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, **options
    )


def shell(script: str, **options) -> subprocess.CompletedProcess:
    """Run a script in a mount namespace, where $FRCNN is the program."""
    environment = {**os.environ, "FRCNN": f"{sys.executable} -m frcnn_cli"}
    return subprocess.run(
        [*MOUNTS, "bash", "-ec", script],
        capture_output=True, text=True, check=False, timeout=200, env=environment, **options,
    )  # fmt: skip


def one_line(result: subprocess.CompletedProcess) -> str:
    """The line of an error; there must be one, and no traceback."""
    assert "Traceback" not in result.stderr, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, result.stderr
    return lines[0]


@pytest.mark.slow  # the kernels are compiled
@needs_users
def test_a_user_without_a_home(tmp_path: Path, photo: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("FRCNN")}
    environment.pop("HOME", None)
    environment |= {"TMPDIR": str(tmp_path), "XDG_CACHE_HOME": ""}
    result = frcnn("propose", photo, "--json", before=USER, cwd=tmp_path, env=environment)
    assert result.returncode == 0, result.stderr
    assert not (tmp_path / "~").exists()


@pytest.mark.slow  # the kernels are compiled
@needs_mounts
def test_a_root_that_is_read_only_but_for_one_folder(tmp_path: Path, photo: Path) -> None:
    writable = tmp_path / "out"
    writable.mkdir()
    script = f"""
        mount -t tmpfs none {writable}
        mount -o remount,ro,bind / || exit 77
        touch {tmp_path}/x 2>/dev/null && exit 77
        cd {writable}; unset HOME; export FRCNN_HOME={writable}/home
        $FRCNN propose {photo} --export boxes.json --json && ls boxes.json
    """
    result = shell(script)
    if result.returncode == 77:
        pytest.skip("the root cannot be made read-only here")
    assert result.returncode == 0, result.stderr
    assert "boxes.json" in result.stdout


@pytest.mark.slow
@needs_mounts
def test_a_full_disk_leaves_the_old_files_and_no_others(tmp_path: Path, photo: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    for room in (0, 4, 8):  # KB
        script = f"""
            mount -t tmpfs -o size=64k none {disk}
            echo old > {disk}/old.json
            head -c {60 - room}K /dev/zero > {disk}/filler || true
            FRCNN_HOME={tmp_path}/home $FRCNN propose {photo} --export {disk}/old.json --overwrite \
                || echo failed
            ls -A {disk} | sort | tr '\\n' ' '; head -c 20 {disk}/old.json
        """
        result = shell(script)
        assert "Traceback" not in result.stderr, result.stderr
        last = result.stdout.splitlines()[-1]
        assert "filler old.json" in last, result.stdout
        assert ".part" not in last
        assert ("old" in last.split("old.json")[1]) == ("failed" in result.stdout)


@pytest.mark.slow
@needs_mounts
def test_training_with_64_mb_of_shared_memory(tmp_path: Path) -> None:
    write_voc(tmp_path / "voc", count=12, seed=1)
    for max_size, workers in ((2000, "none will"), (160, "")):
        result = shell(f"""
            mount -t tmpfs -o size=64m none /dev/shm
            cd {tmp_path}; export FRCNN_HOME={tmp_path}/home
            $FRCNN train voc --data voc --split train --backbone squeezenet1_1 --init random \\
                --rank 8 --iterations 8 --images-per-batch 4 --rois-per-batch 16 --scales 100 \\
                --max-size {max_size} --jobs 2 --device cpu --json
        """)
        assert result.returncode == 0, result.stderr
        assert ("/dev/shm has" in result.stderr) == bool(workers)
        assert workers in result.stderr


def test_a_pipe_among_pictures(photo: Path) -> None:
    os.mkfifo(photo.with_name("b.png"))
    result = frcnn("propose", photo.parent, "--json")
    assert "1 of 2 images failed" in one_line(result)
    for words in (
        ("propose", photo, "--config", photo.with_name("b.png")),
        ("propose", photo, "--proposals", photo.with_name("b.png")),
        ("propose", "/dev/zero"),
    ):
        assert "a pipe or a device" in one_line(frcnn(*words))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("words", [("--version",), ("propose", "PHOTO", "--json")])
def test_output_that_cannot_be_written(photo: Path, words: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        command = [
            sys.executable,
            "-m",
            "frcnn_cli",
            *(str(photo) if w == "PHOTO" else w for w in words),
        ]
        result = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=120
        )
    assert result.returncode == 1
    assert "No space left" in one_line(result)


def test_a_closed_stdin(photo: Path) -> None:
    command = f"{sys.executable} -m frcnn_cli detect - <&-"
    result = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, check=False, timeout=120
    )
    assert result.returncode == 1
    assert "the list is empty" in one_line(result)


@pytest.mark.usefixtures("usual_signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_a_command_with_one_line(tmp_path: Path, photo: Path, number: int) -> None:
    for index in range(2000):
        shutil.copy(photo, photo.with_name(f"{index}.png"))
    command = [sys.executable, "-m", "frcnn_cli", "propose", str(photo.parent), "-j", "1"]
    environment = {**os.environ, "FRCNN_HOME": str(tmp_path / "home")}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "home").rglob("*.boxes")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    process.send_signal(number)
    try:
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert "Traceback" not in errors, errors
    assert process.returncode in (0, 130, -number)
    assert not list((tmp_path / "home").rglob("*.part"))


def test_escapes_for_terminals_in_names(tmp_path: Path) -> None:
    path = tmp_path / "\x1b[31mred\x1b]0;title\x07.png"
    path.write_bytes(b"no picture")
    result = frcnn("propose", path)
    assert "\x1b" not in result.stderr + result.stdout
    assert "?[31mred" in one_line(result)


def test_lines_in_names_are_not_taken_for_ours(tmp_path: Path) -> None:
    path = tmp_path / "a\nerror: all is lost\n.png"
    path.write_bytes(b"no picture")
    assert "a?error: all is lost?.png" in one_line(frcnn("propose", path))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_no_text(tmp_path: Path) -> None:
    write_voc(tmp_path / "voc", count=4, seed=1)
    folder = next((tmp_path / "voc").rglob("JPEGImages"))
    names = [b"\xff\xfe", b"\x1b[31mred", b"two\nlines", "\u202eback".encode()]
    for path, name in zip(sorted(folder.iterdir()), names, strict=True):
        annotation = folder.with_name("Annotations") / f"{path.stem}.xml"
        path.rename(path.with_name(os.fsdecode(name) + path.suffix))
        annotation.rename(annotation.with_name(os.fsdecode(name) + ".xml"))
    shutil.rmtree(folder.with_name("ImageSets"))
    said = []
    for words in (
        ("propose", folder, "--export", tmp_path / "a.mat"),
        ("detect", folder, "--out", tmp_path / "out", "--score", "0", "--format",
         "picture,coco,voc,yolo,csv,crops"),
        ("data", "check", folder.parent),
        ("eval", folder.parent, "--report", tmp_path / "report", "--split", "all",
         "--map", "ball=person"),
    ):  # fmt: skip
        result = frcnn(*words, cwd=tmp_path)
        assert "Traceback" not in result.stderr, result.stderr
        assert result.returncode == 0 or words[0] == "data", result.stderr
        said.append(result.stdout + result.stderr)
    assert "\x1b" not in "".join(said)
    for name in names:
        assert (tmp_path / "out" / os.fsdecode(name + b".jpg")).exists()
        assert name in (tmp_path / "out" / "detections.csv").read_bytes()
        assert name in (tmp_path / "report" / "images.csv").read_bytes()
