from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from frcnn_cli.cli.options import image_files, open_named
from frcnn_cli.errors import DataError


def test_notes_on_a_data_set_go_to_stderr(voc_folder: Path, capsys) -> None:
    (voc_folder / "Annotations" / "._000001.xml").write_bytes(b"\0\5\x16\7")
    path = voc_folder / "JPEGImages" / "000001.jpg"
    with Image.open(path) as image:
        image.resize((image.width * 2, image.height * 2)).save(path)
    for quiet in (False, True):
        dataset = open_named(f"voc:{voc_folder}", None, "train", (), None, quiet=quiet)
        assert len(dataset.notes) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == (0 if quiet else 2)
    assert "1 file whose names" in dataset.notes[0]
    assert "1 of 4 images have another size" in dataset.notes[1]


def test_all_damaged_images_are_named_before_work_begins(voc_folder: Path) -> None:
    for name in ("000003", "000005"):
        (voc_folder / "JPEGImages" / f"{name}.jpg").write_text("<html>not found</html>")
    with pytest.raises(DataError, match="2 of 4 images cannot be read") as error:
        open_named(f"voc:{voc_folder}", None, "train", (), None)
    assert "000003.jpg is a web page" in error.value.message
    assert "000005.jpg is a web page" in error.value.message
    assert len(open_named(f"voc:{voc_folder}", None, "train", (), 1)) == 1


def test_skipped_files_of_a_folder_are_printed(voc_folder: Path, capsys) -> None:
    (voc_folder / "JPEGImages" / "notes.txt").touch()
    for quiet in (False, True):
        assert len(image_files([str(voc_folder / "JPEGImages")], quiet)) == 8
        assert ("1 of 9 files are skipped: 1 .txt" in capsys.readouterr().err) != quiet
