from __future__ import annotations

import io
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tool_files
from frcnn_cli.data import checks, images
from frcnn_cli.data.annotation import Annotation
from frcnn_cli.data.check_data import check_data
from frcnn_cli.data.checks import check_dataset, check_file
from frcnn_cli.data.dataset import Dataset
from frcnn_cli.errors import DataError, ImageError
from strangers import Write, coco, each_row, opened, voc


def pixels(height: int = 60, width: int = 80, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(format_name: str, array: np.ndarray | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels() if array is None else array).save(buffer, format_name, **options)
    return buffer.getvalue()


def make(folder: Path, contents: list[bytes], size=(60, 80), boxes=((2, 3, 20, 30),)) -> Dataset:
    paths = []
    for index, content in enumerate(contents):
        paths.append(folder / f"{index}.img")
        paths[-1].write_bytes(content)
    annotation = Annotation(
        size=size,
        names=("thing",) * len(boxes),
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        difficult=np.zeros(len(boxes), np.bool_),
        areas=np.full(len(boxes), 100, np.float32),
    )
    return Dataset(
        name="made",
        split="all",
        classes=("thing",),
        ids=tuple(path.stem for path in paths),
        paths=tuple(paths),
        annotations=(annotation,) * len(paths),
    )


def photo(orientation: int, height: int = 60, width: int = 80) -> bytes:
    """A dark photo that EXIF turns, stored with a white mark at (2, 3, 20, 30)."""
    array = np.zeros((height, width, 3), np.uint8)
    array[3:30, 2:20] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded("PNG", array, exif=exif)


def marked(dataset: Dataset, index: int) -> list[float]:
    """The box around the white mark of an image as a viewer shows it."""
    rows, columns = np.nonzero(dataset.read_image(index)[1][..., 0] > 128)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_all_boxes_are_drawn_before_exif_turned_the_images_where_some_tell_it(tmp_path) -> None:
    dataset = make(tmp_path, [photo(orientation) for orientation in range(1, 9)])
    found = check_dataset(dataset)
    for index in range(8):
        assert found.ground_truth(index).boxes.tolist() == [marked(found, index)]
    note = "are turned by EXIF: like those of others"
    assert any(each.startswith(f"3 of 8 images {note}") for each in found.notes)
    check = check_data([dataset])
    assert any(f"3 of 8 images {note}" in each for each in check.remarks)
    assert check.splits[0].are_stored


@pytest.mark.parametrize("tells_shown", [True, False])
def test_images_that_exif_turns_are_taken_as_shown_where_none_tells_else(
    tmp_path: Path, tells_shown: bool
) -> None:
    contents = [photo(3), photo(2)] + [photo(6, 80, 60)] * tells_shown
    dataset = make(tmp_path, contents)
    found = check_dataset(dataset)
    assert found.ground_truth(0).boxes.tolist() == [[2, 3, 20, 30]] != [marked(found, 0)]
    notes = [note for note in found.notes if "EXIF, and nothing tells" in note]
    assert len(notes) == (not tells_shown)
    assert sum("EXIF" in each for each in check_data([dataset]).remarks) == (not tells_shown)


WHOLE = {
    "JPEG": encoded("JPEG"),
    "padded JPEG": encoded("JPEG") + b"\0" * 100,
    "PNG": encoded("PNG"),
    "GIF": encoded("GIF"),
    "WEBP": encoded("WEBP"),
    "TIFF": encoded("TIFF"),
    "compressed TIFF": encoded("TIFF", compression="tiff_lzw"),
    "BMP": encoded("BMP"),
    "PPM": encoded("PPM"),
}


def test_whole_files_are_right_and_most_are_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    monkeypatch.setattr(
        images, "decode_cut", lambda _, name: decoded.append(name) or (pixels(), False)
    )
    dataset = make(tmp_path, list(WHOLE.values()))
    assert check_dataset(dataset) == dataset
    assert decoded == [str(path) for path in dataset.paths[-2:]]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("name", WHOLE)
def test_half_a_file_is_found(tmp_path: Path, name: str) -> None:
    content = WHOLE[name]
    path = tmp_path / "x"
    path.write_bytes(content[: len(content) // 2])
    assert str(path) in check_file(path).problem.message


def test_all_damaged_files_are_named_at_once(tmp_path: Path) -> None:
    bad = [WHOLE["JPEG"][:900], b"<html>", b"", b"words of a text\n", WHOLE["PNG"][:500]]
    dataset = make(tmp_path, [*bad, WHOLE["PNG"], *bad])
    dataset.paths[-1].unlink()
    with pytest.raises(DataError, match="10 of 11 images cannot be read") as error:
        check_dataset(dataset)
    assert "0.img is damaged" in error.value.message
    assert "1.img is a web page, not an image" in error.value.message
    assert "; and 5 more" in error.value.message
    assert "6.img" not in error.value.message
    assert "\n" not in error.value.message
    assert check_dataset(dataset, need_pixels=False)


def cut_smoothly(missing: int) -> bytes:
    y, x = np.mgrid[:240, :320]
    array = np.stack([x % 256, y, (x + y) % 256], axis=2).astype(np.uint8)
    return encoded("JPEG", array, quality=95)[:-missing]


@pytest.mark.parametrize("missing", [1, 2, 3, 40, 150])
def test_a_jpeg_that_lacks_its_last_bytes_is_read(tmp_path: Path, missing: int) -> None:
    content = cut_smoothly(missing)
    whole = images.decode(cut_smoothly(2) + b"\xff\xd9", "a")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        image = images.decode(content, "a.jpg")
    np.testing.assert_array_equal(image[:200], whole[:200])
    if missing > 3:
        assert [str(each.message) for each in caught] == ["a.jpg lacks its last bytes"]
        dataset = check_dataset(make(tmp_path, [content, WHOLE["JPEG"]], size=None))
        assert dataset.notes == ("1 of 2 images lack their last bytes and are read without: 0.img",)


def test_a_progressive_jpeg_must_be_whole() -> None:
    with pytest.raises(ImageError, match="damaged"):
        images.decode(encoded("JPEG", progressive=True)[:-100], "a")


def test_resized_images_are_counted_and_their_boxes_scaled(tmp_path: Path) -> None:
    half = encoded("PNG", pixels(30, 40))
    dataset = check_dataset(make(tmp_path, [half, half, WHOLE["PNG"]]))
    assert dataset.notes == (
        "2 of 3 images have another size than their annotations say, of the same aspect: "
        "their boxes are scaled by 0.5",
    )
    truth = dataset.ground_truth(0)
    assert truth.boxes.tolist() == [[1, 1.5, 10, 15]]
    assert truth.areas.tolist() == [25]
    assert dataset.ground_truth(2).boxes.tolist() == [[2, 3, 20, 30]]
    assert dataset.ground_truth(2).areas.tolist() == [100]


def test_several_factors_are_told_as_a_range(tmp_path: Path) -> None:
    contents = [encoded("PNG", pixels(30, 40)), encoded("PNG", pixels(120, 160))]
    assert "scaled by 0.5 to 2" in check_dataset(make(tmp_path, contents)).notes[0]


def test_another_aspect_is_refused_with_both_sizes(tmp_path: Path) -> None:
    dataset = make(tmp_path, [WHOLE["PNG"], encoded("PNG", pixels(50, 50))])
    with pytest.raises(DataError, match="1 of 2 images differ") as error:
        check_dataset(dataset)
    assert "1.img is 50×50, but its annotation says 80×60" in error.value.message
    with pytest.raises(DataError, match=r"1\.img is 50×50"):
        dataset.ground_truth(1)
    assert dataset.ground_truth(0).boxes.tolist() == [[2, 3, 20, 30]]


def test_a_size_that_boxes_exceed_is_told(tmp_path: Path) -> None:
    dataset = check_dataset(make(tmp_path, [WHOLE["PNG"]], size=(10, 10)))
    assert "1 of 1 annotations give a size that their own boxes exceed" in dataset.notes[0]


def test_images_without_objects_and_objects_outside_are_counted(tmp_path: Path) -> None:
    outside = make(tmp_path, [WHOLE["PNG"]] * 3, boxes=((2, 3, 9, 9), (90, 3, 99, 9)))
    empty = replace(
        outside.annotations[0], names=(), boxes=np.zeros((0, 4), np.float32), areas=None
    )
    dataset = replace(outside, annotations=(empty, *outside.annotations[1:]))
    empty_note, outside_note = check_dataset(dataset).notes
    assert empty_note == "1 of 3 images have no object"
    assert outside_note.startswith("2 objects lie outside of their images")


@pytest.mark.parametrize(("top", "told"), [(1200, "use 12"), (900, "use 10"), (65000, None)])
def test_bits_in_use_are_told(tmp_path: Path, top: int, told: str | None) -> None:
    array = np.linspace(0, top, 60 * 80).reshape(60, 80).astype(np.uint16)
    notes = check_dataset(make(tmp_path, [encoded("TIFF", array)] * 20)).notes
    assert len(notes) == (told is not None)
    assert all(f"20 of 20 images store 16 bits for a value but {told}" in note for note in notes)


def test_negative_values_are_found_before_work_begins(tmp_path: Path) -> None:
    hounsfield = np.linspace(-800, 300, 60 * 80).reshape(60, 80).astype(np.float32)
    dataset = make(tmp_path, [WHOLE["PNG"], encoded("TIFF", hounsfield)])
    with pytest.raises(DataError, match="negative values") as error:
        check_dataset(dataset)
    assert "window" in error.value.hint


def test_notes_are_kept(tmp_path: Path) -> None:
    dataset = make(tmp_path, [WHOLE["PNG"]]).with_notes("first")
    assert check_dataset(dataset).notes == ("first",)
    assert dataset.limited(0).notes == ("first",)
    assert checks.check_dataset(dataset.select([0])).ids == ("0",)


def test_damaged_images_are_left_out_where_that_is_asked_for(tmp_path: Path) -> None:
    contents = [WHOLE["PNG"], b"<html>", WHOLE["GIF"], WHOLE["PNG"][:50]]
    dataset = check_dataset(make(tmp_path, contents), skip_damaged=True)
    assert dataset.ids == ("0", "2")
    assert dataset.notes[0].startswith("left out 2 of 4 images that cannot be read: ")
    assert "1.img is a web page" in dataset.notes[0]
    assert "3.img is damaged" in dataset.notes[0]
    with pytest.raises(DataError, match="2 of 2 images cannot be read"):
        check_dataset(make(tmp_path, [b"", b"<html>"]), skip_damaged=True)


@pytest.mark.parametrize(
    ("scale", "side", "far", "told"),
    [
        (100, 160, 95, "the first 100 pixels of larger images, as per cent"),
        (1000, 1600, 990, "the first 1000 pixels of larger images, as thousandths"),
        (100, 140, 95, None),  # the images are hardly larger
        (100, 160, 110, None),
        (100, 160, 55, None),  # objects in a corner
    ],
)
def test_boxes_in_per_cent_are_told(
    tmp_path: Path, scale: int, side: int, far: int, told: str | None
) -> None:
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, "PNG")
    boxes = [(4, 4, far, far), (10, 20, 40, 50), (50, 60, 55, 70), (5, 5, 9, 9), (7, 7, 9, 9)]
    found = check_dataset(make(tmp_path, [buffer.getvalue()], (side, side), boxes)).notes
    assert [told in note for note in found] == [True] if told else found == ()
    few = make(tmp_path, [buffer.getvalue()], (side, side), boxes[:4])
    assert check_dataset(few).notes == ()


def test_fractions_among_pixels_are_told(tmp_path: Path) -> None:
    found = make(tmp_path, [encoded("PNG")], boxes=[(2, 3, 20, 30), (0.1, 0.2, 0.5, 0.9)])
    sentence = "1 of 2 boxes lie in the first pixel of their images, as fractions of the images'"
    assert any(sentence in note for note in check_dataset(replace(found, min_side=1e-3)).notes)


@pytest.mark.parametrize("write", [
    lambda f: coco(f, change=each_row("images", lambda row: row.pop("width"))), voc,
    lambda f: tool_files.write(f, tool_files.via()),
])  # fmt: skip
def test_boxes_that_reach_out_of_resized_images_are_told(tmp_path: Path, write: Write) -> None:
    write(tmp_path)
    sentence = "4 of 12 objects reach beyond the edges of their images"
    assert not any(sentence in note for note in opened(tmp_path, "all").notes)
    for path in tmp_path.rglob("*.png"):
        with Image.open(path) as picture:
            picture.resize((48, 32)).save(path)
    assert any(sentence in note for note in opened(tmp_path, "all").notes)


def test_pages_behind_the_first_are_told(tmp_path: Path) -> None:
    voc(tmp_path)
    path = tmp_path / "JPEGImages" / "img_0.png"
    with Image.open(path) as page:
        page.save(path.with_suffix(".tif"), save_all=True, append_images=[page])
    path.unlink()
    note = "1 of 8 images have several pages or frames, such as img_0.tif: the first one is read"
    assert note in opened(tmp_path).notes
