from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from frcnn_cli.errors import DataError, FrcnnError
from frcnn_cli.training.region_store import INDEX_FILE, RegionStore, region_bytes

IDENTITY = {"weights": "a", "scales": (480, 600)}


def regions(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random((count, 4), np.float32), rng.random((count, 6)).astype(np.float16)


def filled(folder: Path, counts: tuple[int, ...] = (3, 0, 5)) -> RegionStore:
    store = RegionStore(folder, 6, IDENTITY)
    for seed, count in enumerate(counts):
        store.add(*regions(seed, count))
    store.save()
    return store


def check(store: RegionStore, counts: tuple[int, ...]) -> None:
    assert store.images == len(counts)
    assert store.rows == sum(counts)
    for seed, count in enumerate(counts):
        boxes, features = regions(seed, count)
        assert np.array_equal(store.boxes(seed), boxes)
        stored = store.features(store.slice_of(seed))
        assert stored.dtype == np.float32
        assert np.array_equal(stored, features.astype(np.float32))


def test_regions_are_read_as_they_were_added(tmp_path: Path) -> None:
    check(filled(tmp_path), (3, 0, 5))
    check(RegionStore(tmp_path, 6, IDENTITY), (3, 0, 5))


def test_the_size_is_that_of_the_files(tmp_path: Path) -> None:
    store = filled(tmp_path)
    files = sum(path.stat().st_size for path in tmp_path.iterdir() if path.name != INDEX_FILE)
    assert store.bytes == files == 8 * region_bytes(6)


def test_what_was_not_saved_is_written_again(tmp_path: Path) -> None:
    store = filled(tmp_path, (3, 0))
    store.add(*regions(9, 7))  # killed before it was saved
    again = RegionStore(tmp_path, 6, IDENTITY)
    assert again.images == 2
    again.add(*regions(2, 5))
    again.save()
    check(RegionStore(tmp_path, 6, IDENTITY), (3, 0, 5))


@pytest.mark.parametrize("identity", [{"weights": "b", "scales": (480, 600)}, {"weights": "a"}])
def test_features_of_something_else_do_not_count(tmp_path: Path, identity: dict) -> None:
    filled(tmp_path)
    other = RegionStore(tmp_path, 6, identity)
    assert other.images == 0
    other.add(*regions(0, 4))
    assert RegionStore(tmp_path, 6, IDENTITY).images == 0  # they are overwritten


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"identity": {}, "regions": "x"}',
        "[" * 100_000,
        "\x00",
        '{"identity": {}, "regions": [Infinity]}',
        '{"identity": {}, "regions": [1e999]}',
    ],
)
def test_a_damaged_index_counts_nothing(tmp_path: Path, text: str) -> None:
    filled(tmp_path)
    (tmp_path / INDEX_FILE).write_text(text)
    assert RegionStore(tmp_path, 6, IDENTITY).images == 0


def test_files_that_lost_their_end_count_nothing(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / "features.f16").write_bytes(b"123")
    assert RegionStore(tmp_path, 6, IDENTITY).images == 0


def test_features_that_half_precision_cannot_hold(tmp_path: Path) -> None:
    store, (boxes, features) = RegionStore(tmp_path, 6, IDENTITY), regions(0, 2)
    features[1, 3] = np.inf
    with pytest.raises(FrcnnError, match="too large for half precision"):
        store.add(boxes, features)


def test_a_store_without_regions_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no region"):
        RegionStore(tmp_path, 6, IDENTITY).features(slice(0, 1))


def test_chunks_cover_all_rows_in_order(tmp_path: Path) -> None:
    rows = np.arange(20_001)
    chunks = RegionStore(tmp_path, 6, IDENTITY).chunks(rows)
    assert len(chunks) == 3
    assert np.array_equal(np.concatenate(chunks), rows)
