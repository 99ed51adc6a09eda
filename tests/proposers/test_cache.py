import hashlib
import json
import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from threading import Barrier

import numpy as np
import pytest

from frcnn_cli.config import SelectiveSearchConfig
from frcnn_cli.errors import DataError
from frcnn_cli.proposers import selective_search as search
from frcnn_cli.proposers.cache import METHOD_FILE, ProposalSource, decode, encode
from frcnn_cli.proposers.method import Method
from frcnn_cli.proposers.registry import DEFAULT, PROPOSERS, selective_search
from frcnn_cli.runtime.locks import FILE as LOCK_FILE
from frcnn_cli.structures import Proposals

IMAGE = np.zeros((30, 40, 3), np.uint8)
CONTENT = b"the bytes of an image file"

BOXES = {
    "int16": [[0, 0, 40, 30], [1, 2, 3, 4], [0, 5, 32767, 6]],
    "negative": [[-5, -32767, 3, 4]],
    "first int32": [[0, 0, 32768, 1]],
    "last int32": [[-32768, 0, 1, 1]],
    "int32": [[0, 0, 40000, 32768], [1, 2, 3, 4], [-40000, 0, 1, 1]],
    "float32": [[0.5, 1.25, 3.1, 40000.7], [1, 2, 3, 4]],
    "none": [],
}
HEADER_BYTES = 28
COORDINATE_BYTES = {
    "int16": 2,
    "negative": 2,
    "first int32": 4,
    "last int32": 4,
    "int32": 4,
    "float32": 4,
    "none": 2,
}


def proposals(boxes, size=(30, 40)):
    return Proposals(np.array(boxes, np.float32).reshape(-1, 4), size)


def same(first, second):
    return (
        first.boxes.dtype == second.boxes.dtype == np.float32
        and first.boxes.shape == second.boxes.shape
        and first.boxes.tobytes() == second.boxes.tobytes()
        and first.image_size == second.image_size
    )


class Counter:
    def __init__(self, boxes=BOXES["int16"]):
        self.boxes = boxes
        self.calls = 0

    def __call__(self, image):
        self.calls += 1
        return proposals(self.boxes, image.shape[:2])


def counting(settings=None, name="counted", boxes=BOXES["int16"]):
    counter = Counter(boxes)
    return counter, Method(name, counter, settings or {"size": 1})


def files_in(folder):
    paths = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in paths if path.name not in (METHOD_FILE, LOCK_FILE))


@pytest.mark.parametrize("name", BOXES)
def test_round_trip(name):
    before = proposals(BOXES[name], (123, 70000))
    after = decode(encode(before))
    assert same(after, before)
    after.boxes[:] = 0


@pytest.mark.parametrize("name", BOXES)
def test_size_of_an_entry(name):
    content = encode(proposals(BOXES[name]))
    assert len(content) == HEADER_BYTES + 4 * len(BOXES[name]) * COORDINATE_BYTES[name]


def test_entries_are_the_same_bytes_on_every_machine():
    content = encode(proposals([[1, 2, 3, 260]], (5, 6)))
    rest = bytes.fromhex("01000000 05000000 06000000 68000000 0100 0200 0300 0401")
    assert content == b"FRCNNP1\n" + zlib.crc32(rest).to_bytes(4, "little") + rest


@pytest.mark.parametrize("name", BOXES)
def test_any_flipped_byte_is_noticed(name):
    content = encode(proposals(BOXES[name]))
    for position in range(len(content)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(content)
            damaged[position] ^= flip
            assert decode(bytes(damaged)) is None


@pytest.mark.parametrize("name", BOXES)
def test_any_truncation_is_noticed(name):
    content = encode(proposals(BOXES[name]))
    for length in range(len(content)):
        assert decode(content[:length]) is None


@pytest.mark.parametrize("name", BOXES)
def test_anything_behind_the_end_is_noticed(name):
    content = encode(proposals(BOXES[name]))
    for extra in (b"\0", b"x", bytes(8), content):
        assert decode(content + extra) is None


def test_a_result_is_made_once(tmp_path):
    counter, method = counting()
    source = ProposalSource(method, tmp_path)
    assert source.cached(CONTENT) is None
    first = source(CONTENT, IMAGE)
    second = source(CONTENT, IMAGE)
    assert counter.calls == 1
    assert same(first, proposals(BOXES["int16"]))
    assert same(second, first)
    assert same(source.cached(CONTENT), first)


def test_a_result_without_boxes_is_made_once(tmp_path):
    counter, method = counting(boxes=[])
    source = ProposalSource(method, tmp_path)
    assert same(source(CONTENT, IMAGE), source(CONTENT, IMAGE))
    assert counter.calls == 1


def test_a_result_outlives_its_source(tmp_path):
    first, method = counting()
    ProposalSource(method, tmp_path)(CONTENT, IMAGE)
    second, method = counting()
    again = ProposalSource(method, tmp_path)(CONTENT, IMAGE)
    assert (first.calls, second.calls) == (1, 0)
    assert same(again, proposals(BOXES["int16"]))


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "other file"])
def test_a_damaged_entry_is_made_again(tmp_path, damage):
    counter, method = counting()
    source = ProposalSource(method, tmp_path)
    source(CONTENT, IMAGE)
    path = source.path(CONTENT)
    good = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "cut": good[:-3],
            "flipped": good[:30] + bytes([good[30] ^ 4]) + good[31:],
            "other file": b"something else altogether, longer than a header",
        }[damage]
    )
    assert source.cached(CONTENT) is None
    assert same(source(CONTENT, IMAGE), proposals(BOXES["int16"]))
    assert counter.calls == 2
    assert path.read_bytes() == good
    source(CONTENT, IMAGE)
    assert counter.calls == 2


def test_a_deleted_entry_is_made_again(tmp_path):
    counter, method = counting()
    source = ProposalSource(method, tmp_path)
    source(CONTENT, IMAGE)
    source.path(CONTENT).unlink()
    source(CONTENT, IMAGE)
    assert counter.calls == 2
    assert source.path(CONTENT).exists()


def test_an_entry_for_another_image_size_is_made_again(tmp_path):
    counter, method = counting()
    source = ProposalSource(method, tmp_path)
    source(CONTENT, IMAGE)
    turned = source(CONTENT, np.zeros((40, 30, 3), np.uint8))
    assert counter.calls == 2
    assert turned.image_size == (40, 30)
    assert source.cached(CONTENT).image_size == (40, 30)


def test_the_key_is_the_content(tmp_path):
    counter, method = counting()
    source = ProposalSource(method, tmp_path)
    contents = {"a.jpg": CONTENT, "b.png": bytes(bytearray(CONTENT)), "c.jpg": CONTENT + b"!"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        source((tmp_path / name).read_bytes(), IMAGE)
    assert counter.calls == 2
    assert source.path(contents["a.jpg"]) == source.path(contents["b.png"])
    assert source.path(contents["a.jpg"]) != source.path(contents["c.jpg"])
    key = hashlib.sha256(CONTENT).hexdigest()
    relative = source.path(CONTENT).relative_to(tmp_path / method.digest)
    assert relative.parts == (key[:2], f"{key[2:40]}.boxes")


@pytest.mark.parametrize("other", [{"settings": {"size": 2}}, {"name": "another"}])
def test_other_settings_or_another_method_share_no_entries(tmp_path, other):
    first, method = counting()
    second, changed = counting(boxes=BOXES["int32"], **other)
    one, two = ProposalSource(method, tmp_path), ProposalSource(changed, tmp_path)
    one(CONTENT, IMAGE)
    assert two.cached(CONTENT) is None
    assert same(two(CONTENT, IMAGE), proposals(BOXES["int32"]))
    assert same(one(CONTENT, IMAGE), proposals(BOXES["int16"]))
    assert (first.calls, second.calls) == (1, 1)
    assert len(files_in(tmp_path)) == 2


def test_the_order_of_the_settings_does_not_matter():
    one = counting({"a": 1, "b": (2, 3)})[1]
    two = counting({"b": (2, 3), "a": 1})[1]
    assert one.digest == two.digest
    assert one.digest.startswith("counted-")


def test_every_setting_of_selective_search_is_in_the_digest(monkeypatch):
    base = SelectiveSearchConfig()
    digests = [selective_search(base).digest]
    for field in fields(base):
        value = getattr(base, field.name)
        changed = value[:1] if isinstance(value, tuple) else value + 1
        digests.append(selective_search(replace(base, **{field.name: changed})).digest)
    monkeypatch.setattr(search, "VERSION", search.VERSION + 1)
    digests.append(selective_search(base).digest)
    assert len(set(digests)) == len(fields(base)) + 2


def test_selective_search_by_default_uses_the_default_settings():
    default = SelectiveSearchConfig()
    assert selective_search().digest == selective_search(default).digest
    assert PROPOSERS[DEFAULT](1).digest == selective_search(default).digest


def test_a_cached_selective_search_equals_a_fresh_one(tmp_path):
    config = SelectiveSearchConfig(scales=(15.0,), min_box_side=3)
    image = np.random.default_rng(0).integers(0, 256, (24, 31, 3), dtype=np.uint8)
    fresh = search.selective_search(image, config)
    assert len(fresh.boxes) > 5
    source = ProposalSource(selective_search(config), tmp_path)
    assert same(source(image.tobytes(), image), fresh)
    assert same(source.cached(image.tobytes()), fresh)


def test_nothing_but_the_entry_is_left(tmp_path):
    _, method = counting()
    source = ProposalSource(method, tmp_path / "not" / "there")
    source(CONTENT, IMAGE)
    assert files_in(tmp_path) == [source.path(CONTENT)]
    assert source.path(CONTENT).read_bytes() == encode(proposals(BOXES["int16"]))


def test_an_entry_is_never_written_in_place(tmp_path):
    _, method = counting()
    source = ProposalSource(method, tmp_path)
    source(CONTENT, IMAGE)
    path = source.path(CONTENT)
    path.write_bytes(b"damaged")
    with path.open("rb") as held:
        source(CONTENT, IMAGE)
        assert held.read() == b"damaged"
    assert decode(path.read_bytes()) is not None


def test_many_threads_that_want_the_same_entry_make_it_once(tmp_path):
    threads = 12
    barrier = Barrier(threads)
    expected = proposals(BOXES["int32"] * 200)
    calls = []

    def propose(image):
        calls.append(image)
        time.sleep(0.1)
        return expected

    source = ProposalSource(Method("slow", propose, {}), tmp_path)

    def ask(_):
        barrier.wait(timeout=20)
        return source(CONTENT, IMAGE)

    with ThreadPoolExecutor(threads) as pool:
        results = list(pool.map(ask, range(threads)))
    assert all(same(result, expected) for result in results)
    assert len(calls) == 1
    assert files_in(tmp_path) == [source.path(CONTENT)]
    assert same(source.cached(CONTENT), expected)


def test_a_reader_sees_whole_entries_alone(tmp_path):
    _, method = counting()
    source = ProposalSource(method, tmp_path)
    expected = proposals(BOXES["int32"] * 500)
    source.path(CONTENT).parent.mkdir(parents=True)
    source.path(CONTENT).write_bytes(encode(expected))

    def write(_):
        for _ in range(20):
            source.store(CONTENT, expected)
        return True

    def read(_):
        return all(source.cached(CONTENT) is not None for _ in range(60))

    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(work, None) for work in (write, read) * 4]
        assert all(job.result() for job in jobs)
    assert files_in(tmp_path) == [source.path(CONTENT)]


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    source = ProposalSource(selective_search(), tmp_path)
    monkeypatch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(DataError, match="cannot keep proposals"):
        source(b"content", np.zeros((3, 4, 3), np.uint8))
    assert not files_in(tmp_path)


def test_a_damaged_entry_is_reported(tmp_path):
    _, method = counting()
    source = ProposalSource(method, tmp_path)
    source(CONTENT, IMAGE)
    assert source.damaged == []
    source.path(CONTENT).write_bytes(b"")
    source(CONTENT, IMAGE)
    assert set(source.damaged) == {source.path(CONTENT)}


def test_the_folder_says_what_made_it(tmp_path):
    source = ProposalSource(selective_search(), tmp_path)
    source(CONTENT, IMAGE)
    method = json.loads((source.folder / METHOD_FILE).read_text())
    assert method["name"] == "selective_search"
    assert method["settings"]["scales"] == list(SelectiveSearchConfig().scales)


def test_a_lock_keeps_others_out_until_it_is_released(tmp_path):
    _, method = counting()
    source = ProposalSource(method, tmp_path)
    with source.lock(CONTENT) as held:
        assert held
        with source.lock(CONTENT) as again, source.lock(b"another") as other:
            assert (again, other) == (False, True)
    with source.lock(CONTENT) as held:
        assert held


def test_a_lock_is_released_when_its_block_fails(tmp_path):
    _, method = counting()
    source = ProposalSource(method, tmp_path)
    with pytest.raises(ZeroDivisionError), source.lock(CONTENT):
        _ = 1 / 0
    with source.lock(CONTENT) as held:
        assert held


HOLDER = """
import sys, time
from pathlib import Path
from frcnn_cli.runtime.locks import Locks
with Locks(Path(sys.argv[1])).hold(sys.argv[2], wait=False) as held:
    print(held, flush=True)
    time.sleep(60)
"""


def test_a_killed_process_leaves_nothing_locked(tmp_path):
    _, method = counting()
    source = ProposalSource(method, tmp_path)
    key = hashlib.sha256(CONTENT).hexdigest()[:40]
    command = [sys.executable, "-c", HOLDER, str(source.folder), key]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "True\n"
        with source.lock(CONTENT) as held, source.lock(b"another") as free:
            assert (held, free) == (False, True)
        other.kill()
    with source.lock(CONTENT) as held:
        assert held


def test_without_locks_of_the_system_every_attempt_succeeds(tmp_path, monkeypatch):
    monkeypatch.setattr("frcnn_cli.runtime.locks.HAS_LOCKS", False)
    counter, method = counting()
    source = ProposalSource(method, tmp_path)
    source(CONTENT, IMAGE)
    source(CONTENT, IMAGE)
    assert counter.calls == 1
