"""The n-th write fails, for every n: the old files stay as they were, and no half-written ones."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frcnn_cli.errors import FrcnnError
from frcnn_cli.inference.result import Result
from frcnn_cli.inference.writers import WRITERS, Output
from frcnn_cli.proposers.cache import ProposalSource
from frcnn_cli.proposers.exchange.exporter import export_boxes
from frcnn_cli.proposers.method import Method
from frcnn_cli.structures import Detections, Proposals

BOXES = np.array([[1, 2, 30, 40]], np.float32)


def export(folder: Path) -> None:
    export_boxes(folder / "old.json", [Path("a.png")], {0: BOXES}, "json")


def store(folder: Path) -> None:
    method = Method("x", lambda image: Proposals(BOXES, (50, 60)), {})
    ProposalSource(method, folder)(b"content", np.zeros((50, 60, 3), np.uint8))


def output(name: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        ones = np.ones(1, np.int64)
        result = Result(
            name="a.png",
            stem="a",
            image=np.zeros((50, 60, 3), np.uint8),
            detections=Detections(
                boxes=BOXES, scores=ones.astype(np.float32), labels=ones, image_size=(50, 60)
            ),
            classes=("ball",),
            proposals=1,
            seconds=0.0,
        )
        with Output(folder, [name], ("ball",), (), overwrite=True) as each:
            each.add(result)

    return write


COMMITS = {"export": export, "cache": store, **{name: output(name) for name in WRITERS}}


class FullDisk:
    """Makes the n-th of the calls that write fail."""

    def __init__(self, n: int) -> None:
        self.left, self.failed = n, False

    def replace_functions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for owner, name in (
            (tempfile, "mkstemp"), (os, "replace"), (pathlib.Path, "mkdir"),
            (pathlib.Path, "chmod"), (pathlib.Path, "write_bytes"), (Image.Image, "save"),
        ):  # fmt: skip
            monkeypatch.setattr(owner, name, self.counted(getattr(owner, name)))

    def counted(self, function: Callable) -> Callable:
        def call(*arguments: object, **options: object) -> object:
            self.left -= 1
            if self.left == 0:
                self.failed = True
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return function(*arguments, **options)

        return call


@pytest.mark.parametrize("commit", COMMITS.values(), ids=COMMITS)
def test_the_nth_write_fails(tmp_path: Path, commit: Callable[[Path], None]) -> None:
    for n in range(1, 100):
        folder = tmp_path / str(n)
        folder.mkdir()
        commit(folder)
        new = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        kept = {"claims.lock", "method.json"}  # that a cache writes once
        written = {path: content for path, content in new.items() if path.name not in kept}
        for path in written:
            path.write_bytes(b"old")
        disk = FullDisk(n)
        with pytest.MonkeyPatch.context() as monkeypatch:
            disk.replace_functions(monkeypatch)
            with contextlib.suppress(FrcnnError):
                commit(folder)
        after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        assert after.keys() == new.keys()
        for path, content in written.items():
            assert after[path] in ((content, b"old") if disk.failed else (content,))
        if not disk.failed:
            return
    raise AssertionError("it never ends")
